//! Limits of the system and of a process: reading and setting them, and explaining refusals.
//!
//! | file | contents |
//! |---|---|
//! | `explain.rs` | which limit caused a refusal, and how to raise it |
//! | `met.rs` | which of several limits was met |
//! | `file_size.rs` | growing memory that is a file, without SIGXFSZ |
//! | `available.rs` | the memory that can be taken now |
//! | `rlimit.rs` | resource limits of the calling process |
//! | `cgroup.rs` | control groups: those around this process, and those of its workers |
//! | `cpu_clock.rs` | processor time of processes, read and limited |
//! | `affinity.rs` | the processors that a process may run on, and its niceness |

pub(crate) mod affinity;
mod available;
pub(crate) mod cgroup;
pub(crate) mod cpu_clock;
mod explain;
pub(crate) mod file_size;
mod met;
pub(crate) mod rlimit;

pub(crate) use available::available_memory;
pub(crate) use explain::{
    error_number, explain_missing, explain_no_memory, explain_refused_task, explain_refused_thread,
    out_of_descriptors, with_met_limit,
};
pub(crate) use rlimit::{descriptors, stack};
