//! Two processes and a means of IPC between them.
//!
//! ```text
//!   the measurement: near                     `trine-bench far MEANS …`, started by it
//!   ┌──────────────────────┐                 ┌──────────────────────┐
//!   │ Link::send(n)        │ ──── means ───► │ Link::receive() == n │
//!   │ Link::receive() == n │ ◄─── means ──── │ Link::send(n)        │
//!   └──────────────────────┘                 └──────────────────────┘
//!        on core 1: takes the time             on core 0: prints the times that it has slept
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | the measurement |
//! | `sides.rs` | the work of either side |
//! | `link.rs` | a link: what a means offers to either side |
//! | `means.rs` | the list of the means, each for threads or for coroutines |
//! | `bytes.rs` | pipes, FIFOs, sockets, queues, semaphores |
//! | `channel.rs` | `trine::ipc::channel` |
//! | `signals.rs` | signals |
//! | `iceoryx.rs`, `ipc_channel.rs` | peers of a channel |

mod bytes;
mod channel;
mod iceoryx;
mod ipc_channel;
mod link;
mod means;
mod sides;
mod signals;

pub use means::Means;
pub use sides::{Far, far};

use self::link::{LONG, SHORT};
use self::sides::{Work, run};
use crate::io::cores::{LOAD, pin};
use crate::row::{Sample, Size, median, ns_each, us_each};

/// The measurements of a means that a row requests.
#[derive(Clone, Copy)]
pub struct Plan {
    /// True to measure sides that sleep, too.
    pub blocked: bool,
    /// Short messages of a stream in a full run: enough for a time that can be measured.
    pub short: u64,
    /// Long messages of a stream in a full run.
    pub long: u64,
}

/// Takes all numbers that a row shows of a means: `us`, `blocked`, `rate` (millions of short
/// messages a second) and `bytes` (GB/s).
pub fn measure(means: Means, plan: Plan, size: Size) -> anyhow::Result<Sample> {
    keep_to(LOAD)?;
    let count = |full: u64| size.of(full, full / 4);
    let n = count(20_000);
    let took = run(means, Work::RoundTrip, SHORT, n)?;
    let mut sample = Sample::of("us", us_each(took.total, n as usize));
    if plan.blocked {
        sample =
            sample.and("blocked", median(run(means, Work::Blocked, SHORT, count(1_200))?.each));
    }
    if means.streams() {
        let n = count(plan.short);
        let took = run(means, Work::Stream, SHORT, n)?;
        sample = sample.and("rate", 1e3 / ns_each(took.total, n as usize));
    }
    if let Some(len) = means.longest(LONG) {
        let n = count(plan.long);
        let took = run(means, Work::Stream, len, n)?;
        sample = sample.and("bytes", len as f64 / ns_each(took.total, n as usize));
    }
    Ok(sample)
}

/// Pins this process to a core, if the machine has it. Two sides on one core would measure the
/// scheduler's placement.
fn keep_to(core: usize) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() > core {
        pin(core)?;
    }
    Ok(())
}
