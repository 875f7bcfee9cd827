//! Reports of a child to its supervisor: that it is ready, and that it is alive.
//!
//! | kind | way |
//! |---|---|
//! | coroutine, thread | two flags; the supervisor is woken when the child is ready |
//! | process | a pipe, made anew for each run; one byte a report |
//!
//! Reports are rare: a child is ready once, and a process writes at most four signs of life in an
//! interval. Bytes of a pipe are untrusted, as the task may write any.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ipc::{PipeWriter, carry};
use crate::reactor::{Direction, Source};
use crate::sys::io::unix_socket;
use crate::task::park;

/// The byte of a process that is ready. Any other is a sign of life.
const READY: u8 = b'r';
const ALIVE: u8 = b'a';

/// The most bytes that are taken from a pipe at once. A task that writes more is alive anyway.
const MOST: usize = 256;
/// The most times that a pipe is read in a row.
const MOST_LOOKS: usize = 8;

/// The reports of a coroutine or thread.
pub(super) struct Flags {
    ready: AtomicBool,
    alive: AtomicBool,
    supervisor: Waker,
}

impl Flags {
    pub(super) fn new(supervisor: Waker) -> Flags {
        Flags { ready: AtomicBool::new(false), alive: AtomicBool::new(false), supervisor }
    }

    pub(super) fn report_ready(&self) {
        self.alive.store(true, Relaxed);
        if !self.ready.swap(true, AcqRel) {
            park::wake(self.supervisor.clone());
        }
    }

    pub(super) fn report_alive(&self) {
        self.alive.store(true, Relaxed);
    }
}

/// The supervisor's side of the reports of one run.
pub(super) enum Reports {
    /// Nothing is reported.
    None,
    Flags(Arc<Flags>),
    Pipe {
        source: Source<io::PipeReader>,
        ready: bool,
        alive: bool,
    },
}

impl Reports {
    /// Makes a pipe, and returns its other end for the process.
    pub(super) fn pipe(every: Option<Duration>) -> io::Result<(Reports, Reporter)> {
        let (reader, writer) = unix_socket::pipe()?;
        let source = Source::of_nonblocking(io::PipeReader::from(reader));
        let reports = Reports::Pipe { source, ready: false, alive: false };
        Ok((reports, Reporter { writer, every }))
    }

    /// Takes what has arrived. Returns true if the child is ready; if not, `waker` is woken by its
    /// report.
    pub(super) fn look(&mut self, waker: &Waker) -> bool {
        for _ in 0..MOST_LOOKS {
            let took = self.take();
            match self {
                Reports::None => return true,
                Reports::Flags(flags) => return flags.ready.load(Acquire),
                Reports::Pipe { ready: true, .. } => return true,
                Reports::Pipe { .. } if took => {}
                Reports::Pipe { source, .. } => {
                    let mut context = Context::from_waker(waker);
                    match source.poll_ready(Direction::Read, &mut context) {
                        Poll::Pending => return false,
                        // Nothing could wake the supervisor. So it waits for no report.
                        Poll::Ready(Err(_)) => return true,
                        Poll::Ready(Ok(())) => {}
                    }
                    if !self.take() {
                        // The process has closed its end, and will never be ready.
                        return false;
                    }
                }
            }
        }
        // The process floods its pipe. Others get their turn.
        park::wake(waker.clone());
        false
    }

    /// Returns true if the child has reported anything since the last call.
    pub(super) fn was_alive(&mut self) -> bool {
        self.take();
        match self {
            Reports::None => true,
            Reports::Flags(flags) => flags.alive.swap(false, Relaxed),
            Reports::Pipe { alive, .. } => std::mem::take(alive),
        }
    }

    /// Takes the bytes that are in the pipe. Returns false if there were none, or the pipe has
    /// ended.
    fn take(&mut self) -> bool {
        let Reports::Pipe { source, ready, alive } = self else { return false };
        let mut bytes = [0; MOST];
        match source.get().read(&mut bytes) {
            Ok(count) if count > 0 => {
                *alive = true;
                *ready |= bytes[..count].contains(&READY);
                true
            }
            _ => false,
        }
    }
}

/// The other end of a pipe, on its way to the process.
pub(super) struct Reporter {
    writer: OwnedFd,
    every: Option<Duration>,
}

impl Serialize for Reporter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (carry::put::<S::Error>(self.writer.as_fd())?, self.every).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reporter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reporter, D::Error> {
        let (index, every) = Deserialize::deserialize(deserializer)?;
        let writer = carry::take(index)?;
        Ok(Reporter { writer, every })
    }
}

/// The process's side of the reports.
pub(super) struct Pipe {
    writer: PipeWriter,
    ready: AtomicBool,
    /// The time between two signs of life, in nanoseconds; none if nobody asks for them.
    every: Option<u64>,
    began: Instant,
    /// The time of the last sign of life since `began`, in nanoseconds.
    last: AtomicU64,
}

impl From<Reporter> for Pipe {
    fn from(reporter: Reporter) -> Pipe {
        let every = reporter.every.map(|every| (every / 4).as_nanos() as u64);
        Pipe {
            writer: reporter.writer.into(),
            ready: AtomicBool::new(false),
            every,
            began: Instant::now(),
            last: AtomicU64::new(0),
        }
    }
}

impl Pipe {
    pub(super) fn report_ready(&self) {
        if !self.ready.swap(true, AcqRel) {
            self.write(READY);
        }
    }

    pub(super) fn report_alive(&self) {
        let Some(every) = self.every else { return };
        let (now, last) = (self.began.elapsed().as_nanos() as u64, self.last.load(Relaxed));
        let is_due = last == 0 || now.saturating_sub(last) >= every;
        if is_due && self.last.compare_exchange(last, now.max(1), Relaxed, Relaxed).is_ok() {
            self.write(ALIVE);
        }
    }

    /// Writes one byte. There is room for it, unless the task fills the pipe by itself. An error
    /// means that the supervisor does not listen, or that the task is cancelled.
    fn write(&self, byte: u8) {
        let _ = (&self.writer).write(&[byte]);
    }
}
