//! Copy: BTF in memory that nobody changes, because the kernel's own file cannot be mapped everywhere.

use std::{
    fs,
    io::{self, Write as _},
    os::fd::OwnedFd,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

/// Copies `bytes` into memory that nothing can change or cut short any more, so that mapping it
/// cannot fault.
pub(super) fn sealed_copy(bytes: &[u8]) -> io::Result<fs::File> {
    let mut file = fs::File::from(memfd()?);
    file.write_all(bytes)?;
    seal(&file)?;
    Ok(file)
}

fn seal(file: &fs::File) -> io::Result<()> {
    // F_SEAL_WRITE waits until the kernel itself holds none of the pages, and fails with EBUSY if it
    // does for long. That is about mappings that can write, and there have been none.
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_FUTURE_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

fn memfd() -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // vm.memfd_noexec=2 demands this flag, which kernels before 6.3 do not know.
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create("fdtrace-btf", flags | noexec) {
        Err(Errno::EINVAL) => Ok(memfd_create("fdtrace-btf", flags)?),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{SpliceFlags, splice};

    use super::*;

    #[test]
    fn a_page_that_is_held_elsewhere_does_not_keep_the_copy_from_being_sealed() {
        let mut file = fs::File::from(memfd().unwrap());
        file.write_all(&[1; 4096]).unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let mut from = 0;
        let flags = SpliceFlags::empty();
        let held = splice(&file, Some(&mut from), &writer, None, 4096, flags).unwrap();
        assert_eq!(held, 4096);
        // The control: it is held.
        let waits = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE);
        assert_eq!(fcntl(&file, waits), Err(Errno::EBUSY));
        seal(&file).unwrap();
        let error = file.write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(file.set_len(1).is_err());
    }
}
