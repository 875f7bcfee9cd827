//! The two processes of a run: the near side measures, the far side answers.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::io::{FdFlags, fcntl_setfd};

use super::link::{Ends, Link};
use super::means::Means;
use crate::io::cores::{SERVER, pin};
use crate::row::us_each;

/// The work of the two sides.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Messages there and back, one right after the other.
    RoundTrip,
    /// Messages there and back, where each side sleeps before it sends.
    Blocked,
    /// Messages one way, as fast as the far side takes them.
    Stream,
}

/// The time that a side sleeps before it sends.
const ASLEEP: Duration = Duration::from_micros(300);

/// The arguments of the far side.
#[derive(Args)]
pub struct Far {
    means: Means,
    work: Work,
    /// Bytes of a message
    len: usize,
    /// Number of messages
    count: u64,
    /// Inherited descriptors of the means
    #[arg(long)]
    fd: Vec<RawFd>,
    /// Names of the means
    #[arg(long)]
    name: Vec<String>,
}

/// The times of a run.
pub struct Took {
    pub total: Duration,
    /// The microseconds of each message, without the sleep; empty unless the sides sleep.
    pub each: Vec<f64>,
}

/// Does the work on the near side of a fresh link.
pub fn run(means: Means, work: Work, len: usize, count: u64) -> anyhow::Result<Took> {
    means.placed(move || {
        let mut far = None;
        let start = |ends| {
            far = Some(start(means, work, len, count, ends)?);
            Ok(())
        };
        let mut link = means.near(len, start)?;
        let took = drive(means, &mut *link, work, count)?;
        // The link is still open here: messages in it may need both sides to arrive.
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
        // No other thread starts a process meanwhile, so only the far side inherits it.
        fcntl_setfd(fd, FdFlags::empty())?;
        command.arg("--fd").arg(fd.as_raw_fd().to_string());
    }
    for name in &ends.names {
        command.arg("--name").arg(name);
    }
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
}

/// Does the work of the near side, and takes the times.
fn drive(means: Means, link: &mut dyn Link, work: Work, count: u64) -> anyhow::Result<Took> {
    link.receive()?;
    let numbered = link.numbered();
    let there_and_back = |link: &mut dyn Link, n| {
        link.send(n)?;
        anyhow::ensure!(link.receive()? == n || !numbered, "received a message that was not sent");
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

/// Runs the far side, and prints the times that it has slept.
pub fn far(far: Far) -> anyhow::Result<()> {
    let Far { means, work, len, count, fd, name } = far;
    pin(SERVER)?;
    // SAFETY: the near side has left them open for this process, and nothing else here uses them.
    let fds = fd.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    let ends = Ends { fds, names: name };
    let slept = means.placed(move || serve(means, &mut *means.far(len, ends)?, work, count))?;
    println!("{}", serde_json::to_string(&slept)?);
    Ok(std::io::stdout().flush()?)
}

/// Does the work of the far side, and returns the microseconds of each sleep.
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
