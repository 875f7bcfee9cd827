//! The board: words that a master shares with one worker. They say which task the worker has begun,
//! and which task it must end.
//!
//! When a worker dies with a task, the master has to know whether the task had begun. A task that
//! had not is handed to another worker; one that had may have had effects, so it fails. A message
//! would wake the master for each task. A word of shared memory, which the master reads only after
//! a death, costs the worker one store.
//!
//! | word | written by | meaning |
//! |---|---|---|
//! | `begun`, `item` | worker | the task that it has begun last, and the item of it |
//! | `check` | worker | the number of the begun task with all bits inverted |
//! | `cancel`, `expire` | master | the task that is cancelled, or whose time is up |
//! | `ready` | worker | it can take its first task; a message would wake the master |
//! | `begun at` | worker | when a task with a limit has begun |
//! | `progress`, `of` | worker | the progress that a task has published, and the task's number |
//! | `memory`, `cpu end`, `cpu most` | worker | limits it met ([`limits`]) |
//!
//! [`limits`]: crate::process::worker::limits
//!
//! The master has to notify a worker that its task is cancelled, or that the task's time is up,
//! while the worker runs that task and reads no messages. The master writes the task's number here,
//! then sends a signal. The worker compares the number with that of the task it runs. Numbers are
//! never reused, so a late word matches no task.
//!
//! The words lie in the memory that this worker shares with its master (`rings.rs`), which no other
//! worker has. A board in a file for all workers would not do: a worker that maps one page of a
//! file can extend the mapping over the rest of it (`mremap`), whatever it may open.
//!
//! `check` detects a worker that has overwritten its own board. The task that such a worker was to
//! begin first then counts as begun. It is not handed to another worker, whose board it might
//! overwrite, too.
//!
//! Ordering: the worker's store before the task releases, the master's load after the death
//! acquires, and the death itself lies between them. The master's store of a cancellation releases,
//! and the kernel's delivery of the signal lies between it and the worker's load.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use crate::sys::clock;
use crate::sys::memory::shared::SharedMemory;

/// Offsets of the words in the memory, in bytes: behind those of `rings.rs`, in the first page.
const BEGUN: usize = 256;
const CANCEL: usize = 264;
const EXPIRE: usize = 272;
const ITEM: usize = 280;
const MEMORY: usize = 288;
const CPU_END: usize = 296;
const CPU_MOST: usize = 304;
const CHECK: usize = 312;
const BEGUN_AT: usize = 320;
const PROGRESS_OF: usize = 328;
const PROGRESS: usize = 336;
const READY: usize = 344;

/// The task and item that a worker has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Begun {
    /// The task's number; 0 for none.
    pub(in crate::process) task: u64,
    /// Index of the item among the task's arguments.
    pub(in crate::process) item: u32,
}

/// The master's view of the board of one worker.
#[derive(Debug)]
pub(in crate::process) struct WorkerSlot(Arc<SharedMemory>);

impl WorkerSlot {
    /// Uses the new memory of a worker, which is all zeroes here.
    pub(in crate::process) fn new(memory: Arc<SharedMemory>) -> WorkerSlot {
        memory.word(CHECK).store(!0, Relaxed);
        WorkerSlot(memory)
    }

    /// Returns true if the worker can take tasks, or had one: a task may overwrite the word.
    pub(in crate::process) fn is_ready(&self) -> bool {
        let ready = self.0.word(READY).load(Acquire);
        ready != 0 || self.begun().is_none_or(|begun| begun.task != 0)
    }

    /// Returns the task that the worker has begun last; `None` if the board is corrupted.
    pub(in crate::process) fn begun(&self) -> Option<Begun> {
        let word = |word| self.0.word(word);
        let task = word(BEGUN).load(Acquire);
        let begun = Begun { task, item: word(ITEM).load(Acquire) as u32 };
        (word(CHECK).load(Acquire) == !task).then_some(begun)
    }

    /// Returns the time at which the worker has begun its last task with a limit. The time is the
    /// worker's claim, hence untrusted.
    pub(in crate::process) fn begun_at(&self, now: Instant) -> Instant {
        let at = self.0.word(BEGUN_AT).load(Acquire);
        let since = clock::monotonic().saturating_sub(Duration::from_nanos(at));
        now.checked_sub(since).unwrap_or(now)
    }

    /// Returns the progress of `task`, if `task` is the last one that has published any.
    pub(in crate::process) fn progress(&self, task: u64) -> Option<f64> {
        let word = |word| self.0.word(word);
        if word(PROGRESS_OF).load(Acquire) != task {
            return None;
        }
        let bits = word(PROGRESS).load(Acquire);
        (word(PROGRESS_OF).load(Relaxed) == task).then(|| f64::from_bits(bits))
    }

    /// Notes that `task` is cancelled and the worker must end it; a signal has to follow.
    pub(in crate::process) fn cancel(&self, task: u64) {
        self.0.word(CANCEL).store(task, Release);
    }

    /// Notes that the time of `task` is up and the worker must end it; a signal has to follow.
    pub(in crate::process) fn expire(&self, task: u64) {
        self.0.word(EXPIRE).store(task, Release);
    }

