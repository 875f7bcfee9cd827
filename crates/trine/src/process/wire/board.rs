//! The board: a page of shared words for each worker. It says which task the worker has begun, and
//! which task it must end.
//!
//! When a worker dies with a task, the master has to know whether the task had begun. A task that
//! had not is handed to another worker; one that had may have had effects, so it fails. A message
//! would wake the master for each task. A word of shared memory, which the master reads only after
//! a death, costs the worker one store.
//!
//! ```text
//!   page 0     page 1     page 2            one memory file for each template, mapped by the
//!   ┌────────┬──────────┬──────────┬───     master, and page by page by the workers
//!   │ begun  │ begun    │ begun    │
//!   │ item   │ item     │ item     │
//!   │ cancel │ cancel   │ cancel   │
//!   │ expire │ expire   │ expire   │
//!   │ check  │ check    │ check    │
//! ```
//!
//! `cancel` and `expire` go the other way. The master has to notify a worker that its task is
//! cancelled, or that the task's time is up, while the worker runs that task and reads no messages.
//! The master writes the task's number here, then sends a signal. The worker compares the number
//! with that of the task it runs. Numbers are never reused, so a late word matches no task.
//!
//! Further words of a page:
//!
//! | word | written by the worker |
//! |---|---|
//! | `ready` | it can take its first task; a message would wake the master |
//! | `begun at` | when a task with a limit has begun |
//! | `progress`, `of` | the progress that a task has published, and the task's number |
//! | `memory`, `cpu end`, `cpu most` | evidence of limits it met ([`limits`](crate::process::worker::limits)) |
//!
//! A worker maps its own page only, so it cannot touch the words of others. `check` is the number
//! of the begun task with all bits inverted: it detects a worker that has overwritten its own page.
//! The task that such a worker was to begin first then counts as begun. It is not handed to another
//! worker, whose page it might overwrite, too.
//!
//! Ordering: the worker's store before the task releases, the master's load after the death
//! acquires, and the death itself lies between them. The master's store of a cancellation releases,
//! and the kernel's delivery of the signal lies between it and the worker's load.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::memory::shared::{Pages, SharedMemory};
use crate::sys::{self, clock};

/// Offsets of the words in a page, in bytes.
const BEGUN: usize = 0;
const CANCEL: usize = 8;
const EXPIRE: usize = 16;
const ITEM: usize = 24;
const MEMORY: usize = 32;
const CPU_END: usize = 40;
const CPU_MOST: usize = 48;
const BEGUN_AT: usize = 64;
const PROGRESS_OF: usize = 72;
const PROGRESS: usize = 80;
const READY: usize = 88;
const CHECK: usize = 56;

/// Most workers of one program at one time.
pub(in crate::process) const SLOTS: u32 = 16_384;

fn len() -> usize {
    SLOTS as usize * sys::page_size()
}

fn offset(slot: u32) -> usize {
    slot as usize * sys::page_size()
}

/// The master's view.
#[derive(Debug)]
pub(in crate::process) struct Board {
    memory: SharedMemory,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    returned: Vec<u32>,
    /// The first slot that was never taken.
    fresh: u32,
}

/// The task and item that a worker has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Begun {
    /// The task's number; 0 for none.
    pub(in crate::process) task: u64,
    /// Index of the item among the task's arguments.
    pub(in crate::process) item: u32,
}

/// The slot of one worker. It is free again when dropped, so drop it after the worker has exited.
#[derive(Debug)]
pub(in crate::process) struct WorkerSlot {
    board: Arc<Board>,
    pub(in crate::process) number: u32,
}

impl Board {
    /// Makes a board, and the descriptor by which the template attaches to it.
    pub(in crate::process) fn create() -> io::Result<(Arc<Board>, OwnedFd)> {
        let (memory, descriptor) = SharedMemory::create(c"trine", len())?;
        Ok((Arc::new(Board { memory, free: Mutex::default() }), descriptor))
    }

    /// Takes a free slot; `None` if all are taken.
    pub(in crate::process) fn take(self: &Arc<Board>) -> Option<WorkerSlot> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match free.returned.pop() {
            Some(number) => number,
            None if free.fresh < SLOTS => {
                free.fresh += 1;
                free.fresh - 1
            }
            None => return None,
        };
        drop(free);
        let words = [BEGUN, CANCEL, EXPIRE, ITEM, MEMORY, CPU_END, CPU_MOST];
        for word in words.into_iter().chain([BEGUN_AT, PROGRESS_OF, PROGRESS, READY]) {
            self.memory.word(offset(number) + word).store(0, Relaxed);
        }
        self.memory.word(offset(number) + CHECK).store(!0, Relaxed);
        Some(WorkerSlot { board: Arc::clone(self), number })
    }
}

