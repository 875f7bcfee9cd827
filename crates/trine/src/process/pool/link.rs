//! The master's end of one worker: its descriptors, and the board and rings that both share.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::process::service::capture::Capture;
use crate::process::wire::board::WorkerSlot;
use crate::process::wire::ring::{Consumer, Producer};
use crate::process::wire::rings::{MasterRings, Words};
use crate::process::wire::spin::TimedSpin;
use crate::sys::atomic::Mutex;
use crate::sys::io::poll::Poll;
use crate::sys::io::socket;
use crate::sys::process::child;
use crate::sys::process::lifeline::Lifeline;
use crate::sys::signal::sigterm;
use crate::task::{Cause, Printed};

/// One living worker: its descriptors and the memory shared with it, given back when dropped.
pub(in crate::process) struct WorkerLink {
    /// The master's own number of the worker; never used twice.
    pub(in crate::process) id: u64,
    pub(in crate::process) pid: u32,
    pub(in crate::process) socket: OwnedFd,
    pub(in crate::process) pidfd: OwnedFd,
    /// Its lifeline, if it could change its user.
    lifeline: Option<Lifeline>,
    /// The kernel's first refusal to kill it.
    refusal: OnceLock<Refusal>,
    pub(in crate::process) slot: WorkerSlot,
    /// The service's poll, which watches both descriptors.
    pub(super) poll: Arc<Poll>,
    /// True once the worker was seen to be ready; a task that overwrites the board does not undo
    /// it.
    ready: AtomicBool,
    /// The captured output, if the pool captures it.
    capture: Option<Capture>,
    /// The memory shared with a worker of a pool; a fresh process has none.
    pub(super) rings: Option<Rings>,
}

/// A worker that could not be killed by a signal.
struct Refusal {
    at: Instant,
    error: io::Error,
}

/// The time in which a worker has to end by its lifeline, or by the end of its socket.
const LAST_TIME: Duration = Duration::from_secs(1);

/// The part of the shared memory that any thread of the master may use. The ring of tasks belongs
/// to the worker's state, under the dispatcher's lock.
pub(super) struct Rings {
    pub(super) words: Words,
    pub(super) replies: Mutex<Replies>,
    /// The reason why the worker's replies are no longer read.
    pub(super) broken: OnceLock<String>,
    pub(super) spin: TimedSpin,
}

pub(super) struct Replies {
    pub(super) ring: Consumer,
    /// The records just taken, one behind the other.
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
}

impl WorkerLink {
    pub(in crate::process) fn new(
        (id, pid): (u64, u32),
        (socket, pidfd, lifeline): (OwnedFd, OwnedFd, Option<Lifeline>),
        slot: WorkerSlot,
        (rings, capture): (Option<MasterRings>, Option<Capture>),
        poll: Arc<Poll>,
    ) -> (WorkerLink, Option<Producer>) {
        let (rings, tasks) = rings
            .map(|MasterRings { words, tasks, answers }| {
                let replies = Replies { ring: answers, bytes: Vec::new(), ends: Vec::new() };
                let (broken, spin) = (OnceLock::new(), TimedSpin::new());
                (Rings { words, replies: Mutex::new(replies), broken, spin }, tasks)
            })
            .unzip();
        let (ready, refusal) = (AtomicBool::new(false), OnceLock::new());
        let link = WorkerLink {
            id,
            pid,
            socket,
            pidfd,
            lifeline,
            refusal,
            slot,
            poll,
            ready,
            capture,
            rings,
        };
        (link, tasks)
    }

    /// Kills the worker. Where the kernel refuses that, because this program or the worker has
    /// changed its user, the worker is ended by its lifeline and its socket.
    pub(in crate::process) fn kill(&self) {
        let Err(error) = child::kill(&self.pidfd) else { return };
        socket::hang_up(&self.socket);
        self.lifeline.iter().for_each(Lifeline::cut);
        self.refusal.get_or_init(|| Refusal { at: Instant::now(), error });
    }

    /// Returns true if the worker was to be killed, and the kernel has refused it.
    pub(in crate::process) fn is_doomed(&self) -> bool {
        self.refusal.get().is_some()
    }

    /// Returns the reason why the worker goes on though it was to be killed, if it has had its last
    /// time.
    pub(in crate::process) fn why_it_lives(&self, now: Instant) -> Option<String> {
        let refusal = self.refusal.get().filter(|refusal| refusal.at + LAST_TIME <= now)?;
        let user = child::user_of(self.pid)
            .map_or_else(|| "another user".to_owned(), |user| format!("user {user}"));
        Some(format!(
            "the worker (process {}, {user}) cannot be killed: {}; this program or the worker has \
             changed its user since the worker was started, and the task may still run: change the \
             user before the first process task, or end that process as its user",
            self.pid, refusal.error
        ))
    }

    /// Returns true if the worker has reported that it can take tasks.
    pub(in crate::process) fn is_ready(&self) -> bool {
        let is_ready = self.ready.load(Relaxed) || self.slot.is_ready();
        if is_ready {
            self.ready.store(true, Relaxed);
        }
        is_ready
    }

    /// Asks the worker to end one of its tasks.
    pub(super) fn end_task(&self, task: u64, cause: &Cause) {
        if matches!(cause, Cause::Cancelled { .. }) {
            self.slot.cancel(task);
        } else {
            self.slot.expire(task);
        }
        crash_point!("master: task on the board, worker not asked to end it");
        sigterm::request(&self.pidfd);
    }

    /// Takes the end of the output since the last call, if it is captured.
    pub(super) fn printed(&self) -> Option<Printed> {
        self.capture.as_ref().map(Capture::take)
    }

    /// Returns the number under which the service watches the socket.
    pub(in crate::process) fn token(&self) -> u64 {
        self.id * 2
    }

    /// Returns the number under which the service watches the pidfd.
    pub(in crate::process) fn pidfd_token(&self) -> u64 {
        self.id * 2 + 1
    }

    /// Returns the reason why the worker is unusable, if it has written nonsense into its ring.
    pub(in crate::process) fn broken(&self) -> Option<&String> {
        self.rings.as_ref()?.broken.get()
    }

    /// Stops the worker from notifying the service, which polls the ring for a while.
    pub(in crate::process) fn mute(&self) {
        if let Some(rings) = &self.rings {
            rings.words.mute();
        }
    }

    pub(super) fn words(&self) -> Option<&Words> {
        self.rings.as_ref().map(|rings| &rings.words)
    }
}
