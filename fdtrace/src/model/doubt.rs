//! Doubts: what keeps the trace from naming a sender, a number, or the object itself.

use super::named;

named! { "kebab-case";
/// Why something of a transfer is left open. Whatever else is told of it is certain.
#[non_exhaustive]
pub enum Doubt {
    /// Two threads of one process send on this socket, and either may have sent it: the process is
    /// certain, the thread and the time are not.
    TwoThreadsSend,
    /// Two processes send on this socket, and either may have sent it.
    TwoProcessesSend,
    /// The only thread that was seen sending on this socket may have sent another message, and one
    /// that was not seen this one; or it is not known in which of its calls it sent it.
    ThreadMayHaveSentAnother,
    /// It left its queue before its sender was seen.
    NotSeenInQueue,
    /// It was sent before the trace began.
    SentBeforeTrace,
    /// The sender's number could not be read.
    NumberNotReadable,
    /// The sender's number stood for another file when it was looked at.
    NumberChanged,
    /// Other threads use the receiver's table: the number may be that of a duplicate of theirs.
    TableShared,
    /// An address came back on the way: another message's part was not seen.
    AddressReused,
    /// Records were lost, or runs of programs skipped, while it was on its way.
    RecordsLostMeanwhile,
}
}

impl Doubt {
    /// The same for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TwoThreadsSend => "two threads send on this socket",
            Self::TwoProcessesSend => "two processes send on this socket",
            Self::ThreadMayHaveSentAnother => "the sender may have sent another message",
            Self::NotSeenInQueue => "it left its queue before its sender was seen",
            Self::SentBeforeTrace => "it was sent before the trace began",
            Self::NumberNotReadable => "the sender's number could not be read",
            Self::NumberChanged => "the sender's number stood for another file by then",
            Self::TableShared => "other threads use the receiver's table",
            Self::AddressReused => "an address came back on the way",
            Self::RecordsLostMeanwhile => "records were lost meanwhile",
        }
    }
}
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Doubt;

    #[test]
    fn each_doubt_has_one_name_and_words_of_its_own() {
        let mut words = BTreeSet::new();
        for doubt in Doubt::ALL {
            let in_json = serde_json::to_value(doubt).unwrap();
            assert_eq!(in_json, doubt.name());
            assert_eq!(doubt.to_string(), doubt.name());
            assert!(doubt.words().contains(' '), "{doubt}");
            words.insert(doubt.words());
        }
        assert_eq!(words.len(), Doubt::ALL.len());
    }
}