impl WorkerSlot {
    /// Returns true if the worker can take tasks, or had one: a task may overwrite the word.
    pub(in crate::process) fn is_ready(&self) -> bool {
        let ready = self.board.memory.word(offset(self.number) + READY).load(Acquire);
        ready != 0 || self.begun().is_none_or(|begun| begun.task != 0)
    }

    /// Returns the task that the worker has begun last; `None` if the page is corrupted.
    pub(in crate::process) fn begun(&self) -> Option<Begun> {
        let word = |word| self.board.memory.word(offset(self.number) + word);
        let task = word(BEGUN).load(Acquire);
        let begun = Begun { task, item: word(ITEM).load(Acquire) as u32 };
        (word(CHECK).load(Acquire) == !task).then_some(begun)
    }

    /// Returns the time at which the worker has begun its last task with a limit. The time is the
    /// worker's claim, hence untrusted.
    pub(in crate::process) fn begun_at(&self, now: Instant) -> Instant {
        let at = self.board.memory.word(offset(self.number) + BEGUN_AT).load(Acquire);
        let since = clock::monotonic().saturating_sub(Duration::from_nanos(at));
        now.checked_sub(since).unwrap_or(now)
    }

    /// Returns the progress of `task`, if `task` is the last one that has published any.
    pub(in crate::process) fn progress(&self, task: u64) -> Option<f64> {
        let word = |word| self.board.memory.word(offset(self.number) + word);
        if word(PROGRESS_OF).load(Acquire) != task {
            return None;
        }
        let bits = word(PROGRESS).load(Acquire);
        (word(PROGRESS_OF).load(Relaxed) == task).then(|| f64::from_bits(bits))
    }

    /// Notes that `task` is cancelled and the worker must end it; a signal has to follow.
    pub(in crate::process) fn cancel(&self, task: u64) {
        self.board.memory.word(offset(self.number) + CANCEL).store(task, Release);
    }

    /// Notes that the time of `task` is up and the worker must end it; a signal has to follow.
    pub(in crate::process) fn expire(&self, task: u64) {
        self.board.memory.word(offset(self.number) + EXPIRE).store(task, Release);
    }

    /// Returns the worker's note of [`OwnSlot::note_out_of_memory`]; 0 for none.
    pub(in crate::process) fn memory(&self) -> u64 {
        self.board.memory.word(offset(self.number) + MEMORY).load(Acquire)
    }

    /// Returns the worker's note of [`OwnSlot::note_cpu_limit`], end and limit; zeroes for none.
    pub(in crate::process) fn cpu(&self) -> (u64, u64) {
        let at = offset(self.number);
        let end = self.board.memory.word(at + CPU_END).load(Acquire);
        (end, self.board.memory.word(at + CPU_MOST).load(Relaxed))
    }
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        let mut free = self.board.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.push(self.number);
    }
}

/// The template's view: all slots, of which each worker maps one.
#[derive(Debug)]
pub(in crate::process) struct Slots(Pages);

impl Slots {
    /// Attaches to the board behind a descriptor of [`Board::create`].
    pub(in crate::process) fn attach(descriptor: OwnedFd) -> io::Result<Slots> {
        Ok(Slots(Pages::new(descriptor, len())?))
    }
}

impl AsRawFd for Slots {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A worker's view: its own slot.
#[derive(Debug)]
pub(in crate::process) struct OwnSlot(SharedMemory);

impl OwnSlot {
    /// Maps one slot.
    ///
    /// # Errors
    ///
    /// There is no such slot, or no memory to map it.
    pub(in crate::process) fn map(all: &Slots, number: u32) -> io::Result<OwnSlot> {
        if number >= SLOTS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(OwnSlot(all.0.map(offset(number))?))
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

    #[test]
    fn the_words_of_a_worker_are_seen_in_its_slot_only() {
        let (board, descriptor) = Board::create().unwrap();
        let (first, second) = (board.take().unwrap(), board.take().unwrap());
        let slots = Slots::attach(descriptor).unwrap();
        let own = OwnSlot::map(&slots, second.number).unwrap();
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
        assert_eq!(second.begun(), None, "the page is corrupted");
        assert!(second.is_ready(), "it had a task");
        let number = second.number;
        drop(second);
        let again = board.take().unwrap();
        assert_eq!((again.number, again.begun()), (number, Some(Begun { task: 0, item: 0 })));
        assert!(!again.is_ready());
        assert_eq!((again.memory(), again.cpu()), (0, (0, 0)));
        assert!(!own.is_cancelled(41) && !own.is_expired(42));
        OwnSlot::map(&slots, SLOTS).unwrap_err();
    }
}
