//! A real terminal: tmux, whose screen is read back. What fdtrace writes fits it, as it fits the same
//! number of columns elsewhere, and losses are in colour.

use std::{path::Path, process::Command};

use fdtrace_testkit::command::{FDTRACE, fdtrace, run, skip};
use unicode_width::UnicodeWidthStr as _;

/// A terminal of so many columns, on a tmux server of its own.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs a shell command there, until that has ended.
    fn show(columns: usize, command: &str) -> Option<Self> {
        let socket = format!("fdtrace-test-{}-{columns}", std::process::id());
        let terminal = Self { socket };
        let (width, done) = (columns.to_string(), format!("{}-done", terminal.socket));
        let command = format!(
            "{command}; tmux -L {} wait-for -S {done}; read _",
            terminal.socket
        );
        let started = terminal.tmux(
            &["-f", "/dev/null"],
            &[
                "new-session",
                "-d",
                "-x",
                &width,
                "-y",
                "200",
                "sh",
                "-c",
                &command,
            ],
        )?;
        assert!(started.status.success(), "{started:?}");
        terminal.tmux(&[], &["wait-for", &done])?;
        Some(terminal)
    }

    /// What is on the screen; with `styles`, the escape sequences too.
    fn screen(&self, styles: bool) -> String {
        let args: &[&str] = if styles {
            &["capture-pane", "-p", "-e"]
        } else {
            &["capture-pane", "-p"]
        };
        let captured = self.tmux(&[], args).expect("it was there a moment ago");
        let text = String::from_utf8(captured.stdout).expect("a screen is text");
        text.trim_end().to_owned()
    }

    /// `None` if there is no tmux.
    fn tmux(&self, options: &[&str], args: &[&str]) -> Option<std::process::Output> {
        let mut tmux = Command::new("tmux");
        tmux.env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .args(["-u", "-L", &self.socket]);
        tmux.args(options).args(args).output().ok()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing of it may stay behind, and nothing else is on this server.
        let _ = self.tmux(&[], &["kill-server"]);
    }
}

#[test]
fn what_is_shown_on_a_terminal_fits_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/recordings");
    let recording = folder.join("tracepoints.fdt").display().to_string();
    for columns in [80, 100, 120, 160, 200] {
        let command = format!("{} replay {recording}", FDTRACE.as_str());
        let Some(terminal) = Terminal::show(columns, &command) else {
            skip("what_is_shown_on_a_terminal_fits_it", "there is no tmux");
            return;
        };
        let width = columns.to_string();
        let elsewhere = run(&mut fdtrace(&["replay", &recording, "--width", &width]));
        // A line that is too long would be two on the screen.
        assert_eq!(
            terminal.screen(false),
            elsewhere.stdout.trim_end(),
            "{columns}"
        );
        // Bold and red.
        assert!(
            terminal
                .screen(true)
                .contains("\x1b[1m\x1b[31mtruncated: room for 2 of 3")
        );
    }
}

#[test]
fn what_this_kernel_shows_fits_too() {
    for width in ["80", "100", "120", "160", "200"] {
        for command in [&["doctor"][..], &["why"], &["why", "no-control-room"]] {
            let shown = run(fdtrace(command).args(["--width", width]));
            assert!(!shown.stdout.is_empty(), "{shown:?}");
            for line in shown.stdout.lines() {
                assert!(line.width() <= width.parse().unwrap(), "{width}: {line}");
            }
        }
    }
}

#[test]
fn a_terminal_has_a_word_at_once_and_nothing_of_it_is_left() {
    let command = format!(
        "script -qec '{} verify stream-one-fd' /dev/null",
        FDTRACE.as_str()
    );
    let Ok(shown) = Command::new("sh").args(["-c", &command]).output() else {
        return skip(
            "a_terminal_has_a_word_at_once_and_nothing_of_it_is_left",
            "no shell",
        );
    };
    let shown = String::from_utf8_lossy(&shown.stdout);
    if !shown.contains("attaching") {
        // Neither script nor privileges need be there.
        return skip(
            "a_terminal_has_a_word_at_once_and_nothing_of_it_is_left",
            "no script, or no privileges",
        );
    }
    assert!(
        shown.starts_with("fdtrace: attaching to the kernel…\r\x1b[K"),
        "{shown:?}"
    );
}
