//! Supervisors: which children are restarted, in which order they start and end, and what is left.

mod cancel;
#[path = "../common/mod.rs"]
mod common;
mod parts;
mod restarts;
mod soak;
mod strategies;
mod trouble;
