//! The compatibility page: what the matrix found, written between the page's marks. What lies
//! outside of them is people's.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{cell::Played, table::Table};

/// Where the page has the table of kernels and mechanisms.
pub(crate) const MATRIX: &str = "matrix";
/// Where it has that of the kernels beside the matrix.
pub(crate) const OTHERS: &str = "other kernels";
/// Where it has the table of scenarios and kernels.
pub(crate) const SCENARIOS: &str = "scenarios";

/// Replaces what is between the marks called `place`.
pub(crate) fn write(page: &Path, place: &str, content: &str) -> Result<()> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let begin = format!("<!-- {place}: written by cargo xtask vm -->\n");
    let end = format!("<!-- end of {place} -->");
    let parts = text
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, after)) = parts else {
        bail!(
            "{} has no place for the {place}: it needs {begin:?} and {end:?}",
            page.display()
        );
    };
    let text = format!("{before}{begin}\n{}\n\n{end}{after}", content.trim_end());
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

/// What one kernel showed of every scenario, through each mechanism that shows anything there.
pub(crate) struct Kernel<'a> {
    pub(crate) name: &'a str,
    pub(crate) mechanisms: Vec<(&'a str, &'a [Played])>,
}

/// A row for each scenario and a column for each kernel, and below it why not everything passed.
pub(crate) fn scenarios(kernels: &[Kernel<'_>]) -> String {
    let header = kernels.iter().map(|kernel| kernel.name.to_owned());
    let mut table = Table::new(["scenario".to_owned()].into_iter().chain(header));
    let mut notes = Notes::default();
    for name in names(kernels) {
        let cells = kernels.iter().map(|kernel| cell(kernel, name, &mut notes));
        table.row([format!("`{name}`")].into_iter().chain(cells).collect());
    }
    format!("{}\n{}", table.markdown(), notes.list())
}

/// Every scenario's name, in the order of the catalogue.
fn names<'a>(kernels: &[Kernel<'a>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    let played = kernels.iter().flat_map(|kernel| &kernel.mechanisms);
    for scenario in played.flat_map(|(_, played)| *played) {
        if !names.contains(&scenario.name.as_str()) {
            names.push(scenario.name.as_str());
        }
    }
    names
}

/// One word if every mechanism says the same, or else what each says.
fn cell(kernel: &Kernel<'_>, name: &str, notes: &mut Notes) -> String {
    let mut said: Vec<(String, Vec<&str>)> = Vec::new();
    for (mechanism, played) in &kernel.mechanisms {
        let mark = match played.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => notes.mark(scenario),
            None => "not played".to_owned(),
        };
        match said.iter_mut().find(|(other, _)| *other == mark) {
            Some((_, mechanisms)) => mechanisms.push(mechanism),
            None => said.push((mark, vec![mechanism])),
        }
    }
    match &said[..] {
        [] => "–".to_owned(),
        [(mark, _)] => mark.clone(),
        several => {
            let parts = several
                .iter()
                .map(|(mark, mechanisms)| format!("{}: {mark}", mechanisms.join(", ")));
            parts.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The reasons below the table, each with its number.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn mark(&mut self, scenario: &Played) -> String {
        let word = match scenario.how {
            "pass" => return "✓".to_owned(),
            "fail" => "**fails**",
            "inconclusive" => "open",
            other => other,
        };
        let Some(reason) = &scenario.reason else {
            return word.to_owned();
        };
        let known = self.0.iter().position(|other| other == reason);
        let at = known.unwrap_or_else(|| {
            self.0.push(reason.clone());
            self.0.len() - 1
        });
        format!("{word} ({})", at + 1)
    }

    fn list(&self) -> String {
        let line = |(at, reason): (usize, &String)| format!("{}. {reason}\n", at + 1);
        self.0.iter().enumerate().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(name: &str, how: &'static str, reason: Option<&str>) -> Played {
        Played {
            name: name.to_owned(),
            how,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn mechanisms_that_agree_are_one_word_and_reasons_are_said_once() {
        let all = [
            played("a", "pass", None),
            played("b", "skip", Some("no such option")),
        ];
        let some = [
            played("a", "inconclusive", Some("copy is not watched here")),
            played("b", "skip", Some("no such option")),
        ];
        let kernels = [
            Kernel {
                name: "5.10",
                mechanisms: vec![("kprobe", &all)],
            },
            Kernel {
                name: "7.3",
                mechanisms: vec![("trampoline", &all), ("tracepoint", &some)],
            },
        ];
        assert_eq!(
            scenarios(&kernels),
            "| scenario | 5.10 | 7.3 |\n\
             | --- | --- | --- |\n\
             | `a` | ✓ | trampoline: ✓; tracepoint: open (1) |\n\
             | `b` | skip (2) | skip (2) |\n\
             \n\
             1. copy is not watched here\n\
             2. no such option\n"
        );
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.md");
        let begin = "<!-- matrix: written by cargo xtask vm -->\n";
        let page_with = |content: &str| format!("a\n{begin}{content}<!-- end of matrix -->\nb\n");
        fs::write(&page, page_with("old\n")).unwrap();
        write(&page, MATRIX, "new\n").unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), page_with("\nnew\n\n"));
        let error = write(&page, SCENARIOS, "new").unwrap_err();
        assert!(error.to_string().contains("no place for the scenarios"));
    }
}
