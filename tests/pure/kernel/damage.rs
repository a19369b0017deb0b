//! Types and symbols that are damaged: an error, and never a panic.

use super::*;

#[test]
fn a_truncated_btf_is_an_error() {
    let whole = btf("7.3");
    // Every length of the header, then a sample: an error each time, as the strings come last.
    let lengths = (0..64)
        .chain((64..whole.len()).step_by(997))
        .chain([whole.len() - 1]);
    for len in lengths {
        let result = Types::from_bytes(&whole[..len]);
        assert!(
            matches!(result, Err(TypeError::Malformed(_))),
            "{len} bytes"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(Types::from_bytes(&bytes).is_err());
    }

    #[test]
    fn a_damaged_btf_never_panics(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = btf("6.12");
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(types) = Types::from_bytes(&bytes) {
            ask_everything(&types);
        }
    }

    #[test]
    fn garbage_instead_of_symbols_never_panics(text in "([0-9a-f ]{0,20} [tTD] \\PC{0,20}\n?){0,8}") {
        if let Ok(symbols) = Symbols::parse(text.as_bytes()) {
            let _ = (symbols.symbolize(u64::MAX), symbols.exact("a"), symbols.clones("a"));
        }
    }
}
