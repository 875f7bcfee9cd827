//! Limits of process tasks, and limits of the system.

mod cpu;
mod group;
mod memory;
mod others;
mod system;
