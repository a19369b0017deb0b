//! Names: what open files are called when many of them are counted together.

use std::collections::HashMap;

use crate::model::{FileDescription, FileKind, SocketDescription, Transfer};

/// Names that are remembered; files that come later are called by their kind.
const NAMES_MAX: usize = 1 << 16;

/// Of more names than this, those that differ in figures alone are counted together.
const APART_MAX: usize = 3;

/// Each name once.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    /// The place of a name.
    pub(super) fn place(&mut self, transfer: &Transfer) -> u32 {
        let mut name = name(transfer);
        if self.names.len() >= NAMES_MAX && !self.places.contains_key(&name) {
            name = transfer.file.kind().name().to_owned();
        }
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        let place = self.names.len() as u32;
        self.names.push(name.clone());
        self.places.insert(name, place);
        place
    }

    /// How often each name comes among these places, most first.
    pub(super) fn count(&self, places: impl Iterator<Item = u32>) -> Vec<(String, u64)> {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for place in places {
            *counts.entry(place).or_default() += 1;
        }
        let name = |place: u32| self.names.get(place as usize).map_or("", String::as_str);
        let alike = counts.len() > APART_MAX;
        // Of names that are counted together, those figures that they have in common are kept.
        let mut by_shape: HashMap<String, (Vec<Option<&str>>, u64)> = HashMap::new();
        for (place, count) in counts {
            let runs = runs(name(place));
            let shape = match alike {
                true => runs.iter().map(without_figures).collect(),
                false => name(place).to_owned(),
            };
            let (common, all) = by_shape
                .entry(shape)
                .or_insert_with(|| (runs.iter().copied().map(Some).collect(), 0));
            for (common, run) in common.iter_mut().zip(runs) {
                *common = common.filter(|common| *common == run);
            }
            *all += count;
        }
        let by_name = by_shape.into_values().map(|(common, count)| {
            let runs = common.into_iter().map(|run| run.unwrap_or("*"));
            (runs.collect(), count)
        });
        let mut counted: Vec<(String, u64)> = by_name.collect();
        counted.sort_by(|one, two| two.1.cmp(&one.1).then_with(|| one.0.cmp(&two.0)));
        counted
    }
}

/// What it is called among others of its kind: what tells each from the others is left out.
fn name(transfer: &Transfer) -> String {
    let kind = transfer.file.kind();
    match (kind, transfer.context.file.as_deref()) {
        (FileKind::Pipe, _) => kind.name().to_owned(),
        (_, Some(FileDescription::Socket(socket))) => match socket {
            SocketDescription::Inet {
                protocol,
                local,
                remote: Some(_),
                ..
            } => format!("{protocol} {local} ↔ …"),
            SocketDescription::Unix {
                name: None,
                peer: None,
                ..
            } => "unix socket".to_owned(),
            socket => socket.to_string(),
        },
        (FileKind::Memfd, Some(described)) => {
            let name = described.to_string();
            let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
            name.strip_prefix('/').unwrap_or(name).to_owned()
        }
        (_, Some(described)) => described.to_string(),
        (kind, None) => kind.name().to_owned(),
    }
}

/// A name in pieces, each all figures or without any.
fn runs(name: &str) -> Vec<&str> {
    let mut runs = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_other = |c: char| c.is_ascii_digit() != first.is_ascii_digit();
        let (run, behind) = rest.split_at(rest.find(is_other).unwrap_or(rest.len()));
        runs.push(run);
        rest = behind;
    }
    runs
}

/// A star for figures.
fn without_figures<'a>(run: &&'a str) -> &'a str {
    match run.starts_with(|c: char| c.is_ascii_digit()) {
        true => "*",
        false => run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_that_differ_in_figures_are_one() {
        let names = Names {
            names: (0..20)
                .map(|number| format!("memfd:batch-{number}"))
                .collect(),
            ..Names::default()
        };
        assert_eq!(names.count(0..20), [("memfd:batch-*".to_owned(), 20)]);
        let listening = Names {
            names: (0..4)
                .map(|port| format!("tcp 127.0.0.1:{} listening", 8080 + port))
                .collect(),
            ..Names::default()
        };
        assert_eq!(
            listening.count(0..4),
            [("tcp 127.0.0.1:* listening".to_owned(), 4)]
        );
        assert_eq!(
            names.count([4, 4, 5].into_iter()),
            [
                ("memfd:batch-4".to_owned(), 2),
                ("memfd:batch-5".to_owned(), 1)
            ]
        );
    }
}
