//! Suggest: the name that somebody meant who typed another.

/// The name most like what was typed, if one is much like it.
pub(super) fn nearest<'a>(
    typed: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    /// From this on, it is rather a slip than another word; clap's own measure.
    const ALIKE: f64 = 0.7;
    // Two letters that changed places are a slip in a short word too.
    let likeness = |name: &str| match strsim::osa_distance(typed, name) {
        0 | 1 => 1.0,
        _ => strsim::jaro(typed, name),
    };
    names
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let names = ["delivered", "discarded", "truncated"];
        assert_eq!(nearest("droped", names), None);
        assert_eq!(nearest("discared", names), Some("discarded"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(nearest("pdi", ["pid", "path"]), Some("pid"));
    }
}
