//! Expectations: how many transfers of which kind there are to be, and how they are to arrive.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Pattern;
use crate::model::{Cause, Fate, Hop};

/// What is expected of transfers that a pattern means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expectation {
    /// What reports call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which transfers are meant.
    #[serde(rename = "where", skip_serializing_if = "Pattern::is_empty")]
    pub of: Pattern,
    /// How many of them are to be delivered; at least one is to be seen where this is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Count>,
    /// How often each open file is to be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,
    /// Whether each new descriptor is to be close-on-exec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloexec: Option<bool>,
    /// How long each may be in its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// Whether the receiver is to have each open still, when it ends or the command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_open: Option<bool>,
    /// Whether the sender is to have closed its own by then, or to have kept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by_sender: Option<bool>,
}

/// Transfers that are known and wanted, whatever became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allowance {
    /// Which transfers are meant.
    #[serde(rename = "where")]
    pub of: Pattern,
    /// Why, for those who read the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Everything that is expected of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expectations {
    /// Hops without which there is no answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub need: Vec<Hop>,
    /// What is to be seen.
    pub expect: Vec<Expectation>,
    /// What is no loss, whatever became of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allowance>,
}

/// How often each open file is to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::EnumString)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Each {
    /// Not a second time at the same receiver.
    Once,
}

/// How many: `3`, `>=2`, `2..4` (from 2 to 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// At least so many.
    pub least: u64,
    /// At most so many.
    pub most: u64,
}

impl Count {
    /// Exactly so many.
    #[must_use]
    pub fn exactly(count: u64) -> Self {
        Self {
            least: count,
            most: count,
        }
    }
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let parsed = if let Some(least) = text.strip_prefix(">=") {
            number(least).map(|least| Self {
                least,
                most: u64::MAX,
            })
        } else if let Some((least, most)) = text.split_once("..") {
            number(least)
                .zip(number(most.strip_prefix('=').unwrap_or(most)))
                .map(|(least, most)| Self { least, most })
        } else {
            number(text).map(Self::exactly)
        };
        match parsed {
            Some(count) if count.least <= count.most => Ok(count),
            Some(count) => Err(format!("nothing is from {} to {}", count.least, count.most)),
            None => Err(format!("`{text}` is no count: give 3, >=2 or 2..4")),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (least, most) if least == most => write!(f, "{least}"),
            (least, u64::MAX) => write!(f, ">={least}"),
            (least, most) => write!(f, "{least}..{most}"),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.least == self.most {
            true => serializer.serialize_u64(self.least),
            false => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counted;

        impl de::Visitor<'_> for Counted {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count such as 3, \">=2\" or \"2..4\"")
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Count, E> {
                let count = u64::try_from(count);
                count
                    .map(Count::exactly)
                    .map_err(|_| E::custom("a count is not negative"))
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
                Ok(Count::exactly(count))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Counted)
    }
}

/// How long something may take: `5ms`, `1s 500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within(pub Duration);

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(text);
        duration
            .map(Self)
            .map_err(|_| format!("`{text}` is no time: give 5ms, 2s or 1m"))
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Within {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Within {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Expectation {
    /// Why it can never hold, whatever happens.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let fate = self.of.fate?;
        if self.of.cause.is_some() && !fate.has_cause() {
            return Some(format!("what is {fate} has no cause"));
        }
        let arrives = self.delivered.is_some_and(|count| count.least > 0)
            || self.each.is_some()
            || self.cloexec.is_some()
            || self.still_open.is_some()
            || self.closed_by_sender.is_some();
        (arrives && !fate.installs()).then(|| format!("what is {fate} is not delivered"))
    }

    /// The hops without which it has no answer.
    #[must_use]
    pub fn needs(&self) -> Vec<Hop> {
        let mut needs = vec![Hop::Install];
        if self.within.is_some() {
            needs.extend([Hop::Queue, Hop::Dequeue]);
        }
        if matches!(self.of.fate, Some(Fate::Discarded | Fate::Collected)) {
            needs.push(Hop::End);
        }
        // Only the function that refuses a file says that it did.
        if self.of.cause == Some(Cause::Lsm) {
            needs.push(Hop::Receive);
        }
        needs
    }

    /// Whether only what a send returned tells that it holds.
    #[must_use]
    pub fn needs_returns(&self) -> bool {
        self.of.fate == Some(Fate::Failed) || self.of.cause == Some(Cause::ZeroLength)
    }

    /// What it says, in a line that [`super::parse_line`] reads.
    #[must_use]
    pub fn line(&self) -> String {
        let quote = |text: &str| match text.contains(char::is_whitespace) || text.contains('"') {
            true => format!("\"{}\"", text.replace('"', "\\\"")),
            false => text.to_owned(),
        };
        let mut words = Vec::new();
        if let Some(count) = self.delivered {
            words.push(format!("delivered={count}"));
        }
        for (field, value) in [
            ("from", self.of.from.as_deref()),
            ("to", self.of.to.as_deref()),
            ("kind", self.of.kind.map(crate::model::FileKind::name)),
            ("path", self.of.path.as_deref()),
            ("socket", self.of.socket.as_deref()),
            ("fate", self.of.fate.map(Fate::name)),
            ("cause", self.of.cause.map(Cause::name)),
        ] {
            words.extend(value.map(|value| format!("{field}={}", quote(value))));
        }
        words.extend(self.each.map(|Each::Once| "once".to_owned()));
        words.extend(self.cloexec.map(|set| {
            let word = if set { "cloexec" } else { "inheritable" };
            word.to_owned()
        }));
        for (expected, yes, no) in [
            (self.still_open, "still-open", "closed"),
            (self.closed_by_sender, "closed-by-sender", "kept-by-sender"),
        ] {
            words.extend(expected.map(|is| if is { yes } else { no }.to_owned()));
        }
        words.extend(
            self.within
                .map(|within| format!("within={}", quote(&within.to_string()))),
        );
        words.join(" ")
    }

    /// What reports call it: its name, or else what it says.
    #[must_use]
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.line())
    }
}
