//! What the trace says of a play, held against what the play knows.
//!
//! Transfers and passes of one inode number are matched so that as many as possible agree. What is
//! left over on either side is wrong, missing, or was never played.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, de};

use super::truth::{Due, Pass, Place};

/// A transfer as JSON has it, as far as plays know better.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    #[serde(deserialize_with = "digits")]
    pub(super) t_ns: u64,
    pub(super) file: File,
    pub(super) sender: Option<End>,
    pub(super) receiver: Option<End>,
    pub(super) fate: String,
    pub(super) cause: Option<String>,
    pub(super) verdict: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct File {
    #[serde(deserialize_with = "digits")]
    pub(super) ino: u64,
    pub(super) path: Option<String>,
    pub(super) description: Option<String>,
}

/// A number that JSON has as a string, so that none of its digits is lost.
fn digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let digits = String::deserialize(deserializer)?;
    digits.parse().map_err(de::Error::custom)
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct End {
    pub(super) pid: i32,
    pub(super) fd: Option<i32>,
}

/// What came of a play.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) passes: usize,
    pub(super) same: usize,
    /// Of no verdict, or another than `same`.
    pub(super) doubted: usize,
    /// Of the fate `unknown`.
    pub(super) unknown: usize,
    /// Not told, where records were lost.
    pub(super) lost: usize,
    /// Told, and others' affair: of processes and files that the play knows nothing of.
    pub(super) strange: usize,
    /// What is not so, or was not said and had to be.
    pub(super) wrong: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.passes += other.passes;
        self.same += other.same;
        self.doubted += other.doubted;
        self.unknown += other.unknown;
        self.lost += other.lost;
        self.strange += other.strange;
        self.wrong.extend(other.wrong);
    }
}

/// What the trace says that it has missed.
#[derive(Clone, Copy, Default)]
pub(super) struct Missed {
    /// Records were lost, or runs skipped.
    pub(super) records: bool,
    /// Failed sends could not be read.
    pub(super) failed_sends: bool,
}

/// Holds all that is told of a play against all that it knows.
pub(super) fn check(passes: &[Pass], told: &[Told], missed: Missed) -> Tally {
    let lossless = !missed.records;
    let matching = Matching::of(passes, told);
    let mut tally = Tally {
        passes: passes.len(),
        ..Tally::default()
    };
    for (pass, transfer) in passes.iter().zip(&matching.transfers) {
        let Some(transfer) = transfer.map(|at| &told[at]) else {
            continue;
        };
        match transfer.verdict.as_deref() {
            Some("same") => tally.same += 1,
            _ => tally.doubted += 1,
        }
        tally.unknown += usize::from(transfer.fate == "unknown");
        let silences = silences(pass, transfer);
        if lossless && !silences.is_empty() {
            tally.wrong.push(complaint(&silences, pass, transfer));
        }
    }
    let mut left: Vec<&Told> = matching.left_of(told);
    for pass in matching.unmatched(passes) {
        let same_file = |transfer: &&Told| transfer.file.ino == pass.ino;
        let nearest = (0..left.len())
            .filter(|at| same_file(&left[*at]))
            .min_by_key(|at| distance(pass, left[*at]));
        match nearest {
            Some(at) => {
                let transfer = left.remove(at);
                tally
                    .wrong
                    .push(complaint(&contradictions(pass, transfer), pass, transfer));
            }
            None if pass.optional => {}
            None if missed.failed_sends && pass.fates == ["failed"] => tally.lost += 1,
            None if lossless => tally.wrong.push(format!("not told: {}", known(pass))),
            None => tally.lost += 1,
        }
    }
    for transfer in left {
        if !is_played(passes, transfer) {
            tally.strange += 1;
            continue;
        }
        // Where records were lost, half of a transfer may stand alone, if it says no more than that.
        if lossless || (transfer.fate != "unknown" && transfer.verdict.as_deref() != Some("lost")) {
            tally
                .wrong
                .push(format!("never played: {}", said(transfer)));
        }
    }
    tally
}

/// Whether a process or a file of the play is told of: the machine may have others, and of some
/// messages nobody knows whose they are.
fn is_played(passes: &[Pass], told: &Told) -> bool {
    passes.iter().any(|pass| {
        let places = [pass.sender, pass.receiver].into_iter().flatten();
        let ends = [&told.sender, &told.receiver].into_iter().flatten();
        let pids = ends.map(|end| end.pid).collect::<Vec<_>>();
        pass.ino == told.file.ino || places.into_iter().any(|place| pids.contains(&place.pid))
    })
}

fn complaint(what: &[String], pass: &Pass, transfer: &Told) -> String {
    let what = what.join(", ");
    format!("{what}: {}, in truth {}", said(transfer), known(pass))
}

