//! Recorded kernels, and plans for them, each made once.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use fdtrace::{
    kernel::KernelView,
    plan::{Attach, Plan, plan},
};

/// Every recorded kernel; `6.18-locked` has tracepoints alone.
pub const KERNELS: [&str; 6] = ["5.10", "6.1", "6.12", "6.18", "6.18-locked", "7.3"];

/// Where all fixtures are.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Where the fixture of one kernel is.
pub fn directory(kernel: &str) -> PathBuf {
    fixtures().join("kernels").join(kernel)
}

/// What a recorded kernel looks like.
pub fn fixture(kernel: &str) -> KernelView {
    KernelView::fixture(&directory(kernel)).unwrap_or_else(|error| panic!("{kernel}: {error}"))
}

/// The plan for a recorded kernel. It is made once, as that takes longer than most tests.
pub fn plan_of(kernel: &str, attach: Attach) -> &'static Plan {
    static PLANS: Mutex<Vec<(String, Attach, &'static Plan)>> = Mutex::new(Vec::new());
    let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = plans
        .iter()
        .find(|made| made.0 == kernel && made.1 == attach);
    if let Some((_, _, plan)) = known {
        return plan;
    }
    let made = plan(&fixture(kernel), attach).unwrap_or_else(|error| panic!("{kernel}: {error}"));
    let made: &'static Plan = Box::leak(Box::new(made));
    plans.push((kernel.to_owned(), attach, made));
    made
}

/// The plan of a kernel where the tracepoint mechanism shows queue, dequeue, install and end.
pub fn tracepoint_plan() -> &'static Plan {
    plan_of("6.18-locked", Attach::Tracepoint)
}
