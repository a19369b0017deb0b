//! Places: what a file's name on the command line leads to.
//!
//! A regular file is *replaced*: what is written goes to a new file beside it, which takes its name
//! when it is whole, so that there is never half of one, and the old one stays if it does not come
//! to that. All else, a device, a pipe or a descriptor of one's own, is *written through*: it is
//! opened as it is, and stays what it is.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, RawFd},
        unix::fs::{
            FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl},
    sys::stat::{Mode, umask},
    unistd::{geteuid, linkat},
};
use rustix::fs::{StatxAttributes, StatxFlags, statx};
use tempfile::{NamedTempFile, TempPath};

use crate::kernel::sys::duplicate_inherited;

/// The name of stdout and of stdin.
pub(super) const DASH: &str = "-";

/// As many links are followed as the kernel follows.
const LINKS_MAX: usize = 40;

/// Who may read and write a recording.
const OWN_ALONE: u32 = 0o600;

/// Where something is to be written.
pub(super) enum Place {
    /// Standard output.
    Stdout,
    /// What is not a regular file, opened.
    Through(File),
    /// A regular file, or one that is still to be.
    Replaced(Replaced),
}

/// A file that will take another's place, or its first one.
pub(super) struct Replaced {
    file: File,
    /// What it is called meanwhile, where a file cannot be without a name. Dropped before it has its
    /// own, it is gone; without a name it is gone too when fdtrace is killed.
    name: Option<TempPath>,
    path: PathBuf,
    mode: u32,
    /// User and group of the old file.
    owner: Option<(u32, u32)>,
}

impl Place {
    /// What this name leads to, by way of links.
    ///
    /// # Errors
    /// If it cannot be written there. Nothing has changed then, and nothing has yet without.
    pub(super) fn find(path: &Path) -> io::Result<Self> {
        if let Some(own) = Self::own(path)? {
            return Ok(own);
        }
        // The kernel itself follows: it knows whose links in a common folder not to.
        match open(path, 0) {
            Ok(file) => {
                let old = file.metadata()?;
                if !old.is_file() {
                    return Ok(Self::Through(file));
                }
                let path = fs::canonicalize(path)?;
                if !are_one(Ok(old.clone()), fs::symlink_metadata(&path)) {
                    // Another process's, without a name: nothing can take its place.
                    file.set_len(0)?;
                    return Ok(Self::Through(file));
                }
                let kept = Replaced::beside(path, old.mode() & 0o777, Some(&old))?;
                Ok(Self::Replaced(kept))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.is_symlink() {
                    return Err(io::Error::new(error.kind(), "it is a link to nothing"));
                }
                let path = absolute(path)?;
                Ok(Self::Replaced(Replaced::beside(
                    path,
                    0o666 & !mask(),
                    None,
                )?))
            }
            Err(error) => Err(error),
        }
    }

    /// The same for what others must not read, nor choose the place of: a link is not followed but
    /// replaced.
    ///
    /// # Errors
    /// Likewise.
    pub(super) fn find_private(path: &Path) -> io::Result<Self> {
        if let Some(own) = Self::own(path)? {
            return Ok(own);
        }
        let old = match fs::symlink_metadata(path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(old) = old.filter(|old| !old.is_symlink()) {
            let file = open(path, libc::O_NOFOLLOW)?;
            if !old.is_file() {
                return Ok(Self::Through(file));
            }
        }
        let new = Replaced::beside(absolute(path)?, OWN_ALONE, None)?;
        Ok(Self::Replaced(new))
    }

    /// Whether this name means what this process has open already.
    pub(super) fn is_own(path: &Path) -> bool {
        own_descriptor(path).is_some()
    }

    fn own(path: &Path) -> io::Result<Option<Self>> {
        Ok(match own_descriptor(path) {
            Some(libc::STDOUT_FILENO) => Some(Self::Stdout),
            Some(number) => Some(Self::Through(duplicate(number)?)),
            None => None,
        })
    }

    /// Whether what is written to both would be mixed up, or lost.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stdout, Self::Stdout) => true,
            (Self::Through(one), Self::Through(other)) => are_one(one.metadata(), other.metadata()),
            (Self::Through(one), Self::Stdout) | (Self::Stdout, Self::Through(one)) => {
                let stdout = duplicate(libc::STDOUT_FILENO);
                stdout.is_ok_and(|stdout| are_one(one.metadata(), stdout.metadata()))
            }
            (Self::Replaced(one), Self::Replaced(other)) => one.path == other.path,
            _ => false,
        }
    }
}

