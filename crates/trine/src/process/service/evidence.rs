//! The cause of a worker's end, from its status and from what it left behind.
//!
//! The limits that leave such evidence are in the table of `worker/limits.rs`.

use std::time::Duration;

use crate::process::pool::link::WorkerLink;
use crate::process::worker::limits::{NO_LIMIT, in_nanoseconds};
use crate::sys::limits::cgroup;
use crate::sys::limits::cpu_clock::{self, SIGXCPU};
use crate::sys::process::child::Ended;
use crate::sys::signal::{SIGABRT, SIGKILL};
use crate::task::{Cause, Limit};

/// The limits that an ended worker met, gathered before its status is taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// The memory limit that it ran out of, or `NO_LIMIT`; noted by the worker itself.
    aborted: Option<u64>,
    /// The limit at which the kernel killed it, or a process that it had started.
    killed: Option<u64>,
    /// The processor time that its task was allowed and has used up.
    cpu_time: Option<Duration>,
}

/// Gathers the evidence that a worker left behind. It has ended, and its status was not taken.
pub(super) fn gather(link: &WorkerLink) -> Evidence {
    let (end, most) = link.slot.cpu();
    let is_up = || cpu_clock::of(link.pid).is_some_and(|used| in_nanoseconds(used) >= end);
    let group = cgroup::delegated();
    Evidence {
        aborted: Some(link.slot.memory()).filter(|note| *note != 0),
        killed: group.and_then(|group| cgroup::exhausted(group, link.pid)),
        cpu_time: (end != 0 && is_up()).then(|| Duration::from_nanos(most)),
    }
}

/// Gives back the control group of an ended worker.
pub(super) fn give_back(link: &WorkerLink) {
    if let Some(group) = cgroup::delegated() {
        cgroup::remove(group, link.pid);
    }
}

/// Returns the cause of failure for a task whose process has ended as `ended` says.
pub(super) fn cause_of(ended: Ended, evidence: Evidence) -> Cause {
    match ended {
        Ended::Exited(code) => Cause::Exited { code },
        Ended::Signaled { signal, core_dumped } => evidence.cause(signal, core_dumped),
        Ended::Unknown => Cause::Lost {
            reason: "it has ended, and other code of this program has taken the answer how: it \
                         ignores SIGCHLD or waits for any child"
                .into(),
        },
    }
}

impl Evidence {
    /// Returns the cause of failure for a task whose worker was ended by a signal.
    fn cause(self, signal: i32, core_dumped: bool) -> Cause {
        let memory = match signal {
            SIGABRT => self.aborted,
            SIGKILL => self.killed,
            _ => None,
        };
        let is_timer = matches!(signal, SIGXCPU | SIGKILL);
        let limit = match memory {
            Some(NO_LIMIT) => None,
            Some(most) => Some(Limit::Memory(most)),
            None => self.cpu_time.filter(|_| is_timer).map(Limit::CpuTime),
        };
        Cause::Signaled { signal, core_dumped, out_of_memory: memory.is_some(), limit }
    }
}
