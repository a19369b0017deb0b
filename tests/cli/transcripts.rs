//! What people read: help, what clap refuses, and what fdtrace refuses, each as a transcript with its
//! exit code. `TRYCMD=overwrite` writes them anew, to be read in `git diff`.

use std::path::Path;

use fdtrace_testkit::command::FDTRACE;
use trycmd::TestCases;

fn hold(transcript: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli/transcripts");
    TestCases::new()
        .register_bin("fdtrace", Path::new(FDTRACE.as_str()))
        .case(folder.join(transcript));
}

#[test]
fn help_names_every_command_and_its_options() {
    hold("help.trycmd");
}

#[test]
fn what_is_no_command_line_is_a_usage_error() {
    hold("usage.trycmd");
}

#[test]
fn what_cannot_be_done_is_refused_in_one_line_and_a_hint() {
    hold("complaints.trycmd");
}
