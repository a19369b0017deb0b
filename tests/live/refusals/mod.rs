//! Kernels that hide or refuse something, made of the one at hand: files bound over those of /proc, in
//! a mount namespace of the test's own, and processes that may do less than root.

mod hidden;
