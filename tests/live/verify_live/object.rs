//! Objects to load that are none.

use std::{fs::File, io::Write as _, path::Path};

use fdtrace_testkit::{
    command::{FDTRACE, Run, fdtrace, run},
    take_turn,
};

#[test]
fn an_object_that_is_none_is_an_error_in_one_line() {
    let _turn = take_turn!(tracing);
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let object = include_bytes!("../../../fdtrace/bpf/fdtrace.bpf.o");
    let attempt = |path: &Path| -> Run {
        run(fdtrace(&["verify", "stream-one-fd"]).env("FDTRACE_BPF_OBJECT", path))
    };
    let with = |content: &[u8]| -> Run {
        let path = dir.path().join("object");
        let mut file = File::create(&path).expect("there is room");
        file.write_all(content).expect("there is room");
        attempt(&path)
    };
    let cannot = "cannot load the eBPF object: ";
    let eighth = object.len() / 8;
    let cuts = (0..8)
        .map(|part| part * eighth)
        .chain([4, 64, object.len() - 1]);
    for cut in cuts {
        with(&object[..cut]).assert_complaint(cannot, None);
    }
    with(b"garbage, and a line\nand another\n").assert_complaint(cannot, None);
    with(&[0xff; 4096]).assert_complaint(cannot, None);
    // ELF, but not for eBPF.
    attempt(Path::new(FDTRACE.as_str())).assert_complaint("", None);
    attempt(&dir.path().join("missing")).assert_complaint("missing", None);
    attempt(dir.path()).assert_complaint(cannot, None);

    // The control: the whole object is one.
    let whole = with(object);
    assert_eq!(whole.code, Some(0), "{whole:?}");
}
