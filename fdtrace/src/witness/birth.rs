//! Birth: what distinguishes an inode from the ones that had its number before.
//!
//! A file system gives the number of an inode that is gone to the next one, often at once, and the
//! kernel does the same with the addresses of files.

use std::{ffi::CString, fs::Metadata, io, time::SystemTime};

/// What an inode has had since it was made. Two of one number that differ in it are not the same;
/// two that do not differ may be different where the file system has the time alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// The type and the bytes of its file handle. It holds the inode's generation, which the next
    /// inode of that number does not share.
    pub handle: Option<(i32, Vec<u8>)>,
    /// When it was made, to the tick of the clock that the file system reads: some milliseconds.
    pub time: Option<SystemTime>,
}

impl Birth {
    /// That of the inode behind descriptor `fd` of process `pid`; `None` where the file system
    /// has neither.
    pub(crate) fn of(pid: u32, fd: i32, metadata: &Metadata) -> Option<Self> {
        let birth = Self {
            handle: handle(&format!("/proc/{pid}/fd/{fd}")).ok(),
            time: metadata.created().ok(),
        };
        (birth.handle.is_some() || birth.time.is_some()).then_some(birth)
    }
}

/// Asks for the handle of what a path leads to.
fn handle(path: &str) -> io::Result<(i32, Vec<u8>)> {
    /// From `linux/fcntl.h`: a handle to compare, not to open. Every file system has one (since
    /// 6.6; the flag is one of 6.5).
    const AT_HANDLE_FID: libc::c_int = 0x200;
    match handle_with(path, AT_HANDLE_FID) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => handle_with(path, 0),
        result => result,
    }
}

fn handle_with(path: &str, flags: libc::c_int) -> io::Result<(i32, Vec<u8>)> {
    /// MAX_HANDLE_SZ of `linux/exportfs.h`.
    const MAX: usize = 128;
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        handle: [u8; MAX],
    }
    let path = CString::new(path)?;
    let mut found = Handle {
        bytes: MAX as u32,
        kind: 0,
        handle: [0; MAX],
    };
    let mut mount = 0;
    // SAFETY: the path ends with a zero, and `found` begins as a file_handle does, with as much room
    // behind it as it says.
    let result = unsafe {
        libc::name_to_handle_at(
            libc::AT_FDCWD,
            path.as_ptr(),
            (&raw mut found).cast(),
            &raw mut mount,
            libc::AT_SYMLINK_FOLLOW | flags,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((found.kind, found.handle[..found.bytes as usize].to_vec()))
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        fs::File,
        io::{Seek as _, Write as _},
        os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
        process,
    };

    use super::*;

    fn birth(file: &File) -> Birth {
        let metadata = file.metadata().unwrap();
        Birth::of(process::id(), file.as_raw_fd(), &metadata).unwrap()
    }

    #[test]
    fn an_inode_keeps_its_birth() {
        let mut file = tempfile::tempfile().unwrap();
        let before = birth(&file);
        file.write_all(b"text").unwrap();
        file.rewind().unwrap();
        assert_eq!(birth(&file), before);
        assert_eq!(birth(&file.try_clone().unwrap()), before);
    }

    #[test]
    fn the_next_inode_of_a_number_has_another_birth() {
        let births: Vec<(u64, Birth)> = (0..64)
            .map(|_| {
                let file = tempfile::tempfile().unwrap();
                (file.metadata().unwrap().ino(), birth(&file))
            })
            .collect();
        if births.iter().any(|(_, birth)| birth.handle.is_none()) {
            println!(
                "skipped: the_next_inode_of_a_number_has_another_birth: no handles in {:?}",
                env::temp_dir()
            );
            return;
        }
        for (place, born) in births.iter().enumerate() {
            assert!(!births[..place].contains(born), "{born:?} twice");
        }
    }
}
