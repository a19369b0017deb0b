//! Which kernel a series means: where Debian keeps it, and which of its packages to take.
//!
//! Pure: it knows the shape of what apt prints, but runs nothing.

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::arch::Arch;

/// Series that fdtrace is held to on every change, oldest first, with the suites that have them.
///
/// A release's own suite comes before its updates: it changes a few times a year, so that two
/// people who compare their results mean the same kernel.
const SUITES: &[(&str, &[&str])] = &[
    ("5.10", &["bullseye", "bullseye-security"]),
    ("6.1", &["bookworm", "bookworm-security"]),
    (
        "6.12",
        &[
            "bookworm-backports",
            "trixie",
            "bookworm-security",
            "trixie-security",
        ],
    ),
    ("6.18", &["trixie-backports"]),
    ("7.3", &["trixie-backports", "experimental", "sid"]),
];

/// Where any other series may be: backports keep a release's kernels for a while.
const ELSEWHERE: &[&str] = &["trixie-backports", "sid", "experimental"];

/// The package with the image; its real name has the release before the flavour.
const IMAGE: &str = "linux-image-";
const FLAVOUR: &str = "-cloud-";

/// A kernel series such as 6.12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series(String);

impl Series {
    /// Those that `--all` means.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        SUITES.iter().map(|(series, _)| Self((*series).to_owned()))
    }

    /// Suites to look into, in this order.
    pub(crate) fn suites(&self) -> &'static [&'static str] {
        SUITES
            .iter()
            .find(|(series, _)| *series == self.0)
            .map_or(ELSEWHERE, |(_, suites)| suites)
    }

    /// What all names of packages with an image begin with. 5.10's is called 5.10.0-32, 6.12's
    /// 6.12.95+deb12.
    pub(crate) fn image_prefix(&self) -> String {
        format!("{IMAGE}{self}.")
    }

    /// The newest image for this architecture among `packages`.
    pub(crate) fn newest(&self, packages: &[Package], arch: Arch) -> Option<Package> {
        let flavour = format!("{FLAVOUR}{}", arch.debian());
        packages
            .iter()
            .filter(|package| {
                package.name.starts_with(&self.image_prefix())
                    && package.name.ends_with(&flavour)
                    && package.version.starts_with(&format!("{self}."))
            })
            .max_by(|a, b| compare(&a.version, &b.version))
            .cloned()
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match text.split_once('.') {
            Some((major, minor)) if number(major) && number(minor) => Ok(Self(text.to_owned())),
            _ => Err(format!("{text} is no kernel series, such as 6.12")),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A binary package, in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Package {
    /// From a line of `apt-cache madison`; `None` for a source package's.
    pub(crate) fn from_madison(line: &str) -> Option<Self> {
        let mut columns = line.split('|').map(str::trim);
        let (name, version, place) = (columns.next()?, columns.next()?, columns.next()?);
        place.ends_with("Packages").then(|| Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// From 6.19 on the image lies in a package of its own, of the same version, that this one
    /// only depends on.
    pub(crate) fn binary(&self) -> Option<Self> {
        let release = self.name.strip_prefix(IMAGE)?;
        Some(Self {
            name: format!("linux-binary-{release}"),
            version: self.version.clone(),
        })
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Numbers by value, and a tilde before everything, even the end: Debian's order of versions.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (word_a, word_b);
        (word_a, a) = split_at_digits(a);
        (word_b, b) = split_at_digits(b);
        let words = weights(word_a).cmp(weights(word_b));
        let (number_a, number_b);
        (number_a, a) = split_after_digits(a);
        (number_b, b) = split_after_digits(b);
        let by_value = words.then(number_a.cmp(&number_b));
        if by_value != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return by_value;
        }
    }
}

fn split_at_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

fn split_after_digits(text: &str) -> (u64, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (digits.parse().unwrap_or(0), rest)
}

/// The characters of a word that has no digit, with its end as the last.
fn weights(word: &str) -> impl Iterator<Item = u32> {
    word.chars()
        .map(|c| match c {
            '~' => 0,
            letter if letter.is_ascii_alphabetic() => u32::from(letter),
            other => u32::from(other) + 256,
        })
        .chain([1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADISON: &str = "\
linux-image-6.12.9+deb12-cloud-amd64 | 6.12.9-1~bpo12+1 | http://a.invalid/debian bookworm-backports/main amd64 Packages
linux-image-6.12.95+deb12-cloud-amd64 | 6.12.95-1~bpo12+1 | http://a.invalid/debian bookworm-backports/main amd64 Packages
linux-image-6.12.95+deb12-cloud-amd64-unsigned | 6.12.95-1~bpo12+1 | http://a.invalid/debian bookworm-backports/main amd64 Packages
linux-image-6.12.99+deb12-cloud-amd64-dbg | 6.12.99-1~bpo12+1 | http://a.invalid/debian bookworm-backports/main amd64 Packages
linux-image-6.12.99+deb12-amd64 | 6.12.99-1~bpo12+1 | http://a.invalid/debian bookworm-backports/main amd64 Packages
linux-image-6.1.0-50-cloud-amd64 |  6.1.176-1 | http://a.invalid/debian bookworm/main amd64 Packages
linux-image-cloud-amd64 | 6.12.95-1~bpo12+1 | http://a.invalid/debian bookworm-backports/main amd64 Packages
linux-image-7.3-cloud-amd64 | 7.3~rc7-1~exp1 | http://a.invalid/debian experimental/main amd64 Packages
linux-image-7.3.4+deb13-cloud-amd64 | 7.3.4-1~bpo13+1 | http://a.invalid/debian trixie-backports/main amd64 Packages
linux | 6.12.99-1~bpo12+1 | http://a.invalid/debian bookworm-backports/main Sources
";

    fn newest(series: &str) -> Option<String> {
        let packages: Vec<_> = MADISON.lines().filter_map(Package::from_madison).collect();
        let series: Series = series.parse().unwrap();
        series
            .newest(&packages, Arch::X86_64)
            .map(|package| package.to_string())
    }

    #[test]
    fn the_newest_signed_cloud_image_of_the_series_is_taken() {
        assert_eq!(
            newest("6.12").as_deref(),
            Some("linux-image-6.12.95+deb12-cloud-amd64 6.12.95-1~bpo12+1")
        );
        assert_eq!(
            newest("6.1").as_deref(),
            Some("linux-image-6.1.0-50-cloud-amd64 6.1.176-1")
        );
        assert_eq!(
            newest("7.3").as_deref(),
            Some("linux-image-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1")
        );
    }

    #[test]
    fn a_series_that_is_not_there_is_not_guessed() {
        assert_eq!(newest("6.16"), None);
        assert_eq!(newest("6.13"), None);
    }

    #[test]
    fn another_architectures_image_is_not_taken() {
        let packages: Vec<_> = MADISON.lines().filter_map(Package::from_madison).collect();
        let series: Series = "6.12".parse().unwrap();
        assert_eq!(series.newest(&packages, Arch::Arm64), None);
        let name = "linux-image-6.12.95+deb12-cloud-arm64";
        let arm64 = format!("{name} | 6.12.95-1 | place arm64 Packages");
        let arm64 = Package::from_madison(&arm64).unwrap();
        let found = series.newest(&[&packages[..], &[arm64]].concat(), Arch::Arm64);
        assert_eq!(found.unwrap().name, name);
    }

    #[test]
    fn sources_are_not_packages() {
        assert_eq!(MADISON.lines().filter_map(Package::from_madison).count(), 9);
    }

    #[test]
    fn versions_are_in_debians_order() {
        let ordered = [
            "6.12~rc7-1",
            "6.12-1~exp1",
            "6.12-1",
            "6.12.9-1~bpo12+1",
            "6.12.9-1",
            "6.12.9-1+b1",
            "6.12.10-1",
            "6.12.100-1",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
            assert_eq!(compare(pair[0], pair[0]), Ordering::Equal);
        }
    }

    #[test]
    fn only_two_numbers_are_a_series() {
        assert!("6.12".parse::<Series>().is_ok());
        for text in ["", "6", "6.", "6.12.1", "v6.12", "6.x", "bzImage"] {
            assert!(text.parse::<Series>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_series_has_suites() {
        assert!(Series::all().all(|series| !series.suites().is_empty()));
        assert_eq!(Series("6.16".to_owned()).suites(), ELSEWHERE);
    }

    #[test]
    fn the_image_of_newer_kernels_is_in_the_binary_package() {
        let package = Package::from_madison(MADISON.lines().nth(8).unwrap()).unwrap();
        assert_eq!(
            package.binary().unwrap().to_string(),
            "linux-binary-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1"
        );
    }
}
