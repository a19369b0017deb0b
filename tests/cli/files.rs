//! Files that are named on the command line: what is written through, what is replaced and how, and
//! what stays when that fails.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use fdtrace_testkit::command::{FDTRACE, Run, fdtrace, run, skip};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("there is a temporary directory")
}

/// What a command prints that needs no privilege.
fn list() -> String {
    run(&mut fdtrace(&["verify", "--list"])).stdout
}

fn list_to(path: &str) -> Command {
    fdtrace(&["verify", "--list", "-o", path])
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be read").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().expect("it is text"))
        .collect();
    names.sort();
    names
}

/// Runs a script in a mount namespace of its own, with a small file system at `$1`; `None` if that
/// cannot be had.
fn aside(test: &str, size: &str, script: &str) -> Option<(Run, TempDir)> {
    let folder = folder();
    let script = format!(
        "mount --make-rprivate / && mount -t tmpfs -o size={size} fdtrace-test \"$1\" || exit 99\n\
         cd \"$1\"\n{script}"
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-uc", &script, FDTRACE.as_str()])
        .arg(folder.path());
    if !Command::new("unshare")
        .args(["-m", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        skip(test, "no mount namespace can be made");
        return None;
    }
    let run = run(&mut command);
    if run.code == Some(99) {
        skip(test, "nothing can be mounted");
        return None;
    }
    Some((run, folder))
}

#[test]
fn a_dash_is_stdout() {
    let written = run(&mut list_to("-"));
    assert_eq!((written.code, written.stdout), (Some(0), list()));
    assert!(!Path::new("-").exists());
}

#[test]
fn a_pipe_is_written_through_and_stays_one() {
    let folder = folder();
    let path = folder.path().join("pipe");
    mkfifo(&path, Mode::S_IRWXU).expect("it is ours");
    let reader = path.clone();
    let reader = thread::spawn(move || fs::read_to_string(reader).expect("it is UTF-8"));
    let written = run(&mut list_to(path.to_str().expect("it is text")));
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""));
    assert_eq!(reader.join().expect("it read"), list());
    let kind = fs::symlink_metadata(&path)
        .expect("it is there")
        .file_type();
    assert!(kind.is_fifo());
    assert_eq!(names(folder.path()), ["pipe"]);
}

#[test]
fn a_device_is_written_through_and_stays_one() {
    const TEST: &str = "a_device_is_written_through_and_stays_one";
    // Not the machine's own: were it replaced, every process would miss it.
    let script = "mknod null c 1 3 && \"$0\" schema -o null && ln -s null link && \
                  \"$0\" schema -o link && test -c null && ls -A";
    if let Some((run, _)) = aside(TEST, "64k", script) {
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(0), "link\nnull\n"),
            "{run:?}"
        );
    }
}

