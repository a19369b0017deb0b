//! One page that shows a trace, with nothing to load from anywhere.
//!
//! The page's frame is made here, its lists and drawings by `page.js` from data that is embedded as
//! JSON: names and numbers once, and a row a transfer, so that a hundred thousand of them stay a few
//! megabytes. Text of the traced system is shown by its code where it would act on a terminal, is
//! escaped so that it cannot end the element it is in, and only ever becomes text on the page.

use std::{collections::HashMap, hash::Hash, io};

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};

use super::{duration, sanitize};
use crate::{
    judge::ledger,
    model::{
        Hop, HopSeen, Judged, Losses, PlanEntry, Pointers, SocketType, Tally, Transfer, Verdict,
    },
    watch::{TraceEnd, TraceReport, TraceStart},
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Values that many rows have in common, and the place of each.
struct Table<T> {
    values: Vec<Value>,
    places: HashMap<T, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Eq + Hash> Table<T> {
    fn place(&mut self, key: T, value: impl FnOnce(&T) -> Value) -> usize {
        let next = self.values.len();
        let values = &mut self.values;
        match self.places.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => *known.get(),
            std::collections::hash_map::Entry::Vacant(new) => {
                values.push(value(new.key()));
                *new.insert(next)
            }
        }
    }
}

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
    processes: Table<(u32, String)>,
    paths: Table<String>,
    fates: Table<&'static str>,
    causes: Table<&'static str>,
    kinds: Table<&'static str>,
    verdicts: Table<&'static str>,
    /// A row a transfer, as JSON.
    rows: Vec<u8>,
}

impl<W: io::Write> Html<W> {
    /// Writes to `out`.
    pub fn new(out: W, pointers: Pointers) -> Self {
        Self {
            out,
            pointers,
            heading: Heading::default(),
            processes: Table::default(),
            paths: Table::default(),
            fates: Table::default(),
            causes: Table::default(),
            kinds: Table::default(),
            verdicts: Table::default(),
            rows: Vec::new(),
        }
    }

    fn process(&mut self, pid: u32, comm: &str) -> usize {
        let name = sanitize(comm);
        self.processes
            .place((pid, name), |(pid, name)| json!([pid, name]))
    }

    /// Nanoseconds since the trace began: small enough for JavaScript's numbers.
    fn since_begin(&self, t_ns: u64) -> u64 {
        t_ns.saturating_sub(self.heading.begin_ns)
    }

    /// What `page.js` knows by place.
    fn row(&mut self, judged: &Judged) -> Value {
        let transfer = &judged.transfer;
        let name = |name: &&'static str| json!(name);
        let hops: Vec<Value> = ledger::entries(transfer)
            .map(|entry| self.hop(transfer, entry.seen, entry.expected))
            .collect();
        let sender = transfer.sender.as_ref();
        let receiver = transfer.receiver.as_ref();
        let from = sender.map(|sender| self.process(sender.pid, &sender.comm));
        let to = receiver.map(|receiver| self.process(receiver.pid, &receiver.comm));
        let path = transfer.socket.path.as_ref();
        let path = path.map(|path| self.paths.place(sanitize(path), |path| json!(path)));
        let skb = transfer.hops.iter().find(|seen| seen.skb != 0);
        let list = transfer.hops.last();
        // A send that failed at once may have been seen at no hop.
        let elsewhere = list.is_none().then(|| self.since_begin(transfer.last_ns()));
        json!([
            transfer.id,
            transfer.message,
            transfer.index,
            transfer.count,
            self.pointers.file(&transfer.file),
            self.kinds.place(transfer.file.kind().name(), name),
            // Text, for it may be more than JavaScript's numbers hold.
            transfer.file.ino.to_string(),
            transfer.file.device(),
            or_minus_one(from),
            sender.and_then(|sender| sender.fd),
            or_minus_one(to),
            receiver.and_then(|receiver| receiver.fd),
            transfer.socket.kind.map(SocketType::name),
            or_minus_one(path),
            self.fates.place(transfer.fate.name(), name),
            or_minus_one(
                transfer
                    .cause
                    .map(|cause| self.causes.place(cause.name(), name))
            ),
            or_minus_one(
                judged
                    .verdict
                    .map(|verdict| self.verdicts.place(verdict.name(), name))
            ),
            transfer.queued_ns,
            transfer.total_ns,
            hops,
            list.map(|seen| self.pointers.show("list", seen.list)),
            skb.map(|seen| self.pointers.show("skb", seen.skb)),
            elsewhere,
        ])
    }

