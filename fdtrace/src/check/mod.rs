//! Check: what a command's hand-overs are expected to be, and whether they were.
//!
//! Expectations come as lines ([`line`]) or from a file ([`file`]), and are held against transfers that
//! have been judged ([`judge`]). Nothing here runs anything.
//!
//! There are three answers, and silence is none of them: it holds, it does not, or it cannot be said,
//! because something was lost or not watched.

mod bless;
mod expectation;
mod file;
mod judge;
mod later;
mod line;
mod pattern;

pub use bless::bless;
pub use expectation::{Allowance, Count, Each, Expectation, Expectations};
pub use file::parse as parse_file;
pub use judge::{Answer, Checked, Finding, NOTHING_LOST, Nearby, Seen, judge};
pub use line::parse as parse_line;
pub use pattern::{Compared, Fit, Pattern};

/// What is wrong with an expectation as it was written, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{column}: {what}{}", line.map_or_else(String::new, |line| format!("line {line}, ")) + "column ", suggestion(.instead.as_deref()))]
pub struct SyntaxError {
    /// The line, from 1; `None` where there is just one.
    pub line: Option<usize>,
    /// The column, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
    /// What may have been meant.
    pub instead: Option<String>,
}

fn suggestion(instead: Option<&str>) -> String {
    instead.map_or_else(String::new, |instead| {
        format!("; did you mean `{instead}`?")
    })
}

/// Which of these names may have been meant.
fn similar<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const ALIKE: f64 = 0.7;
    let alike = names
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known));
    let best = alike.filter(|(alike, _)| *alike > ALIKE);
    let best = best.max_by(|one, two| one.0.total_cmp(&two.0));
    best.map(|(_, known)| known.to_owned())
}
