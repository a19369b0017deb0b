//! What a program expects of a running system: mounted file systems, a loopback that is up.

use std::{
    fs, io,
    net::UdpSocket,
    os::{fd::AsRawFd as _, unix::fs::symlink},
};

use anyhow::{Context as _, Error, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::utsname::uname,
};

/// Type, place and options, in an order in which each place exists once it is its turn.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("devpts", "/dev/pts", "ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("securityfs", "/sys/kernel/security", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", ""),
];

/// Returns what could not be done.
pub(crate) fn prepare() -> Vec<Error> {
    let mut troubles: Vec<Error> = MOUNTS
        .iter()
        .filter_map(|(kind, place, options)| appear(kind, place, options).err())
        .collect();
    // Bash, busybox and std's own tests use it.
    troubles.extend(link_fd().err());
    troubles.extend(loopback_up().err());
    troubles
}

fn appear(kind: &str, place: &str, options: &str) -> Result<()> {
    // In sysfs it exists if the kernel has it at all, and the mount tells.
    let _ = fs::create_dir_all(place);
    let options = Some(options).filter(|options| !options.is_empty());
    mount(Some(kind), place, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("cannot mount {kind} at {place}"))
}

fn link_fd() -> Result<()> {
    symlink("/proc/self/fd", "/dev/fd").context("cannot make /dev/fd")
}

fn loopback_up() -> Result<()> {
    // Any socket of the family will do.
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request lives longer than the call, and its name is closed by a NUL.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done < 0 {
        return Err(io::Error::last_os_error()).context("cannot set the loopback interface up");
    }
    Ok(())
}

/// Release of the running kernel.
pub(crate) fn release() -> Result<String> {
    let names = uname().context("cannot ask for the kernel's release")?;
    Ok(names.release().to_string_lossy().into_owned())
}
