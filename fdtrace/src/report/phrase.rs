//! Phrases: what the formats for people say alike of a transfer, of counts, losses and times.
//!
//! What the traced system chose comes out as [`sanitize`] leaves it; a format adds its own escaping.

use std::fmt::Write as _;

use super::{Summary, sanitize};
use crate::model::{Cause, Counts, EXACT_MAX, Fate, Hop, Losses, Transfer};

/// `truncated (no-control-room)`.
pub(crate) fn ended(fate: Fate, cause: Option<Cause>) -> String {
    match cause {
        Some(cause) => format!("{fate} ({cause})"),
        None => fate.to_string(),
    }
}

/// Who received it or, where its socket was closed unread, who closed that.
pub(super) fn receiver(transfer: &Transfer) -> Option<(u32, &str)> {
    if let Some(receiver) = transfer.receiver() {
        return Some((receiver.pid, &receiver.comm));
    }
    let closed = transfer.hops.iter().find(|seen| seen.hop == Hop::End);
    closed
        .filter(|_| transfer.cause() == Some(Cause::ReceiverClosed))
        // What a kernel thread closes, it closes for another.
        .filter(|seen| !seen.comm.starts_with("kworker/"))
        .map(|seen| (seen.pid, seen.comm.as_str()))
}

/// A descriptor's number or a count, `?` where it is not known.
pub(super) fn number<T: ToString>(number: Option<T>) -> String {
    number.map_or("?".to_owned(), |number| number.to_string())
}

/// `nginx[812] 9`: a process and its number for a file.
pub(crate) fn party(comm: &str, pid: u32, fd: Option<i32>) -> String {
    format!("{}[{pid}] {}", sanitize(comm), number(fd))
}

/// `48,620`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 transfer`, `2 transfers`.
pub(super) fn count(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// `3 delivered, 1 queued`, or `none`.
pub(super) fn counts<T: Copy + PartialEq + ToString>(counts: &Counts<T>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(what, count)| format!("{count} {}", what.to_string()))
        .collect();
    parts.join(", ")
}

/// What went unseen, if anything did.
pub(crate) fn losses(losses: &Losses) -> Vec<String> {
    let mut lost: Vec<String> = losses
        .events
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(hop, count)| format!("{count} at {hop}"))
        .collect();
    for (count, what) in [
        (
            losses.recursion_misses,
            "program runs skipped by the kernel",
        ),
        (losses.window_full, "receives without room to be followed"),
        (losses.filter_full, "records not kept for the filter"),
        (losses.raced, "sends received before they could be read"),
        (losses.unread_sends, "failed sends not read"),
        (losses.descriptions, "descriptions"),
    ] {
        if count > 0 {
            lost.push(format!("{count} {what}"));
        }
    }
    lost
}

/// Why not every scenario was run, if not all were.
pub(super) fn not_run(summary: &Summary) -> Option<String> {
    let left = match summary.not_run {
        0 if summary.interrupted => return Some("interrupted before all was done".to_owned()),
        0 => return None,
        1 => "1 scenario was not run".to_owned(),
        count => format!("{count} scenarios were not run"),
    };
    let why = if summary.interrupted {
        "interrupted"
    } else {
        "ended at the first failure"
    };
    Some(format!("{why}: {left}"))
}

/// A time span, to three digits.
pub(crate) fn duration(ns: u64) -> String {
    let mut text = String::new();
    push_duration(&mut text, ns);
    text
}

/// Appends a time span, to three digits.
pub(super) fn push_duration(text: &mut String, ns: u64) {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, " s"), (1_000_000, " ms"), (1_000, " µs")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| ns >= *unit) else {
        push_number(text, ns);
        return text.push_str(" ns");
    };
    let decimals = usize::from(ns < 100 * unit);
    let step = if decimals == 1 { unit / 10 } else { unit };
    if ns % step == step / 2 || ns > EXACT_MAX {
        // Which of two equally near ones it is, a double decides.
        let value = ns as f64 / unit as f64;
        let _ = write!(text, "{value:.decimals$}{name}");
        return;
    }
    let steps = (ns + step / 2) / step;
    if decimals == 1 {
        push_number(text, steps / 10);
        text.push('.');
        push_number(text, steps % 10);
    } else {
        push_number(text, steps);
    }
    text.push_str(name);
}

/// Appends a number.
pub(super) fn push_number(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_what_a_double_of_it_is_rounded_to() {
        for unit in [1_000, 1_000_000, 1_000_000_000_u64] {
            for steps in 10..2_100 {
                for beside in [0, 1, unit / 20 - 1, unit / 20, unit / 20 + 1, unit / 10 - 1] {
                    let ns = steps * unit / 10 + beside;
                    let (scale, name) = match ns {
                        1_000_000_000.. => (1e9, "s"),
                        1_000_000.. => (1e6, "ms"),
                        _ => (1e3, "µs"),
                    };
                    let value = ns as f64 / scale;
                    let decimals = if value >= 100.0 { 0 } else { 1 };
                    assert_eq!(duration(ns), format!("{value:.decimals$} {name}"), "{ns}");
                }
            }
        }
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(u64::MAX), "18446744074 s");
    }
}
