//! Whether GitHub would take the action and the workflows: action-validator holds them against GitHub's
//! own schemas.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    process,
    test::Outcome::{self, Passed, Skipped},
    workspace,
};

const PACKAGES: [&str; 2] = [
    "@action-validator/cli@0.6.0",
    "@action-validator/core@0.6.0",
];

/// Checks them all, with the validator from npm, which is installed into the cache unless `no_install`.
pub(crate) fn check(no_install: bool) -> Result<Outcome> {
    let folder = workspace::cache().join("action-validator");
    let validator = folder.join("node_modules/.bin/action-validator");
    if !validator.is_file() {
        if no_install || process::find("npm").is_none() {
            let packages = PACKAGES.join(" ");
            return Ok(Skipped(format!(
                "no action-validator: `npm install {packages}` has it"
            )));
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]);
        process::run(npm.arg(&folder).args(PACKAGES))?;
    }
    let files = files()?;
    for file in &files {
        process::run(Command::new(&validator).arg(file))?;
    }
    // It can fail: this is no job.
    let wrong = folder.join("wrong.yml");
    fs::write(
        &wrong,
        "on: push\njobs:\n  one:\n    runs-on: 3\n    stepz: []\n",
    )
    .with_context(|| format!("cannot write {}", wrong.display()))?;
    let taken = process::succeeds(Command::new(&validator).arg(&wrong));
    ensure!(!taken, "action-validator takes a workflow that is none");
    Ok(Passed(format!("{} files", files.len())))
}

fn files() -> Result<Vec<PathBuf>> {
    let workflows = workspace::root().join(".github/workflows");
    let entries =
        fs::read_dir(&workflows).with_context(|| format!("cannot list {}", workflows.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.push(workspace::root().join("action.yml"));
    Ok(files)
}
