//! A page in a browser: made where it can stay, and shown by what the user has for that.

use std::{
    env,
    ffi::OsString,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::CannotRun;

/// Makes a page by `write` and shows the place in it that `fragment` names.
///
/// # Errors
/// If the page cannot be written, or there is no browser.
pub(super) fn show(
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
    fragment: &str,
) -> Result<PathBuf> {
    let mut page = tempfile::Builder::new()
        .prefix("fdtrace-")
        .suffix(".html")
        .tempfile()
        .context("cannot make a page")?;
    write(&mut page)?;
    // The browser reads it when it likes.
    let (_, path) = page.keep().context("cannot keep the page")?;
    let mut place = OsString::from("file://");
    place.push(&path);
    place.push(fragment);
    let browser = env::var_os("BROWSER").unwrap_or_else(|| "xdg-open".into());
    let shown = Command::new(&browser)
        .arg(&place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if shown.is_err() {
        return Err(CannotRun {
            what: format!(
                "there is no {} to show {} with",
                browser.display(),
                path.display()
            ),
            hint: "open it yourself, or name a browser in BROWSER",
        }
        .into());
    }
    Ok(path)
}
