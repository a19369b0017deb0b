//! Rows: what the page's scripts draw from, as JSON: names and numbers once, and a row a transfer, so
//! that a hundred thousand of them stay a few megabytes.

use std::{collections::HashMap, hash::Hash, io};

use serde_json::{Value, json};

use super::super::{lines::file_name, sanitize};
use crate::{
    explain::words,
    judge::ledger,
    model::{Cause, Hop, Judged, Mark, Pointers, SocketType, Transfer},
};

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

/// Rows so far, and what they have in common.
#[derive(Default)]
pub(super) struct Rows {
    /// CLOCK_MONOTONIC of the beginning, nanoseconds.
    begin_ns: u64,
    /// The time of day then, where it was traced, microseconds.
    local_us: u64,
    processes: Table<(u32, String)>,
    paths: Table<String>,
    names: Table<String>,
    inodes: Table<String>,
    files: Table<String>,
    addresses: Table<String>,
    fates: Table<&'static str>,
    causes: Table<&'static str>,
    kinds: Table<&'static str>,
    verdicts: Table<&'static str>,
    /// As JSON.
    rows: Vec<u8>,
}

impl Rows {
    /// Of a trace that began so.
    pub(super) fn new(begin_ns: u64, local_us: u64) -> Self {
        Self {
            begin_ns,
            local_us,
            ..Self::default()
        }
    }

    /// Takes a transfer in.
    pub(super) fn add(&mut self, judged: &Judged, pointers: &mut Pointers) -> io::Result<()> {
        let row = self.row(judged, pointers);
        if !self.rows.is_empty() {
            self.rows.extend_from_slice(b",\n");
        }
        let row = embeddable(serde_json::to_string(&row)?);
        self.rows.extend_from_slice(&row);
        Ok(())
    }

    fn process(&mut self, pid: u32, comm: &str) -> usize {
        let name = sanitize(comm);
        self.processes
            .place((pid, name), |(pid, name)| json!([pid, name]))
    }

    /// Nanoseconds since the trace began: small enough for JavaScript's numbers.
    fn since_begin(&self, t_ns: u64) -> u64 {
        t_ns.saturating_sub(self.begin_ns)
    }

    /// What the scripts know by place.
    fn row(&mut self, judged: &Judged, pointers: &mut Pointers) -> Value {
        let transfer = &judged.transfer;
        let name = |name: &&'static str| json!(name);
        let text = |text: &String| json!(text);
        let hops = self.hops(transfer, pointers);
        let sender = transfer.sender.as_ref();
        let receiver = transfer.receiver();
        let from = sender.map(|sender| self.process(sender.pid, &sender.comm));
        let to = receiver.map(|receiver| self.process(receiver.pid, &receiver.comm));
        let path = transfer.socket.path.as_ref();
        let path = path.map(|path| self.paths.place(sanitize(path), text));
        let skb = transfer.hops.iter().find(|seen| seen.skb != 0);
        let mut address = |kind, at| {
            let shown = pointers.show(kind, at).to_string();
            self.addresses.place(shown, text)
        };
        let skb = skb.map(|seen| address("skb", seen.skb));
        let list = transfer.hops.last();
        let list = list.map(|seen| address("list", seen.list));
        let file = &transfer.file;
        let inode = format!("inode {} on {}", file.ino, file.device());
        let relay = judged.earlier.relay.as_ref();
        let again = judged.earlier.again;
        let marks = judged.marks();
        let marks: u32 = marks.into_iter().map(|mark| 1 << mark as u32).sum();
        json!([
            transfer.id,
            transfer.message,
            transfer.index,
            transfer.count,
            self.files.place(pointers.file(file).to_string(), text),
            self.kinds.place(file.kind().name(), name),
            self.names.place(file_name(transfer), text),
            self.inodes.place(inode, text),
            or_minus_one(from),
            sender.and_then(|sender| sender.fd),
            or_minus_one(to),
            receiver.and_then(|receiver| receiver.fd),
            transfer.socket.kind.map(SocketType::name),
            or_minus_one(path),
            self.fates.place(transfer.fate().name(), name),
            or_minus_one(
                transfer
                    .cause()
                    .map(|cause| self.causes.place(cause.name(), name))
            ),
            or_minus_one(
                judged
                    .verdict
                    .map(|verdict| self.verdicts.place(verdict.name(), name))
            ),
            marks,
            transfer.queued_ns,
            transfer.total_ns,
            hops,
            list,
            skb,
            // A send that failed at once may have been seen at no hop.
            self.since_begin(transfer.last_ns()),
            relay.map(|relay| relay.transfer),
            again.map(|again| again.transfer),
            again.map(|again| again.after_ns),
        ])
    }

    /// Hop by hop, all in a row: hop, time, CPU, who, references, how many there should be, and another
    /// file's address.
    fn hops(&mut self, transfer: &Transfer, pointers: &mut Pointers) -> Vec<Value> {
        let mut hops = Vec::new();
        for entry in ledger::entries(transfer) {
            let seen = entry.seen;
            let who = self.process(seen.pid, &seen.comm);
            let other = (seen.file != transfer.file.ptr).then(|| pointers.file_at(transfer, seen));
            hops.extend([
                json!(seen.hop as usize),
                json!(self.since_begin(seen.t_ns)),
                json!(seen.cpu),
                json!(who),
                json!(seen.refs),
                json!(entry.expected),
                json!(other),
            ]);
        }
        hops
    }

    /// Everything that the scripts draw from.
    pub(super) fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let hops: Vec<&str> = Hop::ALL.into_iter().map(Hop::name).collect();
        let marks: Vec<&str> = Mark::ALL.into_iter().map(Mark::name).collect();
        let causes = self.causes.values.iter().filter_map(Value::as_str);
        let cures: Vec<Option<&str>> = causes
            .map(|cause| words::cure(Cause::of_name(cause)?))
            .collect();
        for (name, values) in [
            ("local_us", json!(self.local_us)),
            ("hops", json!(hops)),
            ("marks", json!(marks)),
            ("processes", json!(self.processes.values)),
            ("paths", json!(self.paths.values)),
            ("names", json!(self.names.values)),
            ("inodes", json!(self.inodes.values)),
            ("files", json!(self.files.values)),
            ("addresses", json!(self.addresses.values)),
            ("fates", json!(self.fates.values)),
            ("causes", json!(self.causes.values)),
            ("cures", json!(cures)),
            ("kinds", json!(self.kinds.values)),
            ("verdicts", json!(self.verdicts.values)),
        ] {
            let before = if name == "local_us" { "{" } else { ",\n" };
            write!(out, "{before}\"{name}\":")?;
            out.write_all(&embeddable(serde_json::to_string(&values)?))?;
        }
        out.write_all(b",\n\"transfers\":[")?;
        out.write_all(&self.rows)?;
        out.write_all(b"]}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_json_cannot_end_its_element() {
        let hostile = json!(["</script><script>alert(1)</script>", "\u{2028}<!--", "a&b"]);
        let text = String::from_utf8(embeddable(hostile.to_string())).expect("it is UTF-8");
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        let back: Value = serde_json::from_str(&text).expect("it is still JSON");
        assert_eq!(back, hostile);
    }
}
