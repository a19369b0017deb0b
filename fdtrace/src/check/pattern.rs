//! Patterns: which transfers are meant.

use serde::{Deserialize, Serialize};

use crate::model::{Cause, Fate, FileKind, Judged};

/// Which transfers are meant: those that agree with every field that is given. Names are shell patterns
/// (`proxy-*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pattern {
    /// Name of the sending task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Name of the receiving task; where nobody received it, nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Kind of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileKind>,
    /// What the file is called, as reports show it: a path, `memfd:name`, `tcp 127.0.0.1:80 listening`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The name that a socket of the message is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fate: Option<Fate>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Whether a transfer is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It is another one.
    No,
    /// What would tell is not known of it.
    Unknown,
    /// It is.
    Yes,
}

/// One field of a pattern beside what a transfer has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The field.
    pub field: &'static str,
    /// What the pattern has.
    pub expected: String,
    /// What the transfer has; `None` if that is not known.
    pub found: Option<String>,
    /// Whether they agree.
    pub fit: Fit,
}

impl Compared {
    fn new(
        field: &'static str,
        expected: &str,
        found: Option<String>,
        agrees: impl Fn(&str) -> bool,
    ) -> Self {
        let fit = match found.as_deref() {
            None => Fit::Unknown,
            Some(found) if agrees(found) => Fit::Yes,
            Some(_) => Fit::No,
        };
        Self {
            field,
            expected: expected.to_owned(),
            found,
            fit,
        }
    }
}

impl Pattern {
    /// The fields' names.
    pub const FIELDS: [&'static str; 7] = ["from", "to", "kind", "path", "socket", "fate", "cause"];

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This one, with the fields of `other` where it has none.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            from: self.from.clone().or_else(|| other.from.clone()),
            to: self.to.clone().or_else(|| other.to.clone()),
            kind: self.kind.or(other.kind),
            path: self.path.clone().or_else(|| other.path.clone()),
            socket: self.socket.clone().or_else(|| other.socket.clone()),
            fate: self.fate.or(other.fate),
            cause: self.cause.or(other.cause),
        }
    }

    /// Every field that is given, beside what the transfer has there.
    #[must_use]
    pub fn compare(&self, judged: &Judged) -> Vec<Compared> {
        let glob = |field, pattern: &Option<String>, found: &dyn Fn() -> Option<String>| {
            let pattern = pattern.as_ref()?;
            let agrees = |found: &str| fast_glob::glob_match(pattern, found) || pattern == found;
            Some(Compared::new(field, pattern, found(), agrees))
        };
        let exact = |field, expected: Option<&str>, found: Option<String>| {
            let expected = expected?;
            Some(Compared::new(field, expected, found, |found| {
                found == expected
            }))
        };
        // Nobody is known to have taken what did not arrive; an unknown fate leaves that open.
        let receiver = || match (judged.receiver(), judged.fate()) {
            (Some(receiver), _) => Some(receiver.comm.to_string()),
            (None, Fate::Unknown) => None,
            (None, _) => Some(String::new()),
        };
        let name = || judged.context.file.as_ref().map(ToString::to_string);
        let known_fate = (judged.fate() != Fate::Unknown).then(|| judged.fate().name().to_owned());
        let cause = judged.cause().map(|cause| cause.name().to_owned());
        // A fate that has no cause differs from any; one whose cause is not known may be any.
        let cause = cause.or_else(|| {
            let has_none = !judged.fate().has_cause() && judged.fate() != Fate::Unknown;
            has_none.then(String::new)
        });
        let fields = [
            glob("from", &self.from, &|| {
                judged.sender.as_ref().map(|sender| sender.comm.to_string())
            }),
            glob("to", &self.to, &receiver),
            exact(
                "kind",
                self.kind.map(FileKind::name),
                Some(judged.file.kind().name().to_owned()),
            ),
            glob("path", &self.path, &name),
            glob("socket", &self.socket, &|| judged.socket.path.clone()),
            exact("fate", self.fate.map(Fate::name), known_fate),
            exact("cause", self.cause.map(Cause::name), cause),
        ];
        fields.into_iter().flatten().collect()
    }

    /// Whether the transfer is meant.
    #[must_use]
    pub fn fit(&self, judged: &Judged) -> Fit {
        let fields = self.compare(judged);
        let worst = fields.iter().map(|field| field.fit).min();
        worst.unwrap_or(Fit::Yes)
    }
}
