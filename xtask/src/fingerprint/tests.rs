//! Fingerprints: what changes one, and how it is written and read.

use super::*;

fn inputs(entries: &[(&str, &str)]) -> Inputs {
    Inputs(
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

fn fingerprint() -> Fingerprint {
    let versions = [(
        "rustc".to_owned(),
        "rustc 1.96.0 (ac68faa20 2026-05-25)".to_owned(),
    )];
    Fingerprint::new(
        inputs(&[("a/main.rs", "11"), ("Cargo.lock aya-ebpf", "0.2.1")]),
        b"object",
        Versions(versions.into()),
    )
}

#[test]
fn an_unchanged_tree_is_not_stale() {
    let inputs = inputs(&[("a/main.rs", "11"), ("Cargo.lock aya-ebpf", "0.2.1")]);
    assert_eq!(fingerprint().stale(&inputs, b"object"), None);
}

#[test]
fn a_changed_content_is_stale_and_named() {
    let inputs = inputs(&[("a/main.rs", "12"), ("Cargo.lock aya-ebpf", "0.2.1")]);
    assert_eq!(
        fingerprint().stale(&inputs, b"object").as_deref(),
        Some("a/main.rs")
    );
}

#[test]
fn a_changed_path_is_stale_and_both_paths_are_named() {
    let inputs = inputs(&[("a/moved.rs", "11"), ("Cargo.lock aya-ebpf", "0.2.1")]);
    assert_eq!(
        fingerprint().stale(&inputs, b"object").as_deref(),
        Some("a/main.rs, a/moved.rs")
    );
}

#[test]
fn a_changed_object_is_stale() {
    let fingerprint = fingerprint();
    let stale = fingerprint.stale(&fingerprint.inputs, b"another");
    assert_eq!(stale.as_deref(), Some("the object itself"));
}

#[test]
fn a_record_edited_by_hand_is_stale() {
    let text = fingerprint().to_toml();
    let edited = Fingerprint::from_toml(&text.replace("\"11\"", "\"12\"")).unwrap();
    let inputs = inputs(&[("a/main.rs", "12"), ("Cargo.lock aya-ebpf", "0.2.1")]);
    assert!(edited.stale(&inputs, b"object").is_some());
}

#[test]
fn the_digest_tells_names_from_contents() {
    assert_ne!(
        inputs(&[("ab", "c")]).digest(),
        inputs(&[("a", "bc")]).digest()
    );
    assert_ne!(
        inputs(&[("a", "1"), ("b", "2")]).digest(),
        inputs(&[("a", "2"), ("b", "1")]).digest()
    );
}

#[test]
fn the_record_survives_its_file() {
    let fingerprint = fingerprint();
    assert_eq!(
        Fingerprint::from_toml(&fingerprint.to_toml()).unwrap(),
        fingerprint
    );
    assert!(Fingerprint::from_toml("<<<<<<< ours\n").is_err());
}

const MANIFEST: &str = "[workspace.package]\nversion = \"1\"\n[profile.bpf]\nopt-level = 3\n";

/// A small tree with every kind of input.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("Cargo.toml", MANIFEST),
        (
            "Cargo.lock",
            "[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\n",
        ),
        ("fdtrace/src/main.rs", "// not an input"),
        ("fdtrace-common/Cargo.toml", ""),
        ("fdtrace-common/src/lib.rs", "//! Both halves."),
        ("fdtrace-ebpf/Cargo.toml", ""),
        ("fdtrace-ebpf/src/main.rs", "fn main() {}"),
        ("fdtrace-ebpf/src/hop/copy.rs", "// copy"),
    ] {
        put(tree.path(), path, content);
    }
    tree
}

fn put(tree: &Path, path: &str, content: &str) {
    fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
    fs::write(tree.join(path), content).unwrap();
}

#[test]
fn every_input_in_the_tree_counts() {
    for (path, content, named) in [
        (
            "Cargo.toml",
            MANIFEST.replace('3', "2").as_str(),
            "Cargo.toml [profile.bpf]",
        ),
        (
            "Cargo.toml",
            MANIFEST.replace('1', "2").as_str(),
            "Cargo.toml [workspace.package]",
        ),
        ("Cargo.lock", "", "Cargo.lock aya-ebpf"),
        (
            "fdtrace-common/Cargo.toml",
            "x",
            "fdtrace-common/Cargo.toml",
        ),
        ("fdtrace-common/src/new.rs", "", "fdtrace-common/src/new.rs"),
        (
            "fdtrace-ebpf/src/hop/copy.rs",
            "// copied",
            "fdtrace-ebpf/src/hop/copy.rs",
        ),
    ] {
        let tree = tree();
        let before = Inputs::of(tree.path()).unwrap();
        put(tree.path(), path, content);
        let after = Inputs::of(tree.path()).unwrap();
        assert_eq!(before.differing(&after), [named]);
    }
}

#[test]
fn userspace_does_not_count() {
    let tree = tree();
    let before = Inputs::of(tree.path()).unwrap();
    put(tree.path(), "fdtrace/src/main.rs", "// changed");
    assert_eq!(before, Inputs::of(tree.path()).unwrap());
}

#[test]
fn only_settings_of_the_named_table_count() {
    let manifest = "[a]\nx = 1\n\n# why\n[b]\ny = 2\n";
    assert_eq!(table(manifest, "a"), "x = 1");
    assert_eq!(table(manifest, "b"), "y = 2");
    assert_eq!(table(manifest, "c"), "");
}

#[test]
fn locked_reads_names_and_versions() {
    let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nsource = \"x\"\n";
    assert_eq!(locked(lock).collect::<Vec<_>>(), [("a", "1.2.3")]);
}

#[test]
fn another_version_of_a_recorded_program_is_named_and_one_more_is_not() {
    let versions = |named: &[(&str, &str)]| {
        let named = named.iter();
        Versions(
            named
                .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
                .collect(),
        )
    };
    let recorded = versions(&[("cargo", "1"), ("rustc", "2")]);
    let same = versions(&[("cargo", "1"), ("libllvm", "9"), ("rustc", "2")]);
    assert_eq!(recorded.other(&same), None);
    assert_eq!(
        recorded.other(&versions(&[("cargo", "1"), ("rustc", "3")])),
        Some("rustc was 2, and is 3".to_owned())
    );
    assert_eq!(
        recorded.other(&versions(&[("cargo", "1")])),
        Some("rustc was 2, and is missing".to_owned())
    );
}
