//! The shared memory of a master and one worker: a ring for each direction, a word for each side
//! that sleeps, and the board.
//!
//! ```text
//!   page 0   │ notify_target  gets the worker's notice     set by the master, taken by the worker
//!            │ asleep         the worker reads its socket  set by the worker, taken by the master
//!            │ board          `board.rs`
//!   page 1   │ tasks          ring, master ─► worker
//!     …      │ answers        ring, worker ─► master
//! ```
//!
//! A side that is awake is never notified. A side that is about to sleep sets its word here, then
//! looks at its ring once more. The other side fills the ring, then looks at the word. Each side
//! makes a full fence between its two steps, so at least one of them sees the other's first step
//! (Dekker's argument).
//!
//! Each worker has a memory of its own, without a name and with a sealed size. Its descriptor is
//! closed as soon as both sides have mapped it. A fresh process uses the board only; pages that are
//! not touched take no memory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::ring::{self, Consumer, Producer};
use crate::sys;
use crate::sys::atomic::{AtomicU32, fence};
use crate::sys::memory::shared::SharedMemory;

/// No notify target: the master looks by itself, or has been notified.
pub(in crate::process) const NO_TARGET: u32 = 0;
/// The service is the notify target; it is notified through the socket.
const SERVICE: u32 = 1;
/// A thread is the notify target; it sleeps on the word.
pub(in crate::process) const THREAD: u32 = 2;

/// Offsets of the words in the first page, in bytes; each has a cache line of its own.
const NOTIFY_TARGET: usize = 0;
const ASLEEP: usize = 128;

/// Returns the offsets of both rings, tasks first, and the end of the memory.
fn layout() -> (usize, usize, usize) {
    let tasks = sys::page_size();
    (tasks, tasks + ring::BYTES, tasks + 2 * ring::BYTES)
}

/// The two words, for both sides.
#[derive(Clone, Debug)]
pub(in crate::process) struct Words(Arc<SharedMemory>);

/// The master's side.
#[derive(Debug)]
pub(in crate::process) struct MasterRings {
    pub(in crate::process) words: Words,
    pub(in crate::process) tasks: Producer,
    pub(in crate::process) answers: Consumer,
}

/// The worker's side.
#[derive(Debug)]
pub(in crate::process) struct WorkerRings {
    pub(in crate::process) words: Words,
    pub(in crate::process) tasks: Consumer,
    pub(in crate::process) answers: Producer,
}

/// Makes the memory, and the descriptor by which the worker attaches to it.
pub(in crate::process) fn create() -> io::Result<(MasterRings, OwnedFd)> {
    let (tasks, answers, end) = layout();
    let (memory, descriptor) = SharedMemory::create(c"trine", end)?;
    let memory = Arc::new(memory);
    let rings = MasterRings {
        words: Words(Arc::clone(&memory)),
        tasks: Producer::new(Arc::clone(&memory), tasks),
        answers: Consumer::of_answers(memory, answers),
    };
    rings.words.notify_target().store(SERVICE, Relaxed);
    Ok((rings, descriptor))
}

/// Attaches the worker to the memory behind the descriptor of [`create`].
pub(in crate::process) fn attach(descriptor: impl AsFd) -> io::Result<WorkerRings> {
    let (tasks, answers, end) = layout();
    let memory = Arc::new(SharedMemory::attach_len(descriptor, end)?);
    Ok(WorkerRings {
        words: Words(Arc::clone(&memory)),
        tasks: Consumer::new(Arc::clone(&memory), tasks),
        answers: Producer::new(memory, answers),
    })
}

impl Words {
    /// Returns the memory, for the board.
    pub(in crate::process) fn memory(&self) -> &Arc<SharedMemory> {
        &self.0
    }

    /// Returns the word of the notify target: [`NO_TARGET`], [`SERVICE`] or [`THREAD`].
    pub(in crate::process) fn notify_target(&self) -> &AtomicU32 {
        self.0.half(NOTIFY_TARGET)
    }

    fn asleep(&self) -> &AtomicU32 {
        self.0.half(ASLEEP)
    }

    /// Notes that the worker is about to read its socket. After this it must look at its ring once
    /// more.
    pub(in crate::process) fn fall_asleep(&self) {
        self.asleep().store(1, Relaxed);
        fence(SeqCst);
    }

    /// Notes that the worker reads its ring again.
    pub(in crate::process) fn stay_awake(&self) {
        self.asleep().store(0, Relaxed);
    }

    /// Returns true if the master must wake the worker, through its socket, after it has filled the
    /// ring. Clears the worker's word, so that only one caller sends.
    #[must_use = "the worker may sleep"]
    pub(in crate::process) fn wake_worker(&self) -> bool {
        fence(SeqCst);
        self.asleep().load(Relaxed) != 0 && self.asleep().swap(0, Relaxed) != 0
    }

    /// Takes the notify target: the worker must notify it of what it has put into its ring.
    #[must_use = "the master may sleep"]
    pub(in crate::process) fn take_notify_target(&self) -> u32 {
        fence(SeqCst);
        if self.notify_target().load(Relaxed) == NO_TARGET {
            NO_TARGET
        } else {
            self.notify_target().swap(NO_TARGET, SeqCst)
        }
    }

    /// Returns true if a thread of the master sleeps until there is an answer.
    pub(in crate::process) fn is_awaited(&self) -> bool {
        self.notify_target().load(Relaxed) == THREAD
    }

    /// Makes the service the notify target, unless a thread is. After this the caller must look at
    /// the ring once more.
    pub(in crate::process) fn listen(&self) {
        _ = self.notify_target().compare_exchange(NO_TARGET, SERVICE, SeqCst, Relaxed);
        fence(SeqCst);
    }

    /// Removes the service as the notify target; a thread stays.
    pub(in crate::process) fn mute(&self) {
        _ = self.notify_target().compare_exchange(SERVICE, NO_TARGET, SeqCst, Relaxed);
    }

    /// Makes the calling thread the notify target; returns false if another thread is. After this
    /// the caller must look at the ring once more.
    #[must_use = "another thread may be the target"]
    pub(in crate::process) fn listen_by_thread(&self) -> bool {
        let mut notify_target = self.notify_target().load(Relaxed);
        while notify_target != THREAD {
            match self.notify_target().compare_exchange(notify_target, THREAD, SeqCst, Relaxed) {
                Ok(_) => {
                    fence(SeqCst);
                    return true;
                }
                Err(now) => notify_target = now,
            }
        }
        false
    }

    /// Makes the service the notify target in place of the calling thread. After this the caller
    /// must look at the ring once more.
    pub(in crate::process) fn listen_by_service(&self) {
        self.notify_target().store(SERVICE, SeqCst);
        fence(SeqCst);
    }
}
