//! One page that shows a trace, with nothing to load from anywhere.
//!
//! The page's frame is made here, its lists and drawings by the scripts in `page/` from rows that are
//! embedded as JSON. Text of the traced system is shown by its code where it would act on a terminal, is
//! escaped so that it cannot end the element it is in, and only ever becomes text on the page.

mod rows;

use std::io;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    phrase::{count, duration},
    sanitize, still_open,
};
use crate::{
    model::{Counts, Judged, Losses, Mark, PlanEntry, Pointers, Tally, Verdict},
    watch::{TraceEnd, TraceReport, TraceStart},
};
use rows::Rows;

const STYLE: &str = include_str!("page/page.css");
/// One function in four parts.
const SCRIPT: &str = concat!(
    include_str!("page/model.js"),
    include_str!("page/list.js"),
    include_str!("page/steps.js"),
    include_str!("page/drawings.js"),
);

/// What stands above the list.
#[derive(Default)]
struct Heading {
    version: String,
    kernel: String,
    wall_ns: u64,
    begin_ns: u64,
    plan: Vec<PlanEntry>,
}

/// Writes the page when all is known.
pub struct Html<W> {
    out: W,
    pointers: Pointers,
    heading: Heading,
    rows: Rows,
    marks: Counts<Mark>,
}

impl<W: io::Write> Html<W> {
    /// Writes to `out`.
    pub fn new(out: W, pointers: Pointers) -> Self {
        Self {
            out,
            pointers,
            heading: Heading::default(),
            rows: Rows::default(),
            marks: Counts::default(),
        }
    }

    /// Nanoseconds since the trace began.
    fn since_begin(&self, t_ns: u64) -> u64 {
        t_ns.saturating_sub(self.heading.begin_ns)
    }
}

impl<W: io::Write> TraceReport for Html<W> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
        const DAY_NS: i128 = 86_400_000_000_000;
        let local_ns = i128::from(start.wall_ns) + i128::from(start.utc_offset_s) * 1_000_000_000;
        let local_us = u64::try_from(local_ns.rem_euclid(DAY_NS) / 1000).unwrap_or_default();
        self.rows = Rows::new(start.t_ns, local_us);
        self.heading = Heading {
            version: start.version.to_owned(),
            kernel: sanitize(start.kernel),
            wall_ns: start.wall_ns,
            begin_ns: start.t_ns,
            plan: start.plan.to_vec(),
        };
        Ok(())
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        for mark in judged.marks() {
            self.marks.add(mark);
        }
        self.rows.add(judged, &mut self.pointers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        let elapsed = duration(self.since_begin(end.t_ns));
        let head = head(&self.heading.kernel);
        let body = body(&self.heading, tally, losses, end, &self.marks, &elapsed);
        self.out.write_all(html! { (DOCTYPE) }.0.as_bytes())?;
        self.out.write_all(b"<html lang=\"en\">")?;
        self.out.write_all(head.0.as_bytes())?;
        self.out.write_all(b"<body>")?;
        self.out.write_all(body.0.as_bytes())?;
        self.out
            .write_all(b"<script type=\"application/json\" id=\"data\">")?;
        self.rows.write(&mut self.out)?;
        self.out.write_all(b"</script><script>")?;
        self.out.write_all(SCRIPT.as_bytes())?;
        self.out.write_all(b"</script></body></html>\n")?;
        self.out.flush()
    }
}

