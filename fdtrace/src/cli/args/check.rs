//! The arguments of `fdtrace check`.

use std::{ffi::OsString, path::PathBuf, str::FromStr};

use clap::{Args as ClapArgs, ValueEnum};

/// What is expected of a command, and what to write of it.
///
/// Without any expectation, nothing may be lost or left in a queue, and every descriptor that arrives must
/// be the same open file.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Check {
    /// Expect this, such as 'delivered=3 kind=memfd to=child cloexec'; may be repeated.
    #[arg(long, value_name = "EXPECTATION")]
    pub(in crate::cli) expect: Vec<String>,
    /// Read expectations from this file.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    /// Write the expectations that this run meets to FILE, if it is a good one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["expect", "file"])]
    pub(in crate::cli) bless: Option<PathBuf>,
    /// What the reports call the test; NEXTEST_TEST_NAME if that is set, else the command's name.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    /// How to write the report, which goes to stderr unless --output says otherwise.
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub(in crate::cli) format: CheckFormat,
    /// Write another report too, such as `junit=check.xml`, or to stdout without a file; may be repeated.
    #[arg(long, value_name = "FORMAT[=FILE]")]
    pub(in crate::cli) report: Vec<CheckReport>,
    /// Size of the ring buffer in KiB, rounded up to a power of two.
    #[arg(long, value_name = "KIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(4..=1 << 20))]
    pub(in crate::cli) buffer: u32,
    /// Command to run, whose hand-overs and whose descendants' are checked.
    #[arg(last = true, value_name = "COMMAND", required = true)]
    pub(in crate::cli) command: Vec<OsString>,
}

/// What can be written of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum CheckFormat {
    /// For people.
    Text,
    /// JSON Lines; `fdtrace schema` describes them.
    Json,
    /// JUnit XML, for CI.
    #[cfg(feature = "junit")]
    Junit,
    /// TAP 14, for CI.
    Tap,
    /// Annotations of GitHub Actions.
    Github,
    /// A page with every transfer, as `fdtrace report` makes it.
    #[cfg(feature = "html")]
    Html,
}

/// A report beside the main one, in a file or on stdout.
#[derive(Clone, Debug)]
pub(in crate::cli) struct CheckReport {
    pub(in crate::cli) format: CheckFormat,
    pub(in crate::cli) file: Option<PathBuf>,
}

impl FromStr for CheckReport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) = match text.split_once('=') {
            Some((_, "")) => return Err("there is no file behind the =".to_owned()),
            Some((format, file)) => (format, Some(file.into())),
            None => (text, None),
        };
        let format = CheckFormat::from_str(format, false).map_err(|_| {
            let formats = CheckFormat::value_variants().iter();
            let names = formats.filter_map(ValueEnum::to_possible_value);
            let names: Vec<_> = names.map(|name| name.get_name().to_owned()).collect();
            format!("`{format}` is no format: it is one of {}", names.join(", "))
        })?;
        Ok(Self { format, file })
    }
}
