//! Settings: how this machine's kernel was built and set up, for somebody who has not got it. Nothing judges
//! by them: what may be attached is found by trying.

use std::collections::BTreeMap;

use super::read;

/// What decides, on some kernel, what a program may do or where it may be.
const DECIDING: [&str; 7] = [
    "debug.kprobes-optimization",
    "kernel.bpf_stats_enabled",
    "kernel.ftrace_enabled",
    "kernel.perf_event_paranoid",
    "kernel.unprivileged_bpf_disabled",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
];

/// Where a distribution says which one it is.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Those that this process may read, by their names for sysctl.
#[must_use]
pub fn settings() -> BTreeMap<String, String> {
    let value = |name: &str| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = read(&path).ok()?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    DECIDING.into_iter().filter_map(value).collect()
}

/// How the kernel was built, as `uname -v` says it: the number of the build, what kind of preemption, and the
/// distribution's version and date.
#[must_use]
pub fn build() -> Option<String> {
    let build = read("/proc/sys/kernel/version").ok()?;
    Some(build.trim().to_owned())
}

/// The distribution and its version; a container's own in a container.
#[must_use]
pub fn distribution() -> Option<String> {
    let text = OS_RELEASE.into_iter().find_map(|path| read(path).ok())?;
    named(&text)
}

/// Bytes of a page.
#[must_use]
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// `ID` and `VERSION_ID` of an os-release file. Other fields of it may be somebody's own.
fn named(os_release: &str) -> Option<String> {
    let field = |name: &str| {
        let lines = os_release.lines();
        let mut values =
            lines.filter_map(|line| line.split_once('=').filter(|(key, _)| *key == name));
        let (_, value) = values.next()?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let id = field("ID")?;
    Some(match field("VERSION_ID") {
        Some(version) => format!("{id} {version}"),
        None => id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_its_id_and_its_version_and_nothing_else() {
        let debian = "PRETTY_NAME=\"Alice's Debian\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(named(debian).as_deref(), Some("debian 12"));
        assert_eq!(named("ID=arch\n").as_deref(), Some("arch"));
        assert_eq!(named("NAME=x\n"), None);
    }

    #[test]
    fn settings_have_the_names_that_sysctl_takes() {
        let settings = settings();
        assert!(
            settings
                .keys()
                .all(|name| DECIDING.contains(&name.as_str()))
        );
        // Every kernel with perf events has it.
        if let Ok(paranoid) = read("/proc/sys/kernel/perf_event_paranoid") {
            assert_eq!(settings["kernel.perf_event_paranoid"], paranoid.trim());
        }
    }
}
