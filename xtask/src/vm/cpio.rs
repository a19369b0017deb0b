//! Writes an initramfs: a cpio archive in the "newc" form that the kernel unpacks.
//!
//! Device nodes are only entries here, so nobody has to be root to make them.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written to `W`.
pub(crate) struct Archive<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// Parents come before what lies in them; no path begins with a slash.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY, (0, 0), b"")
    }

    pub(crate) fn file(&mut self, path: &str, permissions: u32, data: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | permissions, (0, 0), data)
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, SYMLINK, (0, 0), target.as_bytes())
    }

    /// `number` is the device's major and minor.
    pub(crate) fn device(
        &mut self,
        path: &str,
        permissions: u32,
        number: (u32, u32),
    ) -> io::Result<()> {
        self.entry(path, CHARACTER_DEVICE | permissions, number, b"")
    }

    /// Closes the archive and gives the writer back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), b"")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        data: &[u8],
    ) -> io::Result<()> {
        self.entries += 1;
        let size = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let (inode, links, owner, group, time, device, checksum) =
            (self.entries, 1, 0, 0, 0, (0, 0), 0);
        let fields = [
            inode,
            mode,
            owner,
            group,
            links,
            time,
            size(data.len())?,
            device.0,
            device.1,
            major,
            minor,
            size(path.len() + 1)?,
            checksum,
        ];
        let mut header = b"070701".to_vec();
        for field in fields {
            write!(header, "{field:08x}")?;
        }
        header.extend(path.as_bytes());
        header.push(0);
        self.padded(&header)?;
        self.padded(data)
    }

    /// Headers and contents each begin at a multiple of four.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let missing = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(&[0; 3][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_the_kernel_documents() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/init", 0o755, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let expected = concat!(
            "070701", "00000001", // inode
            "000081ed", // mode
            "00000000", // uid
            "00000000", // gid
            "00000001", // links
            "00000000", // mtime
            "00000005", // size
            "00000000", // device
            "00000000", "00000000", // device node
            "00000000", "00000007", // path with its NUL
            "00000000", // checksum
            "a/init\0", "\0\0\0", "hello", "\0\0\0",
        );
        assert!(text.starts_with(expected), "{text:?}");
        assert!(text[expected.len()..].contains("TRAILER!!!\0"));
        assert_eq!(text.len() % 4, 0);
    }

    #[test]
    fn devices_have_numbers() {
        let mut archive = Archive::new(Vec::new());
        archive.device("dev/null", 0o666, (1, 3)).unwrap();
        let text = String::from_utf8(archive.finish().unwrap()).unwrap();
        assert_eq!(&text[14..22], "000021b6");
        assert_eq!(&text[78..94], "0000000100000003");
    }

    #[test]
    fn every_entry_begins_at_a_multiple_of_four() {
        for length in 0..9 {
            let mut archive = Archive::new(Vec::new());
            archive.directory(&"d".repeat(length + 1)).unwrap();
            archive.file("f", 0o644, &vec![b'x'; length]).unwrap();
            archive.symlink("s", &"t".repeat(length)).unwrap();
            let bytes = archive.finish().unwrap();
            let starts: Vec<usize> = bytes
                .windows(6)
                .enumerate()
                .filter_map(|(at, window)| (window == b"070701").then_some(at))
                .collect();
            assert_eq!(starts.len(), 4);
            assert!(starts.iter().all(|start| start % 4 == 0), "{starts:?}");
        }
    }
}
