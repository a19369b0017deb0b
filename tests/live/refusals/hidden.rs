//! A kernel that hides where its functions are (`kernel.kptr_restrict`).

use std::os::{
    fd::AsRawFd as _,
    unix::{fs::MetadataExt as _, net::UnixStream},
};

use fdtrace::{
    kernel::{KernelView, Namer, Naming, Symbols},
    passing,
};
use fdtrace_testkit::{
    command::{Run, fdtrace, run, skip},
    take_turn,
};

use crate::trace_live::tracing::{Tracing, lines, transfers};

use super::confine::{Confinement, confine, confined, filtered, hidden_symbols};

/// Functions with one name each that are far longer than what is added to their address.
const FUNCTIONS: [&str; 6] = [
    "unix_release_sock",
    "unix_stream_read_generic",
    "unix_dgram_sendmsg",
    "kfree",
    "vfs_read",
    "do_exit",
];

#[test]
fn the_kernel_names_the_same_functions_as_its_symbols() {
    let _turn = take_turn!(tracing);
    let view = KernelView::live().expect("this kernel can be looked at");
    // Nothing is known of where anything is.
    let naming = Naming::live(&Symbols::default(), &view.types, None);
    assert!(matches!(naming, Naming::Asked(_)), "{naming:?}");
    let asked = Namer::new(Symbols::default(), naming);
    let addresses = FUNCTIONS.map(|name| {
        let symbol = view.symbols.exact(name).expect("every kernel has it");
        symbol.address
    });
    // The control.
    assert!(
        matches!(view.naming, Naming::Shown),
        "addresses are hidden from this test"
    );
    let known = Namer::new(view.symbols, view.naming);
    for (name, address) in FUNCTIONS.iter().zip(addresses) {
        for namer in [&known, &asked] {
            let within = namer.name(address + 8);
            assert_eq!(within.as_deref(), Some(*name), "{namer:?}");
        }
        // Again, by what it has answered.
        assert_eq!(asked.name(address + 8).as_deref(), Some(*name));
    }
    // No function is there.
    assert_eq!(asked.name(0x1000), None);
}

/// Scenarios whose causes are told by the functions that were under way.
const BY_FUNCTIONS: [&str; 8] = [
    "receiver-closes",
    "listener-closes",
    "dgram-reconnect-discards",
    "gc-self",
    "splice-discards",
    "sockmap-discards",
    "oob",
    "plain-read-discards",
];

/// `bpf(BPF_LINK_CREATE)`, without which no iterator runs.
const LINK_CREATE: u32 = 28;

#[test]
fn causes_are_what_they_are_where_symbols_are_hidden() {
    let _turn = take_turn!(tracing);
    let args: Vec<&str> = ["verify", "--format", "tap"]
        .into_iter()
        .chain(BY_FUNCTIONS)
        .collect();
    let results = |run: &Run| -> Vec<String> {
        let lines = run.stdout.lines().filter(|line| line.contains("ok "));
        lines.map(str::to_owned).collect()
    };
    let shown = run(&mut fdtrace(&args));
    let hidden = confined(&args, hidden_symbols());
    assert_eq!(results(&hidden), results(&shown), "{hidden:?}");
    assert_eq!((hidden.code, shown.code), (Some(0), Some(0)), "{hidden:?}");
    let doctor = confined(&["doctor"], hidden_symbols());
    assert!(doctor.stdout.contains(ASKED), "{doctor:?}");
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    // The control.
    let doctor = run(&mut fdtrace(&["doctor"]));
    assert!(!doctor.stdout.contains(ASKED), "{doctor:?}");
}

/// What doctor says where the kernel is asked for names.
const ASKED: &str = "so the kernel is asked for their names";

/// The kernel hides where functions are, and may not be asked.
fn nameless() -> Confinement {
    let (hide, forbid) = (hidden_symbols(), filtered(libc::SYS_bpf, Some(LINK_CREATE)));
    Box::new(move || hide().and_then(|()| forbid()))
}

#[test]
fn without_any_names_it_is_said_that_ends_are_not_known_and_none_is_told() {
    let test = "without_any_names_it_is_said_that_ends_are_not_known_and_none_is_told";
    let _turn = take_turn!(tracing);
    let doctor = confined(&["doctor"], nameless());
    let mut lines = doctor.stdout.lines();
    let said = lines.find(|line| line.starts_with("functions: not known"));
    assert!(
        said.is_some_and(|line| line.contains("kptr_restrict")),
        "{doctor:?}"
    );
    if doctor.code != Some(0) {
        return skip(
            test,
            "kprobes are attached by the call that is refused here",
        );
    }
    let shown = discarded(None);
    assert_eq!(shown, ["\"discarded\" \"receiver-closed\""]);
    assert_eq!(discarded(Some(nameless())), ["\"unknown\" null"]);
}

/// How the trace says that a descriptor ended whose receiver was closed.
fn discarded(confinement: Option<Confinement>) -> Vec<String> {
    let is_nameless = confinement.is_some();
    // Filters begin with an iterator, which may be refused here.
    let tracing = Tracing::start_as(&["trace", "--format", "json"], |command| {
        if let Some(confinement) = confinement {
            confine(command, confinement);
        }
    });
    let (sender, receiver) = UnixStream::pair().expect("there is room for two sockets");
    let file = tempfile::tempfile().expect("there is room for a file");
    let ino = file.metadata().expect("it is open").ino().to_string();
    passing::send(sender.as_raw_fd(), b"x", &[&[file.as_raw_fd()]]).expect("there is room");
    drop(receiver);
    let traced = tracing.stop();
    let said = traced
        .stderr
        .contains("how a list ends that nobody receives is not known here");
    assert_eq!(said, is_nameless, "{traced:?}");
    let lines = lines(&traced.stdout);
    let unnamed = lines[0]["functions_unnamed"].as_bool().unwrap_or(false);
    assert_eq!((&lines[0]["type"], unnamed), (&"start".into(), is_nameless));
    let ours = transfers(&lines)
        .into_iter()
        .filter(|transfer| transfer["file"]["ino"] == ino);
    ours.map(|it| format!("{} {}", it["fate"], it["cause"]))
        .collect()
}