    fn hop(&mut self, transfer: &Transfer, seen: &HopSeen, expected: Option<i64>) -> Value {
        let who = self.process(seen.pid, &seen.comm);
        let other = (seen.file != transfer.file.ptr).then(|| self.pointers.file_at(transfer, seen));
        json!([
            seen.hop as usize,
            self.since_begin(seen.t_ns),
            seen.cpu,
            who,
            seen.refs,
            expected,
            other
        ])
    }

    /// Everything that `page.js` draws from.
    fn write_data(&mut self) -> io::Result<()> {
        let hops: Vec<&str> = Hop::ALL.into_iter().map(Hop::name).collect();
        for (name, values) in [
            ("hops", json!(hops)),
            ("processes", json!(self.processes.values)),
            ("paths", json!(self.paths.values)),
            ("fates", json!(self.fates.values)),
            ("causes", json!(self.causes.values)),
            ("kinds", json!(self.kinds.values)),
            ("verdicts", json!(self.verdicts.values)),
        ] {
            let before = if name == "hops" { "{" } else { ",\n" };
            write!(self.out, "{before}\"{name}\":")?;
            self.out
                .write_all(&embeddable(serde_json::to_string(&values)?))?;
        }
        self.out.write_all(b",\n\"transfers\":[")?;
        self.out.write_all(&self.rows)?;
        self.out.write_all(b"]}")
    }
}

fn or_minus_one(place: Option<usize>) -> i64 {
    place
        .and_then(|place| i64::try_from(place).ok())
        .unwrap_or(-1)
}

/// JSON that can stand in a `script` element: what could end the element, or a line of JavaScript,
/// is written by its code. Outside of strings JSON has none of these.
fn embeddable(json: String) -> Vec<u8> {
    const DANGEROUS: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    if !json.contains(DANGEROUS) {
        return json.into_bytes();
    }
    let mut safe = String::with_capacity(json.len() + 64);
    for char in json.chars() {
        if DANGEROUS.contains(&char) {
            safe.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            safe.push(char);
        }
    }
    safe.into_bytes()
}

impl<W: io::Write> TraceReport for Html<W> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
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
        let row = self.row(judged);
        if !self.rows.is_empty() {
            self.rows.extend_from_slice(b",\n");
        }
        let row = embeddable(serde_json::to_string(&row)?);
        self.rows.extend_from_slice(&row);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        let elapsed = duration(self.since_begin(end.t_ns));
        let head = head(&self.heading.kernel);
        let body = body(&self.heading, tally, losses, end, &elapsed);
        self.out.write_all(html! { (DOCTYPE) }.0.as_bytes())?;
        self.out.write_all(b"<html lang=\"en\">")?;
        self.out.write_all(head.0.as_bytes())?;
        self.out.write_all(b"<body>")?;
        self.out.write_all(body.0.as_bytes())?;
        self.out
            .write_all(b"<script type=\"application/json\" id=\"data\">")?;
        self.write_data()?;
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
    elapsed: &str,
) -> Markup {
    html! {
        header {
            h1 { "Descriptors passed on Linux " (heading.kernel) }
            p class="dim" {
                "traced by fdtrace " (heading.version) " on " (date(heading.wall_ns)) " for " (elapsed)
            }
            ul class="chips" aria-label="what became of them" {
                li { (tally.transfers()) " transfers" }
                @for (fate, count) in tally.fates().iter() {
                    li { span class=(fate.name()) { (count) " " (fate.name()) } }
                }
                @for (verdict, count) in tally.verdicts().iter() {
                    li { "verdict " span class=(verdict.name()) { (count) " " (verdict.name()) } }
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
                    label { "process, by name or id" input name="process" type="search" autocomplete="off"; }
                    label { "fate" select name="fate" { option value="" { "any" } } }
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
            (watched(&heading.plan))
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

    #[test]
    fn embedded_json_cannot_end_its_element() {
        let hostile = json!(["</script><script>alert(1)</script>", "\u{2028}<!--", "a&b"]);
        let text = String::from_utf8(embeddable(hostile.to_string())).expect("it is UTF-8");
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        let back: Value = serde_json::from_str(&text).expect("it is still JSON");
        assert_eq!(back, hostile);
    }
}
