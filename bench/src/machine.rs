//! The machine that was measured, and what else watches it.

use std::fs;

use anyhow::Result;
use serde::Serialize;

/// What figures depend on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    /// The mitigation that makes calls dear.
    pub(crate) returns: String,
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn here() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let cpu = read("/proc/cpuinfo")?
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned());
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?,
            cpu,
            cpus: std::thread::available_parallelism()?.get(),
            returns: read("/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow")
                .unwrap_or_else(|_| "unknown".to_owned()),
            load: read("/proc/loadavg")?
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned(),
        })
    }
}
