//! Follows open files through Unix sockets, hop by hop. Each module is one phase of the data's way.

// What needs `unsafe` is in the modules that allow it, and nowhere else.
#![deny(unsafe_code)]

pub mod cli;
pub mod explain;
pub mod inflight;
pub mod inherited;
pub mod judge;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod recording;
pub mod report;
#[allow(unsafe_code)]
pub mod tracer;
pub mod track;
pub mod verify;
pub mod watch;
pub mod wire;
#[allow(unsafe_code)]
pub mod witness;

pub use kernel::passing;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

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
            "verify/stage",
            "verify/ways",
            "witness",
        ];
        assert_eq!(modules, expected);
    }
}