fn head(kernel: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            // Nothing is loaded, whatever a name might ask for.
            meta http-equiv="Content-Security-Policy"
                content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
            title { "fdtrace on Linux " (kernel) }
            link rel="icon" href="data:,";
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn body(
    heading: &Heading,
    tally: &Tally,
    losses: &Losses,
    end: &TraceEnd,
    marks: &Counts<Mark>,
    elapsed: &str,
) -> Markup {
    html! {
        header {
            h1 { "Descriptors passed on Linux " (heading.kernel) }
            p class="dim" {
                "traced by fdtrace " (heading.version) " on " (date(heading.wall_ns)) " for " (elapsed)
            }
            ul class="chips" aria-label="what became of them" {
                li { (count(tally.transfers(), "transfer")) }
                @for (fate, count) in tally.fates().iter() {
                    li { (chip("fate", fate.name(), count)) }
                }
                @for (verdict, count) in tally.verdicts().iter() {
                    li { (chip("verdict", verdict.name(), count)) }
                }
                @for (mark, count) in marks.iter() {
                    li { (chip("mark", mark.name(), count)) }
                }
            }
            @if tally.verdict(Verdict::Different) > 0 {
                p class="warning different" { "What came out was not what went in." }
            }
            @if losses.any() || tally.forgotten() > 0 {
                p class="warning" {
                    "Records were lost: what is missing here may have been there, and no verdict stands on it."
                }
            }
            @for unread in end.unread.sentences() {
                p class="warning" { "Not read: " (sanitize(&unread)) }
            }
            @if let Some(why) = &end.incomplete {
                p class="warning" { (sanitize(why)) }
            }
            @if let Some(status) = end.command_status {
                p { "The traced command ended with status " (status) "." }
            }
        }
        noscript { p class="warning" { "The lists and drawings below need JavaScript." } }
        main {
            section aria-labelledby="transfers" {
                h2 id="transfers" { "Transfers" }
                form id="filters" {
                    label class="search" { "search: file, port, program, pid, cause ( / )"
                        input name="search" type="search" autocomplete="off" placeholder="8080 proxy truncated"; }
                    label { "kind of file" select name="kind" { option value="" { "any" } } }
                    button type="reset" { "Show all" }
                }
                p id="shown" class="dim" aria-live="polite" {}
                div id="list" tabindex="0" role="listbox" aria-label="Transfers: arrows move, Enter opens one" {
                    div id="rows" role="presentation" {}
                }
            }
            section aria-labelledby="sequence-title" {
                h2 id="sequence-title" { "In order of time" }
                div class="bar" {
                    button type="button" id="earlier" { "Earlier" }
                    button type="button" id="later" { "Later" }
                    button type="button" id="scale" aria-pressed="false" { "To scale" }
                    span id="page" class="dim" aria-live="polite" {}
                }
                div id="sequence" class="scroll" tabindex="0" aria-label="Sequence diagram" {}
            }
            section aria-labelledby="graph-title" {
                h2 id="graph-title" { "Who hands what to whom" }
                div id="graph" class="scroll" tabindex="0" aria-label="Graph and table" {}
            }
            (holdings(end))
            (watched(&heading.plan))
        }
    }
}

/// What is still open of what was passed, if anybody looked.
fn holdings(end: &TraceEnd) -> Markup {
    let sentences = still_open::sentences(&end.holdings, end.t_ns);
    let troubles = still_open::troubles(&end.holdings);
    html! {
        @if !(sentences.is_empty() && troubles.is_empty()) {
            section aria-labelledby="still-open" {
                h2 id="still-open" { "Still open" }
                ul {
                    @for sentence in &sentences { li { (sentence) } }
                }
                @for trouble in &troubles { p class="warning" { (trouble) } }
            }
        }
    }
}

/// A count that filters when it is pressed.
fn chip(of: &str, value: &str, count: u64) -> Markup {
    html! {
        button type="button" class={ "chip " (value) } data-of=(of) data-value=(value) aria-pressed="false" {
            (count) " " (value)
        }
    }
}

/// How each hop was watched.
fn watched(plan: &[PlanEntry]) -> Markup {
    html! {
        section aria-labelledby="watched" {
            h2 id="watched" { "How it was watched" }
            div class="scroll" {
                table {
                    tbody {
                        @for entry in plan {
                            tr {
                                th scope="row" { (entry.hop) }
                                td {
                                    @if entry.skipped {
                                        span class="dim" { "not watched: " (sanitize(entry.why.as_deref().unwrap_or_default())) }
                                    } @else {
                                        (entry.mechanism.as_deref().unwrap_or_default()) " "
                                        code { (sanitize(entry.target.as_deref().unwrap_or_default())) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The day and time in UTC, as `2026-11-24 23:59:01 UTC`.
fn date(wall_ns: u64) -> String {
    const DAY_S: u64 = 86_400;
    let seconds = wall_ns / 1_000_000_000;
    let (days, rest) = (seconds / DAY_S, seconds % DAY_S);
    // Days since 1 March of year 0, in which the leap day is the last of the year.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_over_leap_days() {
        let at = |seconds: u64| date(seconds * 1_000_000_000);
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
