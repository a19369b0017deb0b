//! Ways to confine a command before it becomes fdtrace. Each is done in the command's own process, which
//! has one thread, and touches nothing of anybody else's.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use caps::Capability;
use fdtrace_testkit::command::{Run, fdtrace, run};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// What the process does to itself. It may not take memory: another thread may have held the allocator's
/// lock as the process was forked.
pub(super) type Confinement = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Runs fdtrace confined so, to its end.
pub(super) fn confined(args: &[&str], confinement: Confinement) -> Run {
    let mut command = fdtrace(args);
    confine(&mut command, confinement);
    run(&mut command)
}

pub(super) fn confine(command: &mut Command, confinement: Confinement) {
    // SAFETY: it makes system calls alone.
    unsafe { command.pre_exec(confinement) };
}

/// Shows `shown` in place of `path`, to this process alone.
pub(super) fn bound(shown: &Path, path: &'static str) -> Confinement {
    let shown = shown.to_owned();
    Box::new(move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&Path> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none)?;
        mount(Some(&shown), path, none, MsFlags::MS_BIND, none)?;
        Ok(())
    })
}

/// Shows no function's address, as `kernel.kptr_restrict` = 2 does.
pub(super) fn hidden_symbols() -> Confinement {
    bound(&HIDDEN, "/proc/kallsyms")
}

/// This kernel's symbols, each at 0.
static HIDDEN: LazyLock<PathBuf> = LazyLock::new(|| {
    let text = fs::read_to_string("/proc/kallsyms").expect("/proc is mounted");
    let hidden: String = text
        .lines()
        .map(|line| format!("{:016x}{}\n", 0, &line[16..]))
        .collect();
    let path = std::env::temp_dir().join(format!("fdtrace-kallsyms-{}", std::process::id()));
    fs::write(&path, hidden).expect("there is room for a file");
    path
});

/// Refuses `call` with EPERM, as container runtimes do; of `bpf(2)` perhaps one command alone.
pub(super) fn filtered(call: libc::c_long, command: Option<u32>) -> Confinement {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    /// Where `struct seccomp_data` has the first argument's lower half.
    const FIRST_ARGUMENT: u32 = 16;
    let statement = |code: u32, [yes, no]: [u8; 2], k: u32| libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k,
    };
    let refuse = statement(RETURN, [0, 0], libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let allow = statement(RETURN, [0, 0], libc::SECCOMP_RET_ALLOW);
    let programme = match command {
        None => vec![
            statement(LOAD, [0, 0], 0),
            statement(JUMP, [0, 1], call as u32),
            refuse,
            allow,
        ],
        Some(command) => vec![
            statement(LOAD, [0, 0], 0),
            statement(JUMP, [0, 3], call as u32),
            statement(LOAD, [0, 0], FIRST_ARGUMENT),
            statement(JUMP, [0, 1], command),
            refuse,
            allow,
        ],
    };
    Box::new(move || {
        let programme = libc::sock_fprog {
            len: programme.len() as u16,
            filter: programme.as_ptr().cast_mut(),
        };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: the filter is as long as said, and outlives the call.
        let done = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const programme) };
        succeeded(done)
    })
}

/// All capabilities, in a user namespace of its own, as in a rootless container.
pub(super) fn in_user_namespace() -> Confinement {
    Box::new(|| {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        let map = c"/proc/self/uid_map";
        // SAFETY: a path and a line that outlive the calls, and a descriptor that is this function's.
        unsafe {
            let file = libc::open(map.as_ptr(), libc::O_WRONLY);
            succeeded(file.into())?;
            let line = b"0 0 1\n";
            let written = libc::write(file, line.as_ptr().cast(), line.len());
            libc::close(file);
            succeeded(written as libc::c_long)
        }
    })
}

/// Nobody's user id, with these capabilities and no others.
pub(super) fn nobody_with(capabilities: &[Capability]) -> Confinement {
    const NOBODY: libc::c_long = 65534;
    /// `_LINUX_CAPABILITY_VERSION_3`
    const VERSION: u32 = 0x2008_0522;
    let held: Vec<u8> = capabilities.iter().map(Capability::index).collect();
    Box::new(move || {
        let bits = held.iter().fold(0u64, |bits, it| bits | 1 << it);
        // SAFETY: numbers, and two structures as the kernel wants them.
        unsafe {
            for capability in 0..64 {
                if bits & 1 << capability == 0 {
                    // The kernel need not know it.
                    libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                }
            }
            succeeded(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
            succeeded(libc::syscall(libc::SYS_setgroups, 0, 0))?;
            succeeded(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY))?;
            succeeded(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY))?;
            let head = [VERSION, 0];
            let (low, high) = (bits as u32, (bits >> 32) as u32);
            // Effective, permitted and inheritable, of each half.
            let sets = [low, low, low, high, high, high];
            succeeded(libc::syscall(
                libc::SYS_capset,
                head.as_ptr(),
                sets.as_ptr(),
            ))?;
            for capability in &held {
                let (raise, which) = (libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(*capability));
                succeeded(libc::prctl(libc::PR_CAP_AMBIENT, raise, which, 0, 0).into())?;
            }
        }
        Ok(())
    })
}

fn succeeded(result: libc::c_long) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