#[test]
fn a_descriptor_is_written_on_from_where_it_is() {
    let folder = folder();
    let path = folder.path().join("all");
    for (file, redirection) in [
        ("/dev/stdout", ""),
        ("/dev/fd/3", "3>&1"),
        ("/proc/self/fd/1", ""),
    ] {
        let script =
            format!("echo before; \"$0\" verify --list -o {file} {redirection}; echo after");
        let mut all = File::create_new(&path).expect("it is ours");
        let status = Command::new("sh")
            .args(["-c", &script, FDTRACE.as_str()])
            .stdout(all.try_clone().expect("it is open"))
            .status()
            .expect("there is a shell");
        assert!(status.success());
        let mut text = String::new();
        // The name still leads to the same file.
        assert_eq!(
            fs::metadata(&path).expect("it is there").ino(),
            all.metadata().expect("it is open").ino()
        );
        all.rewind().expect("it is a file");
        File::open(&path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .expect("it is UTF-8");
        assert_eq!(text, format!("before\n{}after\n", list()), "{file}");
        fs::remove_file(&path).expect("it is there");
    }
}

#[test]
fn a_descriptor_that_is_not_ones_own_is_refused() {
    // What fdtrace itself has opened by then has such numbers, and is not to be written to.
    for number in 3..10 {
        let path = format!("/dev/fd/{number}");
        let script = format!("exec \"$0\" verify --list -o {path} {number}>&-");
        let refused = run(Command::new("sh").args(["-c", &script, FDTRACE.as_str()]));
        refused.assert_complaint(&format!("cannot write {path}: Bad file descriptor"), None);
    }
}

#[test]
fn a_link_is_followed_and_the_file_keeps_its_mode() {
    let folder = folder();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "old").expect("it is ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
    symlink("file", &link).expect("it is ours");
    let written = run(&mut list_to(link.to_str().expect("it is text")));
    assert_eq!(written.code, Some(0), "{written:?}");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), list());
    assert!(link.is_symlink());
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert_eq!(names(folder.path()), ["file", "link"]);

    let nowhere = folder.path().join("nowhere");
    symlink("missing", &nowhere).expect("it is ours");
    run(&mut list_to(nowhere.to_str().expect("it is text")))
        .assert_complaint("a link to nothing", None);
    assert_eq!(names(folder.path()), ["file", "link", "nowhere"]);
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    const TEST: &str = "a_full_disk_leaves_the_old_file";
    // Room for the old file and an empty one beside it, and no more.
    let script = "echo old > report; \"$0\" schema -o report; echo $?; cat report; ls -A";
    if let Some((run, _)) = aside(TEST, "16k", script) {
        assert_eq!(run.stdout, "2\nold\nreport\n", "{run:?}");
        let said = "fdtrace: cannot write report: No space left on device (os error 28)\n";
        assert_eq!(run.stderr, said);
    }
}

#[test]
fn a_file_that_may_not_grow_is_like_a_full_disk() {
    let folder = folder();
    let path = folder.path().join("report");
    fs::write(&path, "old").expect("it is ours");
    // The signal that says so would end fdtrace with no word, and leave a file beside.
    let script = "ulimit -f 1; exec \"$0\" schema -o \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, FDTRACE.as_str()]).arg(&path);
    let refused = run(&mut command);
    refused.assert_complaint(
        &format!("cannot write {}: File too large", path.display()),
        None,
    );
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "old");
    assert_eq!(names(folder.path()), ["report"]);
}

#[test]
fn two_names_of_one_file_are_one() {
    let folder = folder();
    for (one, other) in [("a", "./a"), ("a", "b"), ("-", "/dev/stdout")] {
        let path = |name: &str| -> PathBuf {
            match name {
                "-" | "/dev/stdout" => name.into(),
                _ => folder.path().join(name),
            }
        };
        fs::write(folder.path().join("a"), "old").expect("it is ours");
        let _ = symlink("a", folder.path().join("b"));
        let report = format!("junit={}", path(one).display());
        let refused = run(fdtrace(&["verify", "--report", &report, "-o"]).arg(path(other)));
        refused.assert_complaint("two reports cannot both be ", Some("a file of its own"));
        assert_eq!(fs::read_to_string(path("a")).expect("it is there"), "old");
        assert_eq!(names(folder.path()), ["a", "b"]);
    }
}

#[test]
fn a_recording_comes_from_stdin() {
    let recording = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/recordings/tracepoints.fdt"
    );
    let named = run(&mut fdtrace(&["replay", recording]));
    assert_eq!(named.code, Some(0), "{named:?}");
    let file = || File::open(recording).expect("it is there");
    let piped = run(fdtrace(&["replay", "-"]).stdin(file()));
    assert_eq!((piped.code, &piped.stdout), (Some(0), &named.stdout));
    let page = run(fdtrace(&["report", "-", "-o", "-"]).stdin(file()));
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(page.stdout.starts_with("<!DOCTYPE html>"), "{page:?}");
    // Its name is told where it cannot be read.
    run(&mut fdtrace(&["replay", "-"])).assert_complaint("stdin: not an fdtrace recording", None);
}
