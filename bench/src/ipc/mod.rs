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
//! | `mod.rs` | what both sides do |
//! | `means.rs` | which means there are, and who uses each |
//! | `bytes.rs` | pipes, FIFOs, sockets, queues, semaphores |
//! | `channel.rs` | `trine::ipc::channel` |
//! | `signals.rs` | signals |
//! | `iceoryx.rs`, `ipc_channel.rs` | peers of a channel |

mod bytes;
mod channel;
mod iceoryx;
mod ipc_channel;
mod means;
mod signals;

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::io::{FdFlags, fcntl_setfd};

pub use means::Means;

use crate::io::{LOAD, SERVER, pin};
use crate::row::{Sample, Size, median, ns_each, us_each};

/// One side of a means: a way there, and a way back.
pub trait Link {
    fn send(&mut self, n: u64) -> anyhow::Result<()>;
    fn receive(&mut self) -> anyhow::Result<u64>;

    /// Whether what arrives is what was sent, and not only that something was.
    fn numbered(&self) -> bool {
        true
    }
}

type Boxed = anyhow::Result<Box<dyn Link>>;

/// What the two do.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// A message there and back, and at once the next.
    RoundTrip,
    /// The same, and each side sleeps before it sends.
    Blocked,
    /// Messages one way, as fast as they are taken.
    Stream,
}

/// Bytes of a short message, and of a long one.
pub const SHORT: usize = 64;
pub const LONG: usize = 64 << 10;

/// How many messages may be under way, where that can be chosen.
const fn capacity(len: usize) -> usize {
    if len > SHORT { 16 } else { 1_024 }
}

/// How long either side sleeps where it does.
const ASLEEP: Duration = Duration::from_micros(300);

/// What the far side is told.
#[derive(Args)]
pub struct Far {
    means: Means,
    work: Work,
    /// Bytes of a message
    len: usize,
    /// How many messages
    count: u64,
    /// Descriptors that it was given
    #[arg(long)]
    fd: Vec<RawFd>,
    /// Names by which it finds the means
    #[arg(long)]
    name: Vec<String>,
}

/// What the far side connects by.
#[derive(Default)]
pub struct Ends {
    pub fds: Vec<OwnedFd>,
    pub names: Vec<String>,
}

impl Ends {
    pub fn of_fds<const N: usize>(fds: [OwnedFd; N]) -> Ends {
        Ends { fds: fds.into(), names: vec![] }
    }

    pub fn of_names(names: impl IntoIterator<Item = String>) -> Ends {
        Ends { fds: vec![], names: names.into_iter().collect() }
    }

    /// The descriptors, as many as the means has.
    fn fds<const N: usize>(self) -> anyhow::Result<[OwnedFd; N]> {
        self.fds.try_into().ok().context("so many descriptors it does not have")
    }

    /// The names, as many as the means has.
    fn names<const N: usize>(self) -> anyhow::Result<[String; N]> {
        self.names.try_into().ok().context("so many names it does not have")
    }
}

/// A name that no other measurement has.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("trine-bench-{}-{count}", std::process::id())
}

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

/// What a run took.
struct Took {
    total: Duration,
    /// The microseconds of each message, without what either side has slept, where they do.
    each: Vec<f64>,
}

/// Keeps this process on a core: two sides that share one are measured as the scheduler that puts them there.
fn keep_to(core: usize) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() > core {
        pin(core)?;
    }
    Ok(())
}

/// Does the work, on the near side of a fresh link.
fn run(means: Means, work: Work, len: usize, count: u64) -> anyhow::Result<Took> {
    means.placed(move || {
        let mut far = None;
        let start = |ends| {
            far = Some(start(means, work, len, count, ends)?);
            Ok(())
        };
        let mut link = means.near(len, start)?;
        let took = drive(means, &mut *link, work, count)?;
        // What is in a link may need both sides to arrive.
        let output = far.context("there is no far side")?.wait_with_output()?;
        anyhow::ensure!(output.status.success(), "the far side: {}", output.status);
        let slept: Vec<f64> = serde_json::from_slice(&output.stdout)?;
        let each = took.each.iter().zip(slept).map(|(took, slept)| took - slept).collect();
        Ok(Took { each, ..took })
    })
}

/// Starts the far side.
fn start(means: Means, work: Work, len: usize, count: u64, ends: Ends) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let names = [means.to_possible_value(), work.to_possible_value()];
    command.arg("far").args(names.iter().flatten().map(|name| name.get_name()));
    command.args([len.to_string(), count.to_string()]);
    for fd in &ends.fds {
        // Nobody else starts a process meanwhile.
        fcntl_setfd(fd, FdFlags::empty())?;
        command.arg("--fd").arg(fd.as_raw_fd().to_string());
    }
    for name in &ends.names {
        command.arg("--name").arg(name);
    }
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
}

fn drive(means: Means, link: &mut dyn Link, work: Work, count: u64) -> anyhow::Result<Took> {
    link.receive()?;
    let numbered = link.numbered();
    let there_and_back = |link: &mut dyn Link, n| {
        link.send(n)?;
        anyhow::ensure!(link.receive()? == n || !numbered, "a message that was not sent");
        Ok(())
    };
    let mut each = vec![];
    let start = Instant::now();
    match work {
        Work::RoundTrip => (0..count).try_for_each(|n| there_and_back(link, n))?,
        Work::Blocked => {
            for n in 0..count {
                means.sleep(ASLEEP);
                let start = Instant::now();
                there_and_back(link, n)?;
                each.push(us_each(start.elapsed(), 1));
            }
        }
        Work::Stream => {
            (0..count).try_for_each(|n| link.send(n))?;
            link.receive()?;
        }
    }
    let total = start.elapsed();
    link.send(0)?;
    Ok(Took { total, each })
}

/// The far side.
pub fn far(far: Far) -> anyhow::Result<()> {
    let Far { means, work, len, count, fd, name } = far;
    pin(SERVER)?;
    // SAFETY: whoever started this process has left them open for it, and nothing else uses them.
    let fds = fd.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    let ends = Ends { fds, names: name };
    let slept = means.placed(move || serve(means, &mut *means.far(len, ends)?, work, count))?;
    println!("{}", serde_json::to_string(&slept)?);
    Ok(std::io::stdout().flush()?)
}

/// Answers, and says how many microseconds it has slept each time.
fn serve(means: Means, link: &mut dyn Link, work: Work, count: u64) -> anyhow::Result<Vec<f64>> {
    link.send(0)?;
    let numbered = link.numbered();
    let mut slept = vec![];
    for n in 0..count {
        let got = link.receive()?;
        match work {
            Work::RoundTrip => link.send(got)?,
            Work::Blocked => {
                let start = Instant::now();
                means.sleep(ASLEEP);
                slept.push(us_each(start.elapsed(), 1));
                link.send(got)?;
            }
            Work::Stream => anyhow::ensure!(got == n || !numbered, "a message is missing"),
        }
    }
    if work == Work::Stream {
        link.send(0)?;
    }
    link.receive()?;
    Ok(slept)
}