/// What the trace says of this transfer and is not so of this pass.
fn contradictions(pass: &Pass, told: &Told) -> Vec<String> {
    let mut wrong = Vec::new();
    if told.fate != "unknown" && !pass.fates.contains(&told.fate) {
        wrong.push("fate".to_owned());
    }
    if let Some(cause) = &told.cause {
        let installed = matches!(told.fate.as_str(), "delivered" | "peeked");
        if installed || !(pass.causes.is_empty() || pass.causes.contains(cause)) {
            wrong.push("cause".to_owned());
        }
    }
    wrong.extend(end("sender", told.sender.as_ref(), pass.sender));
    // Who took a message and got nothing is no place in a table.
    if pass.receiver.is_some() {
        wrong.extend(end("receiver", told.receiver.as_ref(), pass.receiver));
    } else if told.receiver.as_ref().is_some_and(|end| end.fd.is_some()) {
        wrong.push("receiver".to_owned());
    }
    if let (Some(name), Some(description)) = (&pass.name, &told.file.description)
        && !is_name(description, name)
    {
        wrong.push("name".to_owned());
    }
    if let (Some(name), Some(path)) = (&pass.name, &told.file.path)
        && path != name.trim_end_matches(DELETED)
    {
        wrong.push("path".to_owned());
    }
    if told.verdict.as_deref() == Some("different") {
        wrong.push("verdict".to_owned());
    }
    wrong
}

/// How far what is told is from the pass, to say the likelier of two things that are wrong.
fn distance(pass: &Pass, told: &Told) -> (usize, usize) {
    let ends = [
        end("sender", told.sender.as_ref(), pass.sender),
        end("receiver", told.receiver.as_ref(), pass.receiver),
    ];
    (ends.concat().len(), contradictions(pass, told).len())
}

fn end(which: &str, told: Option<&End>, known: Option<Place>) -> Vec<String> {
    let (Some(told), Some(known)) = (told, known) else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    if told.pid != known.pid {
        wrong.push(format!("{which}'s process"));
    }
    if told.fd.is_some_and(|fd| fd != known.fd) {
        wrong.push(format!("{which}'s number"));
    }
    wrong
}

const DELETED: &str = " (deleted)";

/// Whether both mean one name: a file in no tree has no leading slash, and its name never was in
/// a folder that it could have been deleted from.
fn is_name(description: &str, link: &str) -> bool {
    let plain = |text: &str| {
        let rootless = text
            .trim_start_matches('/')
            .trim_start_matches("anon_inode:");
        match rootless.strip_prefix("memfd:") {
            Some(name) => format!("memfd:{}", name.trim_end_matches(DELETED)),
            None => text.trim_start_matches("anon_inode:").to_owned(),
        }
    };
    plain(description) == plain(link)
}

/// What the trace leaves out and had to say.
fn silences(pass: &Pass, told: &Told) -> Vec<String> {
    let says = |due: &Due| match due {
        Due::Fate => told.fate != "unknown",
        Due::Cause => told.cause.is_some(),
        Due::Sender => told.sender.as_ref().is_some_and(|end| end.fd.is_some()),
        Due::Receiver => told.receiver.as_ref().is_some_and(|end| end.fd.is_some()),
        Due::Name => told.file.description.is_some(),
    };
    let silent = pass.due.iter().filter(|due| !says(due));
    silent
        .map(|due| format!("no {due:?}").to_lowercase())
        .collect()
}

fn said(told: &Told) -> String {
    let end = |end: &Option<End>| match end {
        Some(End { pid, fd: Some(fd) }) => format!("{pid} {fd}"),
        Some(End { pid, fd: None }) => format!("{pid} ?"),
        None => "?".to_owned(),
    };
    format!(
        "{} → {} {} ({}) {} {}",
        end(&told.sender),
        end(&told.receiver),
        told.fate,
        told.cause.as_deref().unwrap_or("-"),
        told.file.description.as_deref().unwrap_or("no name"),
        told.verdict.as_deref().unwrap_or("no verdict"),
    )
}

fn known(pass: &Pass) -> String {
    let end = |end: Option<Place>| end.map_or("-".to_owned(), |it| format!("{} {}", it.pid, it.fd));
    format!(
        "{} → {} {} ({}) {}",
        end(pass.sender),
        end(pass.receiver),
        pass.fates.join("|"),
        pass.causes.join("|"),
        pass.name.as_deref().unwrap_or("-"),
    )
}

/// Which transfer tells of which pass, and does not contradict it.
struct Matching {
    /// For each pass.
    transfers: Vec<Option<usize>>,
    /// For each transfer.
    passes: Vec<Option<usize>>,
}

/// Whether a pass, and a transfer, can be matched.
type Fits<'a> = &'a dyn Fn(usize, usize) -> bool;

