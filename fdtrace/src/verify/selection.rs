//! Selection: from the words of a command line to scenarios. Pure.
//!
//! A word is a scenario's name, a group's, or a pattern that names are matched against. What
//! several words select is run once, in the catalogue's order, whatever the words' order:
//! the same selection gives the same report.

use fast_glob::{glob_match, validate};

use super::scenarios::{Group, Scenario, all};

/// How alike a name must be to a word for the word to be taken for a typing error.
const ALIKE: f64 = 0.8;

/// A word that selects nothing.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// Neither a scenario nor a group has this name.
    #[error("there is no scenario or group {word:?}{}", suggestion(*.nearest))]
    Unknown {
        /// The word.
        word: String,
        /// The name that is most like it, if one is.
        nearest: Option<&'static str>,
    },
    /// No name matches the pattern.
    #[error("no scenario matches {0:?}")]
    Unmatched(String),
    /// The word is no valid pattern.
    #[error("{word:?} is no pattern: {}", .reason.escape_debug())]
    Pattern {
        /// The word.
        word: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean {nearest:?}?")
    })
}

/// The scenarios that any of `words` selects; all of them if there is no word.
///
/// # Errors
/// A word that selects nothing.
pub fn select(words: &[String]) -> Result<Vec<&'static Scenario>, SelectionError> {
    let tests = words
        .iter()
        .map(|word| test(word))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(all()
        .filter(|scenario| tests.is_empty() || tests.iter().any(|test| test(scenario)))
        .collect())
}

/// Whether a scenario is meant.
type Test = Box<dyn Fn(&Scenario) -> bool>;

fn test(word: &str) -> Result<Test, SelectionError> {
    if let Some(named) = all().find(|scenario| scenario.name == word) {
        return Ok(Box::new(move |scenario| scenario.name == named.name));
    }
    if let Some(group) = Group::ALL.into_iter().find(|group| group.name() == word) {
        return Ok(Box::new(move |scenario| scenario.group == group));
    }
    if !word.contains(['*', '?', '[', '{']) {
        return Err(SelectionError::Unknown {
            word: word.to_owned(),
            nearest: nearest(word),
        });
    }
    // An exclamation mark in front would turn the pattern's meaning round.
    let pattern = match word.starts_with('!') {
        true => format!("\\{word}"),
        false => word.to_owned(),
    };
    validate(&pattern).map_err(|error| SelectionError::Pattern {
        word: word.to_owned(),
        reason: error.to_string(),
    })?;
    let is_match = move |scenario: &Scenario| glob_match(&pattern, scenario.name);
    if !all().any(&is_match) {
        return Err(SelectionError::Unmatched(word.to_owned()));
    }
    Ok(Box::new(is_match))
}

/// The name of a scenario or a group that is most like `word`, if one is like it at all.
fn nearest(word: &str) -> Option<&'static str> {
    all()
        .map(|scenario| scenario.name)
        .chain(Group::ALL.map(Group::name))
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let selected = select(&words).expect("every word selects something");
        selected.iter().map(|scenario| scenario.name).collect()
    }

    fn refusal(word: &str) -> String {
        match select(&[word.to_owned()]) {
            Ok(_) => panic!("{word:?} selects something"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn no_word_selects_everything() {
        assert_eq!(names(&[]).len(), all().count());
    }

    #[test]
    fn a_word_is_a_name_a_group_or_a_pattern() {
        assert_eq!(names(&["relay"]), ["relay"]);
        assert!(names(&["negative-control"]).contains(&"reused-pointer"));
        assert!(!names(&["negative-control"]).contains(&"relay"));
        assert_eq!(
            names(&["{stream,dgram,seqpacket}-one-fd"]),
            ["stream-one-fd", "dgram-one-fd", "seqpacket-one-fd"]
        );
        assert_eq!(names(&["[!ds]*-of-sockets"]), ["chain-of-sockets"]);
        assert_eq!(names(&["stream-one-f?"]), ["stream-one-fd"]);
    }

    #[test]
    fn what_is_selected_twice_is_played_once_in_the_catalogues_order() {
        assert_eq!(
            names(&["relay", "*-one-fd", "stream-one-fd"]),
            ["stream-one-fd", "dgram-one-fd", "seqpacket-one-fd", "relay"]
        );
    }

    #[test]
    fn a_slip_is_answered_with_the_name_that_was_meant() {
        assert_eq!(
            refusal("steam-one-fd"),
            "there is no scenario or group \"steam-one-fd\"; did you mean \"stream-one-fd\"?"
        );
        assert_eq!(
            refusal("identitty"),
            "there is no scenario or group \"identitty\"; did you mean \"identity\"?"
        );
        assert_eq!(refusal("xyzzy"), "there is no scenario or group \"xyzzy\"");
    }

    #[test]
    fn a_pattern_that_matches_nothing_or_is_none_is_refused() {
        for unmatched in ["nothing-*", "!relay*", "stream-one-f?d"] {
            let expected = format!("no scenario matches {unmatched:?}");
            assert_eq!(refusal(unmatched), expected);
        }
        assert!(
            refusal("[").starts_with("\"[\" is no pattern: "),
            "{}",
            refusal("[")
        );
    }

    #[test]
    fn every_group_selects_its_scenarios() {
        for scenario in all() {
            assert!(names(&[scenario.group.name()]).contains(&scenario.name));
        }
    }

    #[test]
    fn no_group_has_a_scenarios_name() {
        for group in Group::ALL {
            assert!(all().all(|scenario| scenario.name != group.name()));
        }
    }
}
