//! Kernels that hide or refuse something, made of the one at hand: files bound over those of /proc and
//! /sys in a mount namespace, and processes that may do less than root.

mod capabilities;
mod confine;
mod hidden;
mod lacking;
mod named;
mod switched_off;