    /// Returns the worker's note of [`OwnSlot::note_out_of_memory`]; 0 for none.
    pub(in crate::process) fn memory(&self) -> u64 {
        self.0.word(MEMORY).load(Acquire)
    }

    /// Returns the worker's note of [`OwnSlot::note_cpu_limit`], end and limit; zeroes for none.
    pub(in crate::process) fn cpu(&self) -> (u64, u64) {
        let end = self.0.word(CPU_END).load(Acquire);
        (end, self.0.word(CPU_MOST).load(Relaxed))
    }
}

/// The worker's view of its own board.
#[derive(Debug)]
pub(in crate::process) struct OwnSlot(Arc<SharedMemory>);

impl OwnSlot {
    /// Uses the memory that the worker shares with its master.
    pub(in crate::process) fn new(memory: Arc<SharedMemory>) -> OwnSlot {
        OwnSlot(memory)
    }

    /// Notes that the worker can take tasks.
    pub(in crate::process) fn set_ready(&self) {
        self.0.word(READY).store(1, Release);
    }

    /// Notes that `task` begins now, at this item.
    pub(in crate::process) fn begin(&self, task: u64, item: u32) {
        self.begin_item(item);
        self.0.word(BEGUN).store(task, Release);
        self.0.word(CHECK).store(!task, Release);
    }

    /// Notes the time at which a task with a limit begins; called just before
    /// [`begin`](Self::begin).
    pub(in crate::process) fn begin_clock(&self) {
        let nanos = u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX);
        self.0.word(BEGUN_AT).store(nanos, Release);
    }

    /// Notes the progress of `task`, if `task` is the one that was begun.
    pub(in crate::process) fn progress(&self, task: u64, progress: f64) {
        if self.0.word(BEGUN).load(Relaxed) != task {
            return;
        }
        let of = self.0.word(PROGRESS_OF);
        if of.load(Relaxed) != task {
            // The master must not read the new progress as that of the old task.
            of.store(0, Relaxed);
        }
        self.0.word(PROGRESS).store(progress.to_bits(), Release);
        of.store(task, Release);
    }

    /// Notes that the task begins its next item.
    pub(in crate::process) fn begin_item(&self, item: u32) {
        self.0.word(ITEM).store(item.into(), Release);
    }

    /// Notes that memory has run out, which ends the worker. Also called in a signal handler.
    pub(in crate::process) fn note_out_of_memory(&self, note: u64) {
        self.0.word(MEMORY).store(note, Release);
    }

    /// Notes when the processor time of the task that begins now is used up, by the worker's own
    /// clock, and the limit itself. Zeroes clear the note after the task's end.
    pub(in crate::process) fn note_cpu_limit(&self, end: u64, most: u64) {
        self.0.word(CPU_MOST).store(most, Relaxed);
        self.0.word(CPU_END).store(end, Release);
    }

    /// Returns true if the master has cancelled `task`, which is not 0.
    pub(in crate::process) fn is_cancelled(&self, task: u64) -> bool {
        self.0.word(CANCEL).load(Acquire) == task
    }

    /// Returns the last tasks that the master has cancelled, and whose time it has noted to be up.
    pub(in crate::process) fn requests(&self) -> [u64; 2] {
        [CANCEL, EXPIRE].map(|word| self.0.word(word).load(Acquire))
    }

    /// Returns true if the master has noted that the time of `task` is up.
    pub(in crate::process) fn is_expired(&self, task: u64) -> bool {
        self.0.word(EXPIRE).load(Acquire) == task
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::wire::rings;

    #[test]
    fn the_words_of_a_worker_are_seen_by_its_master_and_on_no_other_board() {
        let [(first, _), (second, own)] = [(); 2].map(|()| {
            let (master, descriptor) = rings::create().unwrap();
            let worker = rings::attach(descriptor).unwrap();
            let own = OwnSlot::new(Arc::clone(worker.words.memory()));
            (WorkerSlot::new(Arc::clone(master.words.memory())), own)
        });
        assert_eq!(second.begun(), Some(Begun { task: 0, item: 0 }));
        assert!(!second.is_ready());
        own.set_ready();
        assert!(second.is_ready() && !first.is_ready());
        own.begin(41, 7);
        assert_eq!(first.begun(), Some(Begun { task: 0, item: 0 }));
        assert_eq!(second.begun(), Some(Begun { task: 41, item: 7 }));
        first.cancel(41);
        first.expire(41);
        assert!(!own.is_cancelled(41) && !own.is_expired(41));
        second.cancel(41);
        second.expire(42);
        assert!(own.is_cancelled(41) && own.is_expired(42));
        own.note_out_of_memory(7);
        own.note_cpu_limit(8, 9);
        assert_eq!((first.memory(), first.cpu()), (0, (0, 0)));
        assert_eq!((second.memory(), second.cpu()), (7, (8, 9)));
        own.0.word(BEGUN).store(40, Relaxed);
        own.0.word(READY).store(0, Relaxed);
        assert_eq!(second.begun(), None, "the board is corrupted");
        assert!(second.is_ready(), "it had a task");
    }
}
