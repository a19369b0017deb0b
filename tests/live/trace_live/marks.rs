//! What an engineer wants to notice about a transfer.

use std::{fs, os::fd::AsRawFd as _};

use fdtrace_testkit::take_turn;

use super::{
    children::ReceivingChild,
    tracing::{Tracing, lines, transfers},
};

#[test]
fn a_receiver_that_is_set_apart_from_its_sender_is_marked() {
    let _turn = take_turn!(tracing);
    let file = fs::File::open("/dev/null").unwrap();
    // The control is like its sender.
    for (job, apart) in [("receive", false), ("receive apart", true)] {
        let mut receiver = ReceivingChild::start_with(job);
        let pid = receiver.child.id().to_string();
        let tracing = Tracing::start(&["trace", "--format", "json", "--pid", &pid]);
        let _ = receiver.send(file.as_raw_fd());
        let run = tracing.stop();
        receiver.end();
        let lines = lines(&run.stdout);
        let [transfer] = transfers(&lines)[..] else {
            panic!("{run:?}");
        };
        let marks = transfer["marks"].to_string();
        for mark in ["other-user\"", "other-mount-ns"] {
            assert_eq!(marks.contains(mark), apart, "{mark}: {transfer}");
        }
        for mark in ["other-pid-ns", "other-user-ns"] {
            assert!(!marks.contains(mark), "{mark}: {transfer}");
        }
    }
}
