//! QEMU's monitor (QMP): stops a VM and writes its memory to a file.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// A conversation with one QEMU.
pub(super) struct Monitor(BufReader<UnixStream>);

impl Monitor {
    /// Connects to the socket that QEMU was told to listen at.
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("QEMU does not listen at {}", socket.display()))?;
        let mut monitor = Self(BufReader::new(stream));
        // It greets whoever comes.
        monitor.hear()?;
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Stops all of the VM's processors.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.ask("stop", &json!({}))
    }

    /// Writes the VM's physical memory to `core`, an ELF file.
    pub(super) fn dump(&mut self, core: &Path) -> Result<()> {
        let protocol = format!("file:{}", core.display());
        self.ask(
            "dump-guest-memory",
            &json!({ "paging": false, "protocol": protocol }),
        )
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<()> {
        let asked = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{asked}").context("cannot talk to QEMU")?;
        loop {
            let answer = self.hear()?;
            // In between it tells of events.
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {}", error["desc"]);
            }
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line).context("cannot hear QEMU")? == 0 {
            bail!("QEMU has ended");
        }
        serde_json::from_str(&line).context("QEMU's answer is no JSON")
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    /// Answers as QEMU does, and returns what it was asked.
    fn converse(answers: &'static [&'static str]) -> (Result<()>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        let qemu = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{{\"QMP\": {{}}}}").unwrap();
            let mut asked = Vec::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in answers {
                asked.push(lines.next().unwrap().unwrap());
                write!(stream, "{answer}").unwrap();
            }
            asked
        });
        let done = Monitor::connect(&socket).and_then(|mut monitor| {
            monitor.stop()?;
            monitor.dump(Path::new("/core"))
        });
        (done, qemu.join().unwrap())
    }

    #[test]
    fn events_are_no_answers() {
        let (done, asked) = converse(&[
            "{\"return\": {}}\n",
            "{\"event\": \"STOP\"}\n{\"return\": {}}\n",
            "{\"return\": {}}\n",
        ]);
        done.unwrap();
        let commands: Vec<Value> = asked
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["execute"].take())
            .collect();
        assert_eq!(commands, ["qmp_capabilities", "stop", "dump-guest-memory"]);
        assert!(asked[2].contains("file:/core"));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let (done, _) = converse(&[
            "{\"return\": {}}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
        ]);
        let error = done.unwrap_err().to_string();
        assert_eq!(error, "QEMU refuses stop: \"no\"");
    }
}
