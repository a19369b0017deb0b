//! Recordings that an earlier fdtrace made: every later one of the same major version reads them,
//! and says the same of them in every format.
//!
//! They are of real kernels: `reload` is HAProxy handing over its listeners, and `tracepoints` an
//! acceptor whose workers lose descriptors, both on a 6.18 that has tracepoints alone;
//! `trampolines` is `fdtrace verify` with scenarios of every fate, on Debian's 6.12, and `arm64` some of
//! these on its arm64 6.12. A recording is never made anew for a later version, only added. Of files they
//! have the names that were told with the same message: earlier versions told each about once a second, and
//! took it for later messages' too.

use std::{fs, path::PathBuf};

use fdtrace::recording::{Item, Reader};
use fdtrace_testkit::{
    command::{fdtrace, run},
    contract::Schema,
};
use unicode_width::UnicodeWidthStr as _;

const RECORDINGS: [&str; 3] = ["reload", "tracepoints", "trampolines"];

fn path(recording: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/recordings");
    PathBuf::from(folder).join(format!("{recording}.fdt"))
}

/// What replay says; that the recording is whole, and every answer there is.
fn replay(recording: &str, args: &[&str]) -> String {
    let path = path(recording);
    let run = run(fdtrace(&["replay", path.to_str().unwrap()]).args(args));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    run.stdout
}

#[test]
fn text_says_what_it_said() {
    for recording in RECORDINGS {
        insta::assert_snapshot!(format!("{recording}_text"), replay(recording, &[]));
    }
}

#[test]
fn what_was_recorded_on_arm64_is_read_on_any_machine() {
    insta::assert_snapshot!("arm64_text", replay("arm64", &[]));
    for (recording, arch) in [("arm64", "aarch64"), ("trampolines", "x86_64")] {
        let json = replay(recording, &["--format", "json"]);
        let start = json.lines().next().expect("it has a first line");
        let start: serde_json::Value = serde_json::from_str(start).expect("it is JSON");
        assert_eq!(start["arch"], arch, "{recording}");
    }
}

#[test]
fn lines_fit_every_terminal_and_say_how_each_message_ended() {
    let endings = |text: &str| -> Vec<usize> {
        let words = [
            "room for",
            "rlimit-nofile",
            "plain-read",
            "receiver-closed",
            "epipe",
            "peeked",
        ];
        words.map(|word| text.matches(word).count()).to_vec()
    };
    for recording in RECORDINGS {
        let whole = replay(recording, &[]);
        for width in [80, 100, 120, 160, 200] {
            let text = replay(recording, &["--width", &width.to_string()]);
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
            // A word may be at a line's end, and a phrase may not be broken.
            assert_eq!(endings(&text), endings(&whole), "{recording} {width}");
            if recording == "tracepoints" {
                insta::assert_snapshot!(format!("tracepoints_{width}_columns"), text);
            }
        }
    }
}

#[test]
fn each_descriptor_has_its_line_when_asked() {
    let text = replay("tracepoints", &["--each"]);
    assert_eq!(
        text.lines()
            .filter(|line| line.contains(" → ") && line.contains(':'))
            .count(),
        11
    );
    insta::assert_snapshot!("tracepoints_each", text);
}

#[test]
fn hops_are_what_they_were() {
    let args = ["--hops", "--pointers", "alias"];
    insta::assert_snapshot!("trampolines_hops", replay("trampolines", &args));
}

#[test]
fn json_is_what_it_was_and_keeps_its_contract() {
    let schema = Schema::parse(&run(&mut fdtrace(&["schema"])).stdout);
    for recording in RECORDINGS {
        let json = replay(recording, &["--format", "json", "--hops"]);
        schema.assert_lines(&json);
        let transfers = json
            .lines()
            .filter(|line| line.contains(r#""type":"transfer""#));
        let lines: Vec<&str> = transfers.collect();
        insta::assert_snapshot!(format!("{recording}_json"), lines.join("\n"));
    }
}

#[test]
fn other_tools_get_what_they_got() {
    for format in ["dot", "mermaid", "perfetto"] {
        let args = ["--format", format];
        insta::assert_snapshot!(
            format!("tracepoints_{format}"),
            replay("tracepoints", &args)
        );
    }
}

#[test]
fn a_page_is_made_of_each() {
    let folder = tempfile::TempDir::new().unwrap();
    for recording in RECORDINGS {
        let page = folder.path().join("page.html");
        let (from, to) = (path(recording), page.to_str().unwrap());
        let run = run(&mut fdtrace(&["report", from.to_str().unwrap(), "-o", to]));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains("transfers") && page.trim_end().ends_with("</html>"));
    }
}

#[test]
fn each_is_read_up_to_where_it_is_cut_or_damaged() {
    for recording in RECORDINGS {
        let bytes = fs::read(path(recording)).unwrap();
        let items = |bytes: &[u8]| -> (Vec<Item>, bool) {
            let Ok(mut reader) = Reader::new(bytes) else {
                return (Vec::new(), false);
            };
            let mut items = Vec::new();
            loop {
                match reader.next_item() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => return (items, true),
                    Err(_) => return (items, false),
                }
            }
        };
        let (all, whole) = items(&bytes);
        assert!(whole, "{recording}");
        for at in (0..bytes.len()).step_by(97) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            for part in [&bytes[..at], &damaged] {
                let (some, whole) = items(part);
                assert!(!whole, "{recording} at {at}");
                assert!(all.starts_with(&some), "{recording} at {at}");
            }
        }
    }
}

#[test]
fn filters_and_tables_show_a_part_and_the_whole() {
    let shown = |args: &[&str]| replay("trampolines", &[&["--format", "json"], args].concat());
    let count = |args: &[&str]| shown(args).matches(r#""type":"transfer""#).count();
    for (args, expected) in [
        (&["--lost"][..], 18),
        (&["--cause", "ebadf,epipe"], 3),
        (&["--fate", "peeked,delivered"], 12),
        (&["--path", "/tmp"], 7),
        (&["--path", "*#8"], 1),
        (&["--since", "03:30:37.5"], 7),
        (&["--since", "+4s", "--until", "+4.17s"], 3),
        (&["--uid", "0", "--lost"], 14),
        (&["--uid", "7"], 0),
        (&["-p", "142,148", "--kind", "socket"], 12),
    ] {
        assert_eq!(count(args), expected, "{args:?}");
    }
    for by in ["pair", "program", "socket", "file", "cause"] {
        let table = replay("trampolines", &["--group-by", by]);
        let rows = table
            .lines()
            .filter(|line| line.starts_with(' ') && !line.contains("→ 1"));
        let counted = |line: &str| line.split_whitespace().next()?.parse::<u64>().ok();
        assert_eq!(rows.filter_map(counted).sum::<u64>(), 30, "{table}");
    }
}
