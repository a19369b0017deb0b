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
        STABLE,
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

/// That of Debian's stable release.
pub(crate) const STABLE: &str = "6.12";

/// Where any other series may be: backports keep a release's kernels for a while.
const ELSEWHERE: &[&str] = &["trixie-backports", "sid", "experimental"];

/// The package with the image; its real name has the release before the flavour.
const IMAGE: &str = "linux-image-";

/// What Debian configures a kernel for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flavour {
    /// Virtual machines: the smallest, and so the one that is meant where none is named.
    #[default]
    Cloud,
    /// Any machine.
    Generic,
    /// PREEMPT_RT.
    Realtime,
    /// Any arm64 machine, in pages of 16 KiB.
    LargePages,
}

impl Flavour {
    const ALL: [Self; 4] = [Self::Cloud, Self::Generic, Self::Realtime, Self::LargePages];

    /// What it is called behind a series, which is a cloud kernel else.
    fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Generic => "generic",
            Self::Realtime => "rt",
            Self::LargePages => "16k",
        }
    }

    /// That of the image in the package of this name; `None` for what is no image, or another machine's.
    fn of(package: &str, arch: Arch) -> Option<Self> {
        let release = package.strip_prefix(IMAGE)?;
        if let Some(release) = release.strip_suffix("-16k") {
            return release.ends_with(arch.debian()).then_some(Self::LargePages);
        }
        let release = release.strip_suffix(arch.debian())?.strip_suffix('-')?;
        Some(match release.rsplit_once('-') {
            Some((_, "cloud")) => Self::Cloud,
            Some((_, "rt")) => Self::Realtime,
            _ => Self::Generic,
        })
    }
}

/// A kernel series such as 6.12, in one flavour: 6.12-rt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    number: String,
    flavour: Flavour,
}

