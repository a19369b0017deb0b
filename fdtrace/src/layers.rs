//! What the source itself must hold: each layer imports from those before it alone, and unsafe code is
//! where it is allowed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const ORDER: [&str; 17] = [
    "model",
    "wire",
    "track",
    "judge",
    "kernel",
    "plan",
    "tracer",
    "witness",
    "recording",
    "watch",
    "inflight",
    "verify",
    "explain",
    "check",
    "report",
    "library",
    "cli",
];

/// The first names of the paths after `crate::`, one or a list in braces.
fn imported(path: &str) -> Vec<&str> {
    let is_end = |c: char| !c.is_alphanumeric() && c != '_';
    let Some(list) = path.strip_prefix('{') else {
        return path.split(is_end).take(1).collect();
    };
    let (mut names, mut depth, mut begin) = (Vec::new(), 0, true);
    for (at, c) in list.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => begin = true,
            c if begin && !c.is_whitespace() => {
                names.extend(list[at..].split(is_end).next());
                begin = false;
            }
            _ => {}
        }
    }
    names
}

/// What each import in this code breaks.
fn broken(layer: &str, code: &str) -> Vec<String> {
    let place = |name: &str| ORDER.iter().position(|layer| *layer == name);
    let code: Vec<&str> = code
        .lines()
        .filter_map(|line| line.split("//").next())
        .collect();
    // A macro is expanded elsewhere.
    let code = code.join("\n").replace("$crate::", "");
    let paths = code.split("crate::").skip(1).flat_map(imported);
    paths
        .filter(|name| *name != layer && (place(name).is_none() || place(name) > place(layer)))
        .map(|name| format!("{layer} imports {name}"))
        .collect()
}

fn check(file: &Path, layer: &str, found: &mut Vec<String>) -> io::Result<()> {
    if file.is_dir() {
        return fs::read_dir(file)?.try_for_each(|file| check(&file?.path(), layer, found));
    }
    let code = fs::read_to_string(file)?;
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    found.extend(broken(layer, code));
    Ok(())
}

#[test]
fn imports_go_to_earlier_layers_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for layer in ORDER {
        check(&source.join(layer), layer, &mut found).expect("every layer is a folder");
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_import_that_is_turned_round_is_found() {
    let list =
        "use crate::{\n    judge::{ledger, Unseen}, // report\n    report::Json,\n    wire,\n};";
    assert_eq!(
        broken("track", list),
        ["track imports judge", "track imports report"]
    );
    assert_eq!(broken("judge", list), ["judge imports report"]);
    assert_eq!(broken("cli", list), Vec::<String>::new());
    let inline = "fn f() -> crate::inflight::Order {}\nuse crate::nowhere::Else;";
    assert_eq!(
        broken("plan", inline),
        ["plan imports inflight", "plan imports nowhere"]
    );
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn unsafe_blocks_are_only_where_the_system_or_programs_are_called() {
    // Not in one piece, for this file is one of them.
    const LINT: &str = concat!("unsafe", "_code");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Vec::new();
    for path in sources(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap().strip_prefix(&root).unwrap();
        let lines = text.lines().zip(text.lines().skip(1));
        for (_, declared) in
            lines.filter(|(line, _)| line.contains(LINT) && !line.starts_with("#![deny("))
        {
            let name = declared.trim_end_matches(';').rsplit(' ').next().unwrap();
            modules.push(folder.join(name).display().to_string());
        }
    }
    modules.sort();
    let expected = [
        "kernel/passing",
        "kernel/sys",
        "tracer",
        "verify/runner",
        "verify/ways",
        "witness",
    ];
    assert_eq!(modules, expected);
}
