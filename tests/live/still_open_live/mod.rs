//! What is said to be still open, and held by whom, beside what the processes themselves know, what
//! `/proc/PID/fd` shows, and what `kcmp` answers at the same moment.

mod cases;
mod churn;
mod held;
mod judged;
mod roles;
