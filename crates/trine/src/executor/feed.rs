//! The source of a map's tasks: it takes arguments, one by one or in chunks.

use std::iter::Fuse;
use std::panic::Location;
use std::time::Duration;

use super::batch::Batch;
use crate::task::{Interrupted, TaskError};

/// The most arguments that cross at once by themselves.
const MOST: usize = 512;
/// The time that a chunk should take. It is so long that sending the chunk costs nothing in
/// comparison, and so short that the workers end at about the same time.
const ENOUGH: Duration = Duration::from_micros(200);

/// The source of a map's tasks.
pub(super) struct Feed<'e, E, I, F> {
    pub(super) executor: &'e E,
    args: Fuse<I>,
    pub(super) function: F,
    pub(super) location: &'static Location<'static>,
    /// True once the caller was interrupted: no more tasks are started.
    ended: bool,
    /// The number of arguments taken so far.
    taken: usize,
    /// The number of arguments that cross at once.
    chunk: usize,
    /// True if `chunk` follows from the time that the tasks take.
    adapts: bool,
}

impl<'e, E, I, F> Feed<'e, E, I, F>
where
    I: Iterator,
{
    /// Makes a feed of one argument a task. If `adapts`, the number of arguments that cross at once
    /// follows from the time that the tasks take.
    pub(super) fn new(
        executor: &'e E,
        args: I,
        function: F,
        location: &'static Location<'static>,
        adapts: bool,
    ) -> Self {
        let args = args.fuse();
        Feed { executor, args, function, location, ended: false, taken: 0, chunk: 1, adapts }
    }

    /// Takes the next argument and its index, unless the feed has ended.
    pub(super) fn next_arg(&mut self) -> Option<(usize, I::Item)> {
        if self.ended {
            return None;
        }
        let arg = self.args.next()?;
        self.taken += 1;
        Some((self.taken - 1, arg))
    }

    /// Takes the arguments that cross together with `arg`.
    pub(super) fn fill_chunk(&mut self, arg: I::Item) -> Vec<I::Item> {
        // The program may have set the chunk to `usize::MAX`, for all arguments.
        let mut args = Vec::with_capacity(self.chunk.min(MOST));
        args.push(arg);
        args.extend(self.args.by_ref().take(self.chunk - 1));
        self.taken += args.len() - 1;
        args
    }
}

impl<E, I, F> Feed<'_, E, I, F> {
    /// Returns true if the arguments may cross many at once.
    pub(super) fn makes_chunks(&self) -> bool {
        self.adapts || self.chunk > 1
    }

    /// Sets the number of arguments that cross at once.
    pub(super) fn set_chunk(&mut self, arguments: usize) {
        self.chunk = arguments;
        self.adapts = false;
    }

    /// Stops adapting the number of arguments that cross at once.
    pub(super) fn keep_chunk(&mut self) {
        self.adapts = false;
    }

    /// Adapts the chunk to the time that a chunk of this many arguments has taken.
    pub(super) fn learn(&mut self, (count, took): (usize, Duration)) {
        if !self.adapts || count < self.chunk {
            return;
        }
        if took < ENOUGH / 2 {
            self.chunk = (2 * self.chunk).min(MOST);
        } else if took > 2 * ENOUGH {
            self.chunk = (self.chunk / 2).max(1);
        }
    }

    /// Takes no more arguments, cancels the batches under way, and returns the caller's error with
    /// the index of the first argument that has no result because of it.
    pub(super) fn end<R>(
        &mut self,
        why: Interrupted,
        under_way: impl Iterator<Item = Batch<R>>,
    ) -> (usize, TaskError) {
        self.ended = true;
        let mut first = self.taken;
        for batch in under_way {
            batch.cancel_because(why.to_string());
            first = first.min(batch.first);
        }
        (first, TaskError::from(why))
    }
}