impl Series {
    /// Those that `--all` means.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        SUITES.iter().map(|(number, _)| Self::cloud(number))
    }

    /// Those that `--every` means: what else there is among `packages`, oldest first. Each series once, and
    /// each other flavour of Debian's stable kernel and of the newest.
    pub(crate) fn others(packages: &[Package], arch: Arch) -> Vec<Self> {
        let mut found: Vec<Self> = packages
            .iter()
            .filter_map(|package| Self::of(package, arch))
            .collect();
        found.sort_by(|a, b| compare(&a.number, &b.number));
        let newest = found.last().map(|series| series.number.clone());
        let mut others: Vec<Self> = Vec::new();
        for series in found {
            let wanted = match series.flavour {
                Flavour::Cloud => Self::all().all(|known| known != series),
                _ => series.number == STABLE || Some(&series.number) == newest.as_ref(),
            };
            if wanted && !others.contains(&series) {
                others.push(series);
            }
        }
        others
    }

    /// All suites that may have kernels.
    pub(crate) fn suites_of_all() -> Vec<&'static str> {
        let mut suites: Vec<&str> = Vec::new();
        for suite in SUITES.iter().flat_map(|(_, suites)| *suites) {
            if !suites.contains(suite) {
                suites.push(suite);
            }
        }
        suites.extend(
            ELSEWHERE
                .iter()
                .filter(|suite| !suites.contains(suite))
                .collect::<Vec<_>>(),
        );
        suites
    }

    fn cloud(number: &str) -> Self {
        Self {
            number: number.to_owned(),
            flavour: Flavour::Cloud,
        }
    }

    /// That of a package's image. One of a release candidate is none.
    fn of(package: &Package, arch: Arch) -> Option<Self> {
        let flavour = Flavour::of(&package.name, arch)?;
        let mut numbers = package.version.splitn(3, '.');
        let (major, minor, _) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let series: Self = format!("{major}.{minor}").parse().ok()?;
        let series = Self { flavour, ..series };
        package
            .name
            .starts_with(&series.image_prefix())
            .then_some(series)
    }

    /// Suites to look into, in this order.
    pub(crate) fn suites(&self) -> &'static [&'static str] {
        SUITES
            .iter()
            .find(|(series, _)| *series == self.number)
            .map_or(ELSEWHERE, |(_, suites)| suites)
    }

    /// What all names of packages with an image begin with. 5.10's is called 5.10.0-32, 6.12's
    /// 6.12.95+deb12.
    pub(crate) fn image_prefix(&self) -> String {
        format!("{IMAGE}{}.", self.number)
    }

    /// The newest image for this architecture among `packages`.
    pub(crate) fn newest(&self, packages: &[Package], arch: Arch) -> Option<Package> {
        packages
            .iter()
            .filter(|package| Self::of(package, arch).as_ref() == Some(self))
            .max_by(|a, b| compare(&a.version, &b.version))
            .cloned()
    }

    /// Whether it takes a processor that knows pages of 16 KiB.
    pub(crate) fn has_large_pages(&self) -> bool {
        self.flavour == Flavour::LargePages
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no kernel series, such as 6.12 or 6.12-rt");
        let (series, flavour) = match text.split_once('-') {
            None => (text, Flavour::default()),
            Some((series, name)) => {
                let mut all = Flavour::ALL.into_iter();
                let flavour = all.find(|flavour| flavour.name() == name);
                (series, flavour.ok_or_else(wrong)?)
            }
        };
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match series.split_once('.') {
            Some((major, minor)) if number(major) && number(minor) => Ok(Self {
                number: series.to_owned(),
                flavour,
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flavour {
            Flavour::Cloud => f.pad(&self.number),
            flavour => f.pad(&format!("{}-{}", self.number, flavour.name())),
        }
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
    fn a_flavour_is_taken_by_its_name() {
        assert_eq!(
            newest("6.12-generic").as_deref(),
            Some("linux-image-6.12.99+deb12-amd64 6.12.99-1~bpo12+1")
        );
        assert_eq!(newest("6.12-rt"), None);
        assert_eq!(newest("6.12-cloud"), newest("6.12"));
        let name = |text: &str| text.parse::<Series>().map(|series| series.to_string());
        for text in ["6.12", "6.12-generic", "6.12-rt", "6.12-16k"] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_else_there_is_is_found_among_the_packages() {
        let package = |(name, version): (&str, &str)| Package {
            name: format!("linux-image-{name}"),
            version: version.to_owned(),
        };
        let packages = [
            ("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            ("7.3.4+deb13-rt-amd64", "7.3.4-1~bpo13+1"),
            ("7.2.12+deb13-rt-amd64", "7.2.12-1~bpo13+1"),
            ("7.2.12+deb13-cloud-amd64", "7.2.12-1~bpo13+1"),
            ("7.2.11+deb13-cloud-amd64", "7.2.11-1~bpo13+1"),
            ("6.16.3+deb13-cloud-amd64", "6.16.3-1~bpo13+1"),
            ("6.12.95+deb12-amd64", "6.12.95-1~bpo12+1"),
            ("6.1.0-50-rt-amd64", "6.1.176-1"),
            ("7.4-cloud-amd64", "7.4~rc1-1~exp1"),
            ("7.4.1+deb13-cloud-arm64", "7.4.1-1"),
            ("cloud-amd64", "7.3.4-1~bpo13+1"),
        ]
        .map(package);
        let others = Series::others(&packages, Arch::X86_64);
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        assert_eq!(others, ["6.12-generic", "6.16", "7.2", "7.3-rt"]);
        let arm64 = Series::others(&packages, Arch::Arm64);
        assert_eq!(arm64, ["7.4".parse().unwrap()]);
    }

    #[test]
    fn pages_of_16_kib_are_a_flavour_of_arm64_alone() {
        let of = |name| Flavour::of(name, Arch::Arm64);
        assert_eq!(
            of("linux-image-7.3.4+deb13-arm64-16k"),
            Some(Flavour::LargePages)
        );
        assert_eq!(of("linux-image-7.3.4+deb13-arm64"), Some(Flavour::Generic));
        assert_eq!(of("linux-image-7.3.4+deb13-arm64-16k-dbg"), None);
        assert_eq!(of("linux-image-7.3.4+deb13-cloud-amd64"), None);
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
        for text in [
            "",
            "6",
            "6.",
            "6.12.1",
            "v6.12",
            "6.x",
            "6.12-",
            "6.12-tiny",
            "bzImage",
        ] {
            assert!(text.parse::<Series>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_series_has_suites() {
        assert!(Series::all().all(|series| !series.suites().is_empty()));
        assert_eq!(Series::cloud("6.16").suites(), ELSEWHERE);
        let all = Series::suites_of_all();
        for series in Series::all() {
            assert!(series.suites().iter().all(|suite| all.contains(suite)));
        }
        assert!(ELSEWHERE.iter().all(|suite| all.contains(suite)));
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
