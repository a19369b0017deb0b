//! Who refuses is said by its name, in one line, with what to do.

use std::{fs, io::Write as _, path::Path};

use fdtrace_testkit::{
    command::{fdtrace, run, skip},
    take_turn,
};

use serde_json::Value;

use crate::trace_live::tracing::lines;

use super::confine::{bound, confined, filtered, in_user_namespace};

/// What each command that watches says where it cannot, and doctor.
fn assert_refused(confinement: impl Fn() -> super::confine::Confinement, what: &str, hint: &str) {
    for args in [
        &["trace", "--duration", "1ms"][..],
        &["verify", "relay"],
        &["check", "--", "true"],
        &["inflight"],
    ] {
        confined(args, confinement()).assert_complaint(what, Some(hint));
    }
    let doctor = confined(&["doctor"], confinement());
    assert_eq!(doctor.code, Some(2), "{doctor:?}");
    let mut lines = doctor.stdout.lines();
    let line = lines.find(|line| line.starts_with("cannot trace: ") && line.contains(what));
    let line = line.unwrap_or_else(|| panic!("{what:?} is not in {doctor:?}"));
    assert!(line.contains(hint), "{hint:?} is not in {line:?}");
    assert!(!doctor.stdout.contains("ready to trace"), "{doctor:?}");
}

#[test]
fn a_seccomp_filter_is_named() {
    let _turn = take_turn!(tracing);
    assert_refused(
        || filtered(libc::SYS_bpf, None),
        "bpf is refused to this process, which has a seccomp filter",
        "seccomp=unconfined",
    );
    // The control: a filter that lets bpf pass.
    let doctor = confined(&["doctor"], filtered(libc::SYS_acct, None));
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
}

#[test]
fn without_perf_events_there_are_no_kprobes_and_it_is_said_why() {
    let test = "without_perf_events_there_are_no_kprobes_and_it_is_said_why";
    let _turn = take_turn!(tracing);
    if !Path::new("/sys/bus/event_source/devices/kprobe/type").exists() {
        return skip(test, "this kernel has no kprobes");
    }
    let without = || filtered(libc::SYS_perf_event_open, None);
    let refused = confined(&["doctor", "--attach", "kprobe"], without());
    let what = "this process may not use perf_event_open, nor kprobes (CAP_SYS_ADMIN; ";
    refused.assert_complaint(what, Some("fdtrace doctor"));
    // What needs none is used, and the control has them.
    for doctor in [
        confined(&["doctor"], without()),
        run(&mut fdtrace(&["doctor", "--attach", "kprobe"])),
    ] {
        assert_eq!(doctor.code, Some(0), "{doctor:?}");
    }
}

#[test]
fn a_user_namespace_is_named() {
    let test = "a_user_namespace_is_named";
    let _turn = take_turn!(tracing);
    if let Err(errno) = nix::unistd::access("/proc/self/ns/user", nix::unistd::AccessFlags::F_OK) {
        return skip(
            test,
            &format!("this kernel has no user namespaces: {errno}"),
        );
    }
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if limit.trim() == "0" {
        return skip(test, "no user namespace may be made here");
    }
    assert_refused(
        in_user_namespace,
        "this process is in a user namespace of its own",
        "the machine's root",
    );
    let doctor = run(&mut fdtrace(&["doctor"]));
    assert!(!doctor.stdout.contains("user namespace"), "{doctor:?}");
}

#[test]
fn a_kernel_without_type_information_is_named() {
    let _turn = take_turn!(tracing);
    let empty = tempfile::tempdir().expect("there is a temporary directory");
    for args in [&["doctor"][..], &["trace", "--duration", "1ms"]] {
        confined(args, bound(empty.path(), "/sys/kernel/btf")).assert_complaint(
            "kernel type information is missing at /sys/kernel/btf/vmlinux",
            Some("CONFIG_DEBUG_INFO_BTF"),
        );
    }
}

/// `cargo xtask vm --append lockdown=confidentiality --test live -- live refusals::named` has such a kernel.
#[test]
fn a_kernel_that_is_locked_down_is_named() {
    let test = "a_kernel_that_is_locked_down_is_named";
    let path = "/sys/kernel/security/lockdown";
    let mode = fs::read_to_string(path).unwrap_or_default();
    if !mode.contains("[confidentiality]") {
        return skip(
            test,
            "this kernel is not booted with lockdown=confidentiality",
        );
    }
    assert_refused(
        || Box::new(|| Ok(())),
        "lockdown=confidentiality: eBPF programs may not read kernel memory",
        "lockdown=integrity",
    );
}

#[test]
fn a_kernel_whose_structures_are_not_as_expected_gets_a_report_all_the_same() {
    let _turn = take_turn!(tracing);
    let mut btf = fs::read("/sys/kernel/btf/vmlinux").expect("this kernel has type information");
    let name = b"\0scm_fp_list\0";
    let at = btf.windows(name.len()).position(|bytes| bytes == name);
    btf[at.expect("it passes descriptors") + 1] = b'x';
    let mut changed = tempfile::NamedTempFile::new().expect("there is room for a file");
    changed.write_all(&btf).expect("there is room for it");
    let bind = || bound(changed.path(), "/sys/kernel/btf/vmlinux");

    let what = "this kernel has no type scm_fp_list";
    confined(&["trace", "--duration", "1ms"], bind()).assert_complaint(what, None);
    confined(&["doctor"], bind()).assert_complaint(what, None);
    let report = confined(&["doctor", "--format", "json"], bind());
    assert_eq!(
        (report.code, report.stderr.as_str()),
        (Some(2), ""),
        "{report:?}"
    );
    let findings = &lines(&report.stdout)[0];
    let obstacles = findings["obstacles"].as_array().expect("it is a list");
    let mut said = obstacles.iter().filter_map(Value::as_str);
    assert!(said.any(|line| line.contains(what)), "{findings}");
    assert_eq!(findings["plan"], Value::Array(Vec::new()));
    let places = findings["places"].as_array().expect("it is a list");
    let first = places.iter().find(|place| place["target"] == "__scm_send");
    let is_there = first.is_some_and(|place| place["prototype"].is_string());
    assert!(is_there, "{findings}");
}
