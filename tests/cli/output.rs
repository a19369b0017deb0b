//! Where output goes, and what becomes of it when that fails.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use fdtrace_testkit::{
    command::{FDTRACE, Run, fdtrace, run},
    contract::{PROMISED, Schema},
};

use crate::{assert_usage_error, json};

#[test]
fn a_report_names_its_format_and_a_file_of_its_own() {
    for (report, what) in [
        ("junit", "FORMAT=FILE"),
        ("junit=", "FORMAT=FILE"),
        ("xml=a", "invalid variant"),
    ] {
        assert_usage_error(&run(&mut fdtrace(&["verify", "--report", report])), what);
    }
    let refused = run(&mut fdtrace(&[
        "verify", "--report", "junit=a", "--report", "tap=a",
    ]));
    refused.assert_complaint("two reports cannot both be a", Some("a file of its own"));
    assert!(!Path::new("a").exists());
}

#[test]
fn output_that_cannot_be_written_is_one_line_with_the_name_asked_for() {
    // Not .tmp, which is what must not show.
    let dir = tempfile::Builder::new().prefix("report-").tempdir();
    let dir = dir.expect("there is a temporary directory");
    let folder = dir.path().to_str().expect("its name is text");
    let missing = format!("{folder}/missing/report");
    let under_a_file = format!("{}/report", FDTRACE.as_str());
    for path in [missing.as_str(), folder, under_a_file.as_str()] {
        for command in [&["schema"][..], &["verify", "--list"]] {
            let refused = run(fdtrace(command).args(["-o", path]));
            refused.assert_complaint(&format!("cannot write {path}: "), None);
            assert!(!refused.stderr.contains(".tmp"), "{refused:?}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
}

#[test]
fn output_goes_to_the_file_alone_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let path = dir.path().join("list.txt");
    fs::write(&path, "old").expect("it is ours");
    let written = run(fdtrace(&["verify", "--list", "-o"]).arg(&path));
    assert_eq!(
        (written.code, written.stdout.as_str()),
        (Some(0), ""),
        "{written:?}"
    );
    let list = run(&mut fdtrace(&["verify", "--list"]));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), list.stdout);
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);

    // As any program would have made it, under the umask in force.
    let plain = dir.path().join("plain");
    fs::File::create(&plain).expect("it is ours");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
    };
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn schema_prints_a_schema_of_every_line() {
    let printed = run(&mut fdtrace(&["schema"]));
    assert_eq!(
        (printed.code, printed.stderr.as_str()),
        (Some(0), ""),
        "{printed:?}"
    );
    let value = json(&printed);
    assert_eq!(
        value["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let variants = value["oneOf"].as_array().expect("a line is one of several");
    for (kind, _) in PROMISED {
        let matching = variants.iter().filter(|variant| {
            variant["properties"]["type"]["const"] == *kind
                && variant["required"]
                    .as_array()
                    .is_some_and(|it| it.contains(&"type".into()))
        });
        assert_eq!(matching.count(), 1, "{kind}");
    }
    // It can be used as one, and refuses what is no line.
    let schema = Schema::parse(&printed.stdout);
    assert!(
        !schema
            .violations(&serde_json::json!({ "type": "summary" }))
            .is_empty()
    );
    assert!(!schema.violations(&serde_json::json!({})).is_empty());
}

#[test]
fn a_reader_that_has_gone_away_is_success() {
    for args in [
        &["schema"][..],
        &["verify", "--list"],
        &["--help"],
        &["verify", "--help"],
        &["--version"],
    ] {
        let (reader, writer) = std::io::pipe().expect("there are pipes");
        drop(reader);
        let child = fdtrace(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("fdtrace can be started");
        let run = Run::of(&child.wait_with_output().expect("it ends"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_reader_of_one_line_is_success() {
    let mut child = fdtrace(&["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fdtrace can be started");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it has one");
    BufReader::with_capacity(1, stdout)
        .read_line(&mut line)
        .expect("it can be read");
    assert_eq!(line, "{\n");
    let run = Run::of(&child.wait_with_output().expect("it ends"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_closed_stdout_is_no_crash() {
    for redirection in [">&-", "2>&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$0\" schema {redirection}");
        let ended = run(Command::new("sh").args(["-c", &script, FDTRACE.as_str()]));
        assert_eq!(ended.code, Some(0), "{redirection}");
    }
}

#[test]
fn a_full_disk_is_an_error_in_one_line() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let child = fdtrace(&["schema"])
        .stdout(full.expect("every Linux has it"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("fdtrace can be started");
    let run = Run::of(&child.wait_with_output().expect("it ends"));
    run.assert_complaint("No space left on device", None);
}
