//! The shared memory of a master and one worker of a pool: two rings, and who sleeps.
//!
//! ```text
//!   page 0   │ notify_target       who is to be told of answers      set by the master, taken by the worker
//!            │ asleep    the worker reads its socket       set by the worker, taken by the master
//!   page 1   │ tasks     ring, master ─► worker
//!     …      │ answers   ring, worker ─► master
//! ```
//!
//! Nobody tells a side that is awake. A side that is about to sleep says so here, then looks at its ring once
//! more; the other side fills the ring, then looks here. Between the two steps each makes a full
//! fence, so one of them sees the other (Dekker's argument).
//!
//! The memory has no name and a sealed size, one for each worker. Its descriptor is closed as soon as both have
//! mapped it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::ring::{self, Consumer, Producer};
use crate::sys;
use crate::sys::atomic::{AtomicU32, fence};
use crate::sys::memory::shared::SharedMemory;

/// Nobody is to be told: the master looks by itself, or has been told.
pub(in crate::process) const NOBODY: u32 = 0;
/// The service is to be told, through the socket.
pub(in crate::process) const SERVICE: u32 = 1;
/// A thread sleeps on the word.
pub(in crate::process) const THREAD: u32 = 2;

/// Where in the first page the words stand, each in a cache line of its own.
const NOTIFY_TARGET: usize = 0;
const ASLEEP: usize = 128;

fn rings() -> (usize, usize, usize) {
    let tasks = sys::page_size();
    (tasks, tasks + ring::BYTES, tasks + 2 * ring::BYTES)
}

/// The words, for both sides.
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
    let (tasks, answers, end) = rings();
    let (memory, descriptor) = SharedMemory::create(c"trine", end)?;
    let memory = Arc::new(memory);
    let lines = MasterRings {
        words: Words(Arc::clone(&memory)),
        tasks: Producer::new(Arc::clone(&memory), tasks),
        answers: Consumer::new(memory, answers),
    };
    lines.words.notify_target().store(SERVICE, Relaxed);
    Ok((lines, descriptor))
}

/// Attaches to what the master has made.
pub(in crate::process) fn attach(descriptor: impl AsFd) -> io::Result<WorkerRings> {
    let (tasks, answers, end) = rings();
    let memory = Arc::new(SharedMemory::attach_len(descriptor, end)?);
    Ok(WorkerRings {
        words: Words(Arc::clone(&memory)),
        tasks: Consumer::new(Arc::clone(&memory), tasks),
        answers: Producer::new(memory, answers),
    })
}

impl Words {
    /// Whom the worker is to tell of answers.
    pub(in crate::process) fn notify_target(&self) -> &AtomicU32 {
        self.0.half(NOTIFY_TARGET)
    }

    fn asleep(&self) -> &AtomicU32 {
        self.0.half(ASLEEP)
    }

    /// The worker is about to read its socket, and looks at its ring once more after this.
    pub(in crate::process) fn fall_asleep(&self) {
        self.asleep().store(1, Relaxed);
        fence(SeqCst);
    }

    /// The worker reads its ring again.
    pub(in crate::process) fn stay_awake(&self) {
        self.asleep().store(0, Relaxed);
    }

    /// Whether the worker has to be told, through its socket, of what was just put into its ring.
    #[must_use = "the worker may sleep"]
    pub(in crate::process) fn wake_worker(&self) -> bool {
        fence(SeqCst);
        self.asleep().load(Relaxed) != 0 && self.asleep().swap(0, Relaxed) != 0
    }

    /// Whom the worker has to tell now of what it put into its ring.
    #[must_use = "the master may sleep"]
    pub(in crate::process) fn tell_master(&self) -> u32 {
        fence(SeqCst);
        if self.notify_target().load(Relaxed) == NOBODY {
            NOBODY
        } else {
            self.notify_target().swap(NOBODY, SeqCst)
        }
    }

    /// Whether a thread of the master sleeps for answers.
    pub(in crate::process) fn is_awaited(&self) -> bool {
        self.notify_target().load(Relaxed) == THREAD
    }

    /// The service is to be told, unless a thread is; the caller looks at the ring once more after this.
    pub(in crate::process) fn listen(&self) {
        _ = self.notify_target().compare_exchange(NOBODY, SERVICE, SeqCst, Relaxed);
        fence(SeqCst);
    }

    /// Nobody is to be told any more, unless a thread is.
    pub(in crate::process) fn mute(&self) {
        _ = self.notify_target().compare_exchange(SERVICE, NOBODY, SeqCst, Relaxed);
    }

    /// The calling thread is to be told; `false` if another one is. The caller looks at the ring once more
    /// after this.
    #[must_use = "another thread may be told"]
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

    /// The thread is not to be told any more, but the service; the caller looks at the ring once more after this.
    pub(in crate::process) fn listen_by_service(&self) {
        self.notify_target().store(SERVICE, SeqCst);
        fence(SeqCst);
    }
}
