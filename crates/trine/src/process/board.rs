//! The board: one word for each worker that says which task it has begun.
//!
//! When a worker dies with a task, the master has to know whether the task had begun: a task that
//! had not is given to another worker, one that had may have had effects and fails. A message
//! would wake the master for each task; a word of shared memory that it reads only after a death
//! costs the worker one store.
//!
//! ```text
//!   page 0     page 1     page 2            one memory file for each template, mapped by the
//!   ┌────────┬──────────┬──────────┬───     master, the template, and page by page its workers
//!   │ begun  │ begun    │ begun    │
//! ```
//!
//! A worker keeps its own page only, so it cannot touch the words of the others. One that scribbles
//! on its own can make the master believe that its last task had begun or not: it harms itself.
//!
//! Ordering: the worker's store before the task is released, the master's load after the death
//! acquires; the death itself stands between them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::{self, shared::Shared};

/// Most workers of one program at one time.
pub(super) const PLACES: u32 = 16_384;

fn len() -> usize {
    PLACES as usize * sys::page_size()
}

fn offset(place: u32) -> usize {
    place as usize * sys::page_size()
}

/// The master's view.
#[derive(Debug)]
pub(super) struct Board {
    memory: Shared,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    returned: Vec<u32>,
    /// From here on, places were never taken.
    fresh: u32,
}

/// One worker's place, free again when dropped: after the worker is gone.
#[derive(Debug)]
pub(super) struct Place {
    board: Arc<Board>,
    pub(super) number: u32,
}

impl Board {
    /// Makes a board, and the descriptor by which the template attaches to it.
    pub(super) fn create() -> io::Result<(Arc<Board>, OwnedFd)> {
        let (memory, descriptor) = Shared::create(len())?;
        Ok((Arc::new(Board { memory, free: Mutex::default() }), descriptor))
    }

    /// Takes a free place; `None` if all are taken.
    pub(super) fn take(self: &Arc<Board>) -> Option<Place> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match free.returned.pop() {
            Some(number) => number,
            None if free.fresh < PLACES => {
                free.fresh += 1;
                free.fresh - 1
            }
            None => return None,
        };
        drop(free);
        self.memory.word(offset(number)).store(0, Relaxed);
        Some(Place { board: Arc::clone(self), number })
    }
}

impl Place {
    /// The number of the last task that the worker has begun; 0 for none.
    pub(super) fn begun(&self) -> u64 {
        self.board.memory.word(offset(self.number)).load(Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut free = self.board.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.push(self.number);
    }
}

/// The template's view: all places, to hand one to each worker.
pub(super) fn attach(descriptor: impl AsFd) -> io::Result<Shared> {
    Shared::attach(descriptor, len())
}

/// A worker's view: its own place.
#[derive(Debug)]
pub(super) struct OwnPlace(Shared);

impl OwnPlace {
    /// Keeps one place of the template's mapping; `None` if there is no such place.
    pub(super) fn keep(all: Shared, number: u32) -> Option<OwnPlace> {
        (number < PLACES).then(|| OwnPlace(all.keep_only(offset(number))))
    }

    /// Notes that `task` begins now.
    pub(super) fn begin(&self, task: u64) {
        self.0.word(0).store(task, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_begins_is_seen_in_its_place_only() {
        let (board, descriptor) = Board::create().unwrap();
        let (first, second) = (board.take().unwrap(), board.take().unwrap());
        let own = OwnPlace::keep(attach(&descriptor).unwrap(), second.number).unwrap();
        own.begin(41);
        assert_eq!((first.begun(), second.begun()), (0, 41));
        let number = second.number;
        drop(second);
        let again = board.take().unwrap();
        assert_eq!((again.number, again.begun()), (number, 0));
        assert!(OwnPlace::keep(attach(&descriptor).unwrap(), PLACES).is_none());
    }
}
