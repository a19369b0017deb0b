//! The kernel to boot: a file of the user's, or Debian's for a series, fetched once.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process,
    str::FromStr,
};

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;

use super::{
    archive::Suite,
    series::{Package, Series},
};

/// Files of a fetched kernel's folder.
const IMAGE: &str = "vmlinuz";
const ORIGIN: &str = "origin";

/// What names of packages with images begin with.
const IMAGES: &str = "linux-image-";

/// Which kernel, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Series(Series),
    Image(PathBuf),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(series) => Ok(Self::Series(series)),
            Err(_) if Path::new(text).is_file() => Ok(Self::Image(text.into())),
            Err(error) => Err(format!("{error}, nor a file")),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series(series) => series.fmt(f),
            Self::Image(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                f.pad(&name.to_string_lossy())
            }
        }
    }
}

/// A kernel that is there.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// Whether its pages have 16 KiB, which not every processor knows.
    pub(crate) large_pages: bool,
    /// Where it is from: the package in its exact version, and the suite.
    pub(crate) origin: String,
}

impl Choice {
    /// What this kernel is called where there may be one of another architecture beside it.
    pub(crate) fn label(&self, arch: Arch) -> String {
        match arch {
            Arch::X86_64 => self.to_string(),
            Arch::Arm64 => format!("{self}-{}", arch.debian()),
        }
    }

    /// Finds the kernel; Debian's are kept below `cache` until `refresh` asks for newer ones.
    pub(crate) fn kernel(&self, arch: Arch, cache: &Path, refresh: bool) -> Result<Kernel> {
        match self {
            Self::Image(path) => Ok(Kernel {
                image: path.clone(),
                large_pages: false,
                origin: path.display().to_string(),
            }),
            Self::Series(series) => {
                let dir = cache.join("kernels").join(self.label(arch));
                if refresh || !dir.join(IMAGE).is_file() {
                    fetch(series, arch, cache, &dir)?;
                }
                let origin = dir.join(ORIGIN);
                Ok(Kernel {
                    image: dir.join(IMAGE),
                    large_pages: series.has_large_pages(),
                    origin: fs::read_to_string(&origin)
                        .with_context(|| format!("cannot read {}", origin.display()))?,
                })
            }
        }
    }
}

/// What Debian has beside the series of `--all`. A suite that cannot be looked into is told, and passed over.
pub(crate) fn others(arch: Arch, cache: &Path) -> Result<Vec<Choice>> {
    let mut packages = Vec::new();
    for name in Series::suites_of_all() {
        let found = Suite::fetch(name, arch, &cache.join("suites"))
            .and_then(|suite| suite.packages(IMAGES));
        match found {
            Ok(found) => packages.extend(found),
            Err(error) => eprintln!("passing over {name}: {error:#}"),
        }
    }
    let others = Series::others(&packages, arch);
    if others.is_empty() {
        bail!(
            "Debian's archive has no other kernels for {}",
            arch.debian()
        );
    }
    Ok(others.into_iter().map(Choice::Series).collect())
}

/// Puts Debian's kernel of this series into `dir`, whole or not at all.
fn fetch(series: &Series, arch: Arch, cache: &Path, dir: &Path) -> Result<()> {
    let (suite, package) = find(series, arch, &cache.join("suites"))?;
    let unpacked = dir.with_extension(format!("new-{}", process::id()));
    let done = (|| {
        let image = unpack(&suite, &package, &unpacked.join("package"))?;
        fs::rename(&image, unpacked.join(IMAGE)).context("cannot move the image")?;
        fs::remove_dir_all(unpacked.join("package")).context("cannot remove the rest")?;
        fs::write(
            unpacked.join(ORIGIN),
            format!("{package} from {}", suite.name()),
        )
        .context("cannot note where it is from")?;
        if dir.exists() {
            fs::remove_dir_all(dir).context("cannot remove the old one")?;
        }
        fs::rename(&unpacked, dir).context("cannot move it into place")
    })();
    if done.is_err() {
        // It is no more than what an interrupted download leaves.
        let _ = fs::remove_dir_all(&unpacked);
    }
    done.with_context(|| format!("cannot fetch {package} from {}", suite.name()))
}

fn find(series: &Series, arch: Arch, suites: &Path) -> Result<(Suite, Package)> {
    for name in series.suites() {
        let suite = Suite::fetch(name, arch, suites)?;
        if let Some(package) = series.newest(&suite.packages(&series.image_prefix())?, arch) {
            return Ok((suite, package));
        }
    }
    bail!(
        "Debian has no kernel of series {series} for {} in {}",
        arch.debian(),
        series.suites().join(", ")
    )
}

/// Unpacks `package` into `dir` and returns the image's path.
fn unpack(suite: &Suite, package: &Package, dir: &Path) -> Result<PathBuf> {
    suite.unpack(package, dir)?;
    if let Some(image) = image(dir) {
        return Ok(image);
    }
    let binary = package.binary().context("it is no image package")?;
    suite.unpack(&binary, dir)?;
    image(dir).with_context(|| format!("there is no image in {package} and {binary}"))
}

/// `boot/vmlinuz-RELEASE` up to 6.18, `usr/lib/modules/RELEASE/vmlinuz` after it.
fn image(dir: &Path) -> Option<PathBuf> {
    let entries = |path: &str| {
        let entries = fs::read_dir(dir.join(path)).into_iter().flatten();
        entries.flatten().map(|entry| entry.path())
    };
    let in_boot = entries("boot").find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz-")
    });
    in_boot.or_else(|| {
        entries("usr/lib/modules")
            .map(|release| release.join("vmlinuz"))
            .find(|path| path.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_are_a_series_and_a_file_is_an_image() {
        assert!(matches!("6.12".parse(), Ok(Choice::Series(_))));
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(path.parse(), Ok(Choice::Image(path.into())));
        let error = "6.12.1".parse::<Choice>().unwrap_err();
        assert!(error.contains("6.12.1 is no kernel series"), "{error}");
    }

    #[test]
    fn the_image_is_found_in_either_place() {
        for place in ["boot/vmlinuz-6.1.0-50", "usr/lib/modules/7.3.4/vmlinuz"] {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(image(dir.path()), None);
            let path = dir.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            assert_eq!(image(dir.path()), Some(path));
        }
    }
}
