//! Two processes, and a means of IPC between them.
//!
//! ```text
//!   the measurement: near                     `trine-bench far MEANS …`, started by it
//!   ┌──────────────────────┐                 ┌──────────────────────┐
//!   │ Link::send(n)        │ ──── means ───► │ Link::receive() == n │
//!   │ Link::receive() == n │ ◄─── means ──── │ Link::send(n)        │
//!   └──────────────────────┘                 └──────────────────────┘
//!        on core 1: takes the time             on core 0: prints how long it has slept
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the measurement |
//! | `sides.rs` | the work of either side |
//! | `link.rs` | a link: what a means offers to either side |
//! | `means.rs` | which means there are, and who uses each |
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

/// What a row asks of a means.
#[derive(Clone, Copy)]
pub struct Asked {
    /// Whether sides that sleep are measured, too.
    pub blocked: bool,
    /// Messages of the streams in a full run, short and long ones: enough to fill the time.
    pub short: u64,
    pub long: u64,
}

/// All that a row shows of a means: `us`, `blocked`, `rate` (millions of short messages), `bytes` (GB/s).
pub fn measure(means: Means, asked: Asked, size: Size) -> anyhow::Result<Sample> {
    keep_to(LOAD)?;
    let count = |full: u64| size.of(full, full / 4);
    let n = count(20_000);
    let took = run(means, Work::RoundTrip, SHORT, n)?;
    let mut sample = Sample::of("us", us_each(took.total, n as usize));
    if asked.blocked {
        sample =
            sample.and("blocked", median(run(means, Work::Blocked, SHORT, count(1_200))?.each));
    }
    if means.streams() {
        let n = count(asked.short);
        let took = run(means, Work::Stream, SHORT, n)?;
        sample = sample.and("rate", 1e3 / ns_each(took.total, n as usize));
    }
    if let Some(len) = means.longest(LONG) {
        let n = count(asked.long);
        let took = run(means, Work::Stream, len, n)?;
        sample = sample.and("bytes", len as f64 / ns_each(took.total, n as usize));
    }
    Ok(sample)
}

/// Keeps this process on a core: two sides that share one are measured as the scheduler that puts them there.
fn keep_to(core: usize) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() > core {
        pin(core)?;
    }
    Ok(())
}
