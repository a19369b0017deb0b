//! The job that the host leaves in the initramfs: which commands to run, and how.
//!
//! A list of strings, each closed by a NUL, whose first byte tells what it is. No argument and no
//! variable can hold a NUL.

use std::{ffi::OsString, fmt, os::unix::ffi::OsStrExt as _, os::unix::ffi::OsStringExt as _};

/// What a VM is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// `NAME=VALUE`, for each command.
    pub env: Vec<OsString>,
    /// Programs with their arguments, to be run one after the other. None is empty.
    pub commands: Vec<Vec<OsString>>,
    /// Rows and columns of the terminal that the commands get, if they get one.
    pub terminal: Option<(u16, u16)>,
}

/// The bytes are not a job.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAJob;

impl fmt::Display for NotAJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not a job")
    }
}

impl std::error::Error for NotAJob {}

impl Job {
    /// The bytes for the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut string = |tag: u8, text: &[u8]| {
            bytes.push(tag);
            bytes.extend(text);
            bytes.push(0);
        };
        for variable in &self.env {
            string(b'e', variable.as_bytes());
        }
        if let Some((rows, columns)) = self.terminal {
            string(b't', format!("{rows} {columns}").as_bytes());
        }
        for command in &self.commands {
            for (index, arg) in command.iter().enumerate() {
                string(if index == 0 { b'c' } else { b'a' }, arg.as_bytes());
            }
        }
        bytes
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When [`Job::encode`] could not have written it.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAJob> {
        let mut job = Self::default();
        let Some(bytes) = bytes.strip_suffix(b"\0") else {
            return if bytes.is_empty() {
                Ok(job)
            } else {
                Err(NotAJob)
            };
        };
        for string in bytes.split(|byte| *byte == 0) {
            let (tag, text) = string.split_first().ok_or(NotAJob)?;
            let text = OsString::from_vec(text.to_vec());
            match tag {
                b'e' => job.env.push(text),
                b't' => job.terminal = Some(size(&text).ok_or(NotAJob)?),
                b'c' => job.commands.push(vec![text]),
                b'a' => job.commands.last_mut().ok_or(NotAJob)?.push(text),
                _ => return Err(NotAJob),
            }
        }
        Ok(job)
    }
}

fn size(text: &OsString) -> Option<(u16, u16)> {
    let (rows, columns) = text.to_str()?.split_once(' ')?;
    Some((rows.parse().ok()?, columns.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_back_as_it_was() {
        let odd = OsString::from_vec(b"not \xff UTF-8\n".to_vec());
        let job = Job {
            env: vec!["A=1".into(), "B=".into()],
            commands: vec![
                vec!["fdtrace".into(), "verify".into(), String::new().into()],
                vec!["true".into(), odd],
            ],
            terminal: Some((24, 80)),
        };
        assert_eq!(Job::decode(&job.encode()), Ok(job));
        assert_eq!(Job::decode(b""), Ok(Job::default()));
    }

    #[test]
    fn what_is_no_job_is_refused() {
        for bytes in [
            b"cfdtrace".as_slice(),
            b"aargument\0",
            b"\0",
            b"?\0",
            b"t24\0",
        ] {
            assert_eq!(Job::decode(bytes), Err(NotAJob), "{bytes:?}");
        }
    }
}
