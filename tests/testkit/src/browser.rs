//! A headless Chromium, told what to do through its debugging pipe: JSON messages that end with NUL,
//! commands on descriptor 3 and answers on 4.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{fcntl::OFlag, unistd::pipe2};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What Debian and others call it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page open.
pub struct Browser {
    child: Child,
    commands: File,
    answers: BufReader<File>,
    session: Value,
    sent: u64,
    /// What the page complained about: errors in its console, and exceptions.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page and waits until it is loaded; `None` if there is no browser.
    pub fn open(page: &Path) -> Option<Self> {
        let program = NAMES.into_iter().find(|name| {
            let found = Command::new(name).arg("--version").output();
            found.is_ok_and(|output| output.status.success())
        })?;
        let profile = tempfile::tempdir().expect("there is room for a profile");
        let pipe = || pipe2(OFlag::O_CLOEXEC).expect("there are pipes");
        let ((to_read, to_write), (from_read, from_write)) = (pipe(), pipe());
        let mut command = Command::new(program);
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args([
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-extensions",
            ])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        hand_over(&mut command, [to_read.as_raw_fd(), from_write.as_raw_fd()]);
        let child = command.spawn().expect("the browser starts");
        drop((to_read, from_write));
        let file = |fd: OwnedFd| File::from(fd);
        let mut browser = Self {
            child,
            commands: file(to_write),
            answers: BufReader::new(file(from_read)),
            session: Value::Null,
            sent: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        let url = format!("file://{}", page.display());
        browser.call("Page.navigate", &json!({ "url": url }));
        browser.wait_for("Page.loadEventFired");
        Some(browser)
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands
            .write_all(&bytes)
            .expect("the browser listens");
        let sent = self.sent;
        let answer = self.read_until(|answer| answer["id"] == sent);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn wait_for(&mut self, event: &str) {
        self.read_until(|answer| answer["method"] == event);
    }

    fn read_until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut bytes = Vec::new();
            self.answers
                .read_until(0, &mut bytes)
                .expect("the browser talks");
            assert_eq!(bytes.pop(), Some(0), "the browser went away");
            let answer: Value = serde_json::from_slice(&bytes).expect("it speaks JSON");
            let complaint = match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => answer["params"]["type"] == "error",
                Some("Log.entryAdded") => answer["params"]["entry"]["level"] == "error",
                _ => false,
            };
            if complaint {
                self.complaints.push(answer["params"].to_string());
            }
            if is_it(&answer) {
                return answer;
            }
        }
    }

    /// What an expression comes to in the page. A promise is waited for.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &params);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                &json!({ "type": kind, "key": key }),
            );
        }
        self.settle();
    }

    /// Waits until the page has drawn what it was going to draw.
    pub fn settle(&mut self) {
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))");
    }

    /// Shows the page in a window of this size, in light or dark.
    pub fn show(&mut self, width: u32, height: u32, scheme: &str) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 }),
        );
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [feature] }),
        );
        self.settle();
    }

    /// Prints the page, and returns the PDF in base64.
    pub fn print(&mut self) -> String {
        let answer = self.call("Page.printToPDF", &json!({}));
        answer["data"].as_str().expect("a document").to_owned()
    }

    /// A picture of all of the page, as PNG in base64.
    pub fn picture(&mut self) -> String {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", &params);
        answer["data"].as_str().expect("a picture").to_owned()
    }
}

/// Makes these descriptors 3 and 4 of the program.
fn hand_over(command: &mut Command, fds: [RawFd; 2]) {
    // SAFETY: dup2 and fcntl are all that is called between fork and exec, and they take no locks.
    unsafe {
        command.pre_exec(move || {
            // Out of the way first, for one of them may be 3 or 4 itself.
            let mut away = [0; 2];
            for (at, fd) in fds.into_iter().enumerate() {
                away[at] = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10);
            }
            for (at, fd) in away.into_iter().enumerate() {
                if fd < 0 || libc::dup2(fd, 3 + at as i32) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
