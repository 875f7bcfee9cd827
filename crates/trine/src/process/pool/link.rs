//! The master's end of one worker: what it is given, and what it answers.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, PoisonError, TryLockError};
use std::time::Instant;

use super::deferred::Received;
use super::dispatcher::Dispatcher;
use crate::process::service::Service;
use crate::process::service::capture::Capture;
use crate::process::wire::Head;
use crate::process::wire::board::WorkerSlot;
use crate::process::wire::ring::{self, Consumer, Producer};
use crate::process::wire::rings::{MasterRings, THREAD, Words};
use crate::process::wire::spin::TimedSpin;
use crate::sys::atomic::{Mutex, MutexGuard};
use crate::sys::process::child;
use crate::sys::signal::sigterm;
use crate::task::{Cause, Interrupted, Printed, park};

/// One living worker: two descriptors and a place on the board, given back when dropped.
pub(in crate::process) struct WorkerLink {
    /// The master's own number of the worker; never used twice.
    pub(in crate::process) id: u64,
    pub(in crate::process) pid: u32,
    pub(in crate::process) socket: OwnedFd,
    pub(in crate::process) pidfd: OwnedFd,
    pub(in crate::process) place: WorkerSlot,
    pub(in crate::process) service: Arc<Service>,
    /// Whether it was seen to be ready: what its task writes over the board does not undo that.
    ready: AtomicBool,
    /// What it prints, if that is captured.
    capture: Option<Capture>,
    /// Shared memory with a worker of a pool; a fresh process has none.
    lines: Option<Rings>,
}

/// The part of the shared memory that anybody of the master may use; the ring of tasks is the post's.
struct Rings {
    words: Words,
    answers: Mutex<Answers>,
    /// Why nothing that the worker says is heard any more.
    broken: OnceLock<String>,
    spin: TimedSpin,
}

struct Answers {
    ring: Consumer,
    /// Records taken, one behind the other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Why a worker is ended whose ring cannot be read.
const NONSENSE: &str = "it has written nonsense into its ring";

/// Most answers that are taken at once.
const BATCH: usize = 256;

impl WorkerLink {
    pub(in crate::process) fn new(
        (id, pid): (u64, u32),
        (socket, pidfd): (OwnedFd, OwnedFd),
        place: WorkerSlot,
        (lines, capture): (Option<MasterRings>, Option<Capture>),
        service: Arc<Service>,
    ) -> (WorkerLink, Option<Producer>) {
        let (lines, tasks) = lines
            .map(|MasterRings { words, tasks, answers }| {
                let answers = Answers { ring: answers, bytes: Vec::new(), ends: Vec::new() };
                let (broken, spin) = (OnceLock::new(), TimedSpin::new());
                (Rings { words, answers: Mutex::new(answers), broken, spin }, tasks)
            })
            .unzip();
        let ready = AtomicBool::new(false);
        (WorkerLink { id, pid, socket, pidfd, place, service, ready, capture, lines }, tasks)
    }

    /// Whether the worker has said that it can take tasks.
    pub(in crate::process) fn is_ready(&self) -> bool {
        let is_ready = self.ready.load(Relaxed) || self.place.is_ready();
        if is_ready {
            self.ready.store(true, Relaxed);
        }
        is_ready
    }

    /// Asks the worker to end one of its tasks.
    pub(in crate::process) fn end_task(&self, task: u64, cause: &Cause) {
        if matches!(cause, Cause::Cancelled { .. }) {
            self.place.cancel(task);
        } else {
            self.place.expire(task);
        }
        crash_point!("master: task on the board, worker not asked to end it");
        sigterm::ask(&self.pidfd);
    }

    /// The end of what the worker has printed since the last call, if that is captured.
    pub(in crate::process) fn printed(&self) -> Option<Printed> {
        self.capture.as_ref().map(Capture::take)
    }

    /// Under which number the service watches the socket.
    pub(in crate::process) fn token(&self) -> u64 {
        self.id * 2
    }

    /// Under which number the service watches the pidfd.
    pub(in crate::process) fn pidfd_token(&self) -> u64 {
        self.id * 2 + 1
    }

    /// Why the worker is of no use any more, if it has written nonsense into its ring.
    pub(in crate::process) fn broken(&self) -> Option<&String> {
        self.lines.as_ref()?.broken.get()
    }