impl Replaced {
    /// A file beside the one with this path.
    fn beside(path: PathBuf, mode: u32, old: Option<&Metadata>) -> io::Result<Self> {
        let (Some(folder), Some(_)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EISDIR.into());
        };
        if old.is_some() && is_mount_point(&path) {
            return Err(io::Error::other(
                "it is a mount point, which no file can replace; `> FILE` writes into it",
            ));
        }
        let (file, name) = match without_name(folder) {
            Ok(file) => (file, None),
            // Not every file system can do that.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => {
                let (file, name) = named(folder, |path| {
                    let mut options = OpenOptions::new();
                    options.read(true).write(true).create_new(true);
                    options.mode(OWN_ALONE).open(path)
                })?
                .into_parts();
                (file, Some(name))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            file,
            name,
            path,
            mode,
            owner: old.map(|old| (old.uid(), old.gid())),
        })
    }

    /// Where to write.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// If what was written does not get to the disk, or the folder has changed.
    pub(super) fn put(self) -> io::Result<()> {
        let file = &self.file;
        if let Some((user, group)) = self.owner {
            // Only root can give files away; a group of one's own anybody can.
            let _ =
                fchown(file, Some(user), Some(group)).or_else(|_| fchown(file, None, Some(group)));
        }
        file.set_permissions(Permissions::from_mode(self.mode))?;
        // Some file systems say only now that there was no room.
        file.sync_all()?;
        let name = match (self.name, self.path.parent()) {
            (Some(name), _) => name,
            (None, Some(folder)) => named(folder, |path| {
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                let follow = AtFlags::AT_SYMLINK_FOLLOW;
                Ok(linkat(AT_FDCWD, own.as_str(), AT_FDCWD, path, follow)?)
            })?
            .into_temp_path(),
            (None, None) => return Err(Errno::EISDIR.into()),
        };
        name.persist(&self.path).map_err(|error| error.error)
    }
}

/// A file in this folder that has no name yet.
fn without_name(folder: &Path) -> nix::Result<File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(OWN_ALONE);
    Ok(nix::fcntl::open(folder, flags, mode)?.into())
}

/// Makes something under a name of its own in this folder.
fn named<T>(
    folder: &Path,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<NamedTempFile<T>> {
    // The error that is returned would have that name in it, which means nothing to the user.
    let mut refused = None;
    let made = tempfile::Builder::new()
        .prefix(".fdtrace-")
        .make_in(folder, |path| {
            make(path).inspect_err(|error| refused = error.raw_os_error())
        });
    made.map_err(|error| refused.map_or(error, io::Error::from_raw_os_error))
}

/// Opens for writing what is there; a pipe when there is a reader.
fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY | flags)
        .open(path)
}

/// The path with its folder as the kernel knows it; the last name is not looked up.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Errno::EISDIR.into());
    };
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(folder_of(path)?.join(name))
}

fn folder_of(path: &Path) -> io::Result<PathBuf> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::canonicalize(folder),
        _ => fs::canonicalize("."),
    }
}

/// The descriptor of this process that a path means: `-` for stdout, `/dev/stdout`, `/dev/fd/3`.
///
/// Opening such a path would open the file a second time, at its start, or not at all where it is
/// a socket.
fn own_descriptor(path: &Path) -> Option<RawFd> {
    if path == Path::new(DASH) {
        return Some(libc::STDOUT_FILENO);
    }
    let own = [
        fs::canonicalize("/proc/self/fd").ok()?,
        fs::canonicalize("/proc/thread-self/fd").ok()?,
    ];
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let folder = folder_of(&path).ok()?;
        let name = path.file_name()?;
        if own.contains(&folder) {
            return name.to_str()?.parse().ok();
        }
        let link = folder.join(name);
        let found = fs::symlink_metadata(&link).ok()?;
        // Nobody else's link chooses among what this process has open.
        let trusted = found.uid() == 0 || found.uid() == geteuid().as_raw();
        if !found.is_symlink() || !trusted {
            return None;
        }
        path = folder.join(fs::read_link(&link).ok()?);
    }
    None
}

/// Another descriptor for what was open when this process began. What it has opened itself since
/// is closed by `exec`, and not to be written to by its number.
fn duplicate(number: RawFd) -> io::Result<File> {
    let copy = duplicate_inherited(number)?;
    let access = OFlag::from_bits_truncate(fcntl(&copy, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    if access == OFlag::O_RDONLY {
        return Err(Errno::EBADF.into());
    }
    Ok(File::from(copy))
}

/// Whether both are one file, into which two writers would write over each other. A device such as
/// `/dev/null` takes any number.
fn are_one(one: io::Result<Metadata>, other: io::Result<Metadata>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => {
            (one.dev(), one.ino()) == (other.dev(), other.ino())
                && !one.file_type().is_char_device()
        }
        _ => false,
    }
}

fn is_mount_point(path: &Path) -> bool {
    let seen = statx(
        rustix::fs::CWD,
        path,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::empty(),
    );
    // The kernel has the attribute since 5.8.
    seen.is_ok_and(|seen| seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn mask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

/// A file of this name for reading; `-` is stdin.
///
/// # Errors
/// What opening says.
pub(super) fn open_for_reading(path: &Path) -> io::Result<File> {
    if path == Path::new(DASH) {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        return Ok(stdin.into());
    }
    File::open(path)
}

/// How to call a place that is written to.
pub(super) fn write_name(path: Option<&Path>) -> String {
    match path {
        Some(path) if path.as_os_str() != OsStr::new(DASH) => path.display().to_string(),
        _ => "stdout".to_owned(),
    }
}
