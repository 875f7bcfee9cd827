//! Limits of process tasks, and limits that the system sets to them.

mod cpu;
mod group;
mod memory;
mod others;
mod system;
