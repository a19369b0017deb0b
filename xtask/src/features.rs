//! fdtrace's features: each may be left out alone, and all of them together.

use anyhow::Result;

use crate::process;

/// The features that are on by default.
const FEATURES: [&str; 3] = ["explain", "html", "junit"];

/// Lints the library, the command and the examples without each feature, and without any. The tests
/// need all of them.
pub(crate) fn check() -> Result<String> {
    let without = |left_out| FEATURES.into_iter().filter(move |it| *it != left_out);
    let mut selections: Vec<Vec<&str>> = FEATURES.map(|it| without(it).collect()).into();
    selections.push(Vec::new());
    for features in selections {
        let mut clippy = process::cargo();
        clippy.args([
            "clippy",
            "--quiet",
            "--package",
            "fdtrace",
            "--lib",
            "--bins",
        ]);
        clippy.args(["--examples", "--no-default-features", "--features"]);
        clippy
            .arg(features.join(","))
            .args(["--", "-D", "warnings"]);
        process::run(&mut clippy)?;
    }
    Ok(format!(
        "without each of {}, and without any",
        FEATURES.join(", ")
    ))
}