    /// Takes what the worker has answered, if nobody else is at it; how many answers.
    pub(in crate::process) fn hear(&self, dispatcher: &Arc<Dispatcher>) -> usize {
        let Some(lines) = &self.lines else { return 0 };
        match lines.answers.try_lock() {
            Ok(answers) => self.take(dispatcher, lines, answers, false),
            Err(TryLockError::Poisoned(poisoned)) => {
                self.take(dispatcher, lines, poisoned.into_inner(), false)
            }
            Err(TryLockError::WouldBlock) => 0,
        }
    }

    /// Takes all that the worker has answered, also if somebody else is at it: that one may have looked
    /// before the last answer came. Whoever has just said whom the worker is to tell looks so.
    pub(in crate::process) fn hear_all(&self, dispatcher: &Arc<Dispatcher>, dead: bool) {
        let Some(lines) = &self.lines else { return };
        let lock = || lines.answers.lock().unwrap_or_else(PoisonError::into_inner);
        while self.take(dispatcher, lines, lock(), dead) > 0 {}
    }

    /// The lock is held until the answers are settled with the dispatcher: who finds it free finds a dispatcher that
    /// knows of all that was taken. A dispatcher's lock may be taken under this one, never the reverse.
    fn take(
        &self,
        dispatcher: &Arc<Dispatcher>,
        lines: &Rings,
        mut answers: MutexGuard<'_, Answers>,
        dead: bool,
    ) -> usize {
        if !answers.ring.is_ready() || lines.broken.get().is_some() {
            return 0;
        }
        let Answers { ring, bytes, ends } = &mut *answers;
        bytes.clear();
        ends.clear();
        let mut broken = None;
        while ends.len() < BATCH {
            match ring.take(bytes) {
                Ok(true) => ends.push(bytes.len()),
                Ok(false) => break,
                Err(ring::Broken) => {
                    broken = Some(NONSENSE.to_owned());
                    break;
                }
            }
        }
        if !ends.is_empty() {
            crash_point!("master: answers taken, not settled");
        }
        let (mut start, mut unread) = (0, false);
        let records = ends.iter().map_while(|end| {
            let record = &bytes[std::mem::replace(&mut start, *end)..*end];
            let read = Head::of_record(record);
            unread |= read.is_none();
            read.map(|(head, body)| Received { head, body, descriptors: Vec::new() })
        });
        let (ended, wrong) = dispatcher.answered(self, records, dead);
        if unread {
            broken = Some(NONSENSE.to_owned());
        }
        let count = ends.len();
        if let Some(reason) = broken.or(wrong) {
            lines.broken.get_or_init(|| reason);
            child::kill(&self.pidfd);
        }
        drop(answers);
        if count > 0 {
            crash_point!("master: answers settled, joiners not told");
        }
        ended.settle(dispatcher, &self.service);
        count
    }

    /// A joiner is about to wait: takes answers itself until it is `done` or that does not pay.
    pub(in crate::process) fn linger(&self, dispatcher: &Arc<Dispatcher>, done: &dyn Fn() -> bool) {
        if let Some(lines) = &self.lines {
            lines.spin.spin(park::pass, || {
                self.hear(dispatcher);
                done()
            });
        }
    }

    /// A joiner waits. A thread is woken by the worker itself, if no other thread is, and takes the answers; for
    /// the others the service does.
    pub(in crate::process) fn park(
        &self,
        dispatcher: &Arc<Dispatcher>,
        done: &dyn Fn() -> bool,
        deadline: Option<Instant>,
    ) -> Result<(), Interrupted> {
        let Some(lines) = self.lines.as_ref().filter(|_| park::is_plain_thread()) else {
            return park::wait(deadline);
        };
        if !lines.words.listen_by_thread() {
            return park::wait(deadline);
        }
        crash_point!("master: seat taken");
        self.hear_all(dispatcher, false);
        let waited = if done() {
            Ok(())
        } else {
            park::wait_word(lines.words.notify_target(), THREAD, deadline)
        };
        crash_point!("master: seat not given back");
        lines.words.listen_by_service();
        self.hear_all(dispatcher, false);
        waited
    }

    /// The service looks at the ring by itself for a while.
    pub(in crate::process) fn mute(&self) {
        if let Some(lines) = &self.lines {
            lines.words.mute();
        }
    }

    /// The service is to be told from now on.
    pub(in crate::process) fn listen(&self, dispatcher: &Arc<Dispatcher>) {
        let Some(lines) = &self.lines else { return };
        lines.words.listen();
        self.hear_all(dispatcher, false);
    }

    pub(in crate::process) fn words(&self) -> Option<&Words> {
        self.lines.as_ref().map(|lines| &lines.words)
    }
}
