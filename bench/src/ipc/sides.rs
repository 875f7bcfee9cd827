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

/// What a run took.
pub struct Took {
    pub total: Duration,
    /// The microseconds of each message, without what either side has slept, where they do.
    pub each: Vec<f64>,
}

/// Does the work, on the near side of a fresh link.
pub fn run(means: Means, work: Work, len: usize, count: u64) -> anyhow::Result<Took> {
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