impl Matching {
    fn of(passes: &[Pass], told: &[Told]) -> Self {
        let mut matching = Self {
            transfers: vec![None; passes.len()],
            passes: vec![None; told.len()],
        };
        let mut of_file: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, told) in told.iter().enumerate() {
            of_file.entry(told.file.ino).or_default().push(at);
        }
        // Those first that leave nothing out.
        for whole in [true, false] {
            let fits = |pass: usize, transfer: usize| {
                let (pass, told) = (&passes[pass], &told[transfer]);
                (!whole || is_whole(pass, told)) && contradictions(pass, told).is_empty()
            };
            for (at, pass) in passes.iter().enumerate() {
                let same_file = of_file.get(&pass.ino).map_or(&[][..], Vec::as_slice);
                if matching.transfers[at].is_none() {
                    matching.augment(at, same_file, &fits, &mut vec![false; told.len()]);
                }
            }
        }
        matching
    }

    /// Finds this pass one of these transfers, all of its file, if need be by moving other passes to
    /// another one that fits them.
    fn augment(
        &mut self,
        pass: usize,
        transfers: &[usize],
        fits: Fits<'_>,
        tried: &mut [bool],
    ) -> bool {
        let is_free = |transfer: &&usize| self.passes[**transfer].is_none();
        let mut free = transfers.iter().filter(is_free);
        if let Some(&transfer) = free.find(|transfer| fits(pass, **transfer)) {
            self.pair(pass, transfer);
            return true;
        }
        for &transfer in transfers {
            if tried[transfer] || !fits(pass, transfer) {
                continue;
            }
            tried[transfer] = true;
            let holder = self.passes[transfer];
            if holder.is_some_and(|holder| self.augment(holder, transfers, fits, tried)) {
                self.pair(pass, transfer);
                return true;
            }
        }
        false
    }

    fn pair(&mut self, pass: usize, transfer: usize) {
        self.transfers[pass] = Some(transfer);
        self.passes[transfer] = Some(pass);
    }

    fn left_of<'a>(&self, told: &'a [Told]) -> Vec<&'a Told> {
        let left = told.iter().zip(&self.passes);
        let left = left.filter(|(_, pass)| pass.is_none());
        left.map(|(told, _)| told).collect()
    }

    fn unmatched<'a>(&'a self, passes: &'a [Pass]) -> impl Iterator<Item = &'a Pass> {
        let each = passes.iter().zip(&self.transfers);
        each.filter(|(_, at)| at.is_none()).map(|(pass, _)| pass)
    }
}

fn is_whole(pass: &Pass, told: &Told) -> bool {
    let number = |end: &Option<End>| end.as_ref().and_then(|end| end.fd);
    told.fate != "unknown"
        && number(&told.sender) == pass.sender.map(|place| place.fd)
        && number(&told.receiver) == pass.receiver.map(|place| place.fd)
        && silences(pass, told).is_empty()
}

/// Makes a lie of what was told of one transfer.
type Tamper = fn(&mut Told);

const LIES: [(&str, Tamper); 9] = [
    ("another file", |told| told.file.ino += 1),
    ("another sender", |told| sender(told).pid += 1),
    ("another number at the sender", |told| {
        sender(told).fd = sender(told).fd.map(|fd| fd + 1000);
    }),
    ("another receiver", |told| receiver(told).pid += 1),
    ("another number at the receiver", |told| {
        receiver(told).fd = receiver(told).fd.map(|fd| fd + 1000);
    }),
    ("an end that it did not have", |told| {
        told.fate = "queued".to_owned();
    }),
    ("a cause that it did not have", |told| {
        told.cause = Some("oob".to_owned());
    }),
    ("another name", |told| {
        told.file.description = Some("/no/such/name".to_owned());
    }),
    ("said to be different", |told| {
        told.verdict = Some("different".to_owned());
    }),
];

/// Negative control: lies about one transfer that is told whole, and does not tell of it, and tells
/// it twice. Gives those that nobody would notice; `None` if there is nothing to tamper with.
pub(super) fn overlooked(passes: &[Pass], told: &[Told]) -> Option<Vec<&'static str>> {
    let is_noticed = |told: &[Told]| !check(passes, told, Missed::default()).wrong.is_empty();
    if is_noticed(told) {
        return None;
    }
    let matching = Matching::of(passes, told);
    let (victim, _) = matching.passes.iter().enumerate().find(|(at, pass)| {
        let pass = pass.map(|pass| &passes[pass]);
        pass.is_some_and(|pass| {
            !pass.optional
                && pass.sender.is_some()
                && pass.receiver.is_some()
                && pass.name.is_some()
                && is_whole(pass, &told[*at])
        })
    })?;
    let mut overlooked = Vec::new();
    for (lie, tamper) in LIES {
        let mut lies = told.to_vec();
        tamper(&mut lies[victim]);
        if !is_noticed(&lies) {
            overlooked.push(lie);
        }
    }
    let mut twice = told.to_vec();
    twice.push(told[victim].clone());
    if !is_noticed(&twice) {
        overlooked.push("told twice");
    }
    let mut less = told.to_vec();
    less.remove(victim);
    if !is_noticed(&less) {
        overlooked.push("not told");
    }
    Some(overlooked)
}

fn sender(told: &mut Told) -> &mut End {
    told.sender.as_mut().expect("it is told whole")
}

fn receiver(told: &mut Told) -> &mut End {
    told.receiver.as_mut().expect("it is told whole")
}
