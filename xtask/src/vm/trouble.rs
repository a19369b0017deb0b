//! Reads the kernel's log, and QEMU's, for what means that a VM will not finish, or that its result is worth
//! nothing.

/// Each ends a VM: nothing that fdtrace does may make a kernel say it.
const MARKERS: &[&str] = &[
    "Kernel panic",
    "BUG:",
    "Oops",
    "soft lockup",
    "hard LOCKUP",
    // "rcu: INFO: rcu_sched detected stalls on CPUs/tasks", "rcu_preempt self-detected stall"
    "detected stalls on",
    "self-detected stall",
    "blocked for more than",
    "Out of memory: Killed process",
    // QEMU's own, after which it waits for a debugger
    "KVM internal error",
];

/// The first line of `log` that has a marker.
pub(crate) fn find(log: &str) -> Option<&str> {
    log.lines()
        .find(|line| MARKERS.iter().any(|marker| line.contains(marker)))
        .map(str::trim)
}

/// The last lines of `log`, without what a serial console adds.
pub(crate) fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.is_empty())
        .collect();
    let from = all.len().saturating_sub(lines);
    all[from..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_done_for_is_seen() {
        for line in [
            "[    1.2] Kernel panic - not syncing: Attempted to kill init!",
            "[    1.2] BUG: unable to handle page fault for address: ffff",
            "[    1.2] Oops: 0000 [#1] PREEMPT SMP",
            "[   30.1] watchdog: BUG: soft lockup - CPU#1 stuck for 26s!",
            "[   30.1] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "[   30.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
        ] {
            let log = format!("[    0.0] Linux version 6.1\r\n{line}\r\n[   99.0] more\r\n");
            assert_eq!(find(&log), Some(line));
        }
    }

    #[test]
    fn a_healthy_boot_is_not_trouble() {
        let log = "\
[    0.0] Spectre V2 : Vulnerable: no microcode\r
[    0.1] debug: bugs are fun\r
[    0.2] WARNING: some firmware thing\r
[    0.3] RCU stall detection is on\r
";
        assert_eq!(find(log), None);
    }

    #[test]
    fn the_tail_is_plain_lines() {
        assert_eq!(tail("a\r\n\r\nb\r\nc\r\n", 2), "b\nc");
        assert_eq!(tail("", 2), "");
    }
}
