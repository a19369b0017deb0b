//! Log statements for debugging the programs. Without the feature `log` they are nothing at all,
//! and an object without them loads where one with them might not.

/// Logs at debug level: `debug!(&ctx, "format", arguments…)`.
macro_rules! debug {
    ($ctx:expr, $($argument:tt)*) => {{
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!($ctx, $($argument)*);
        #[cfg(not(feature = "log"))]
        let _ = $ctx;
    }};
}
pub(crate) use debug;
