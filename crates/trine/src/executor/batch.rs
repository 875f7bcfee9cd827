//! A part of the arguments of a map, under way.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use super::window::UnderWay;
use crate::process::Chunk;
use crate::task::{Interrupted, Task, TaskError};

/// A part of the arguments, under way.
pub(super) struct Batch<R> {
    /// The index of its first argument.
    pub(super) first: usize,
    pub(super) work: Work<R>,
}

/// One task, or many arguments that cross to a process together.
pub(super) enum Work<R> {
    One(Task<R>),
    Chunk(Task<Chunk<R>>),
}

impl<R> UnderWay for Batch<R> {
    fn wait(&mut self) -> Result<(), Interrupted> {
        match &mut self.work {
            Work::One(task) => task.wait(),
            Work::Chunk(task) => task.wait(),
        }
    }

    fn register(&mut self, waker: &Waker) -> bool {
        match &mut self.work {
            Work::One(task) => task.register(waker),
            Work::Chunk(task) => task.register(waker),
        }
    }

    fn linger(&self) {
        match &self.work {
            Work::One(task) => task.linger(),
            Work::Chunk(task) => task.linger(),
        }
    }
}

impl<R> Batch<R> {
    /// Cancels the batch with a reason.
    pub(super) fn cancel_because(&self, reason: String) {
        match &self.work {
            Work::One(task) => task.cancel_because(reason),
            Work::Chunk(task) => task.cancel_because(reason),
        }
    }

    /// Appends the results to `into`, each with the index of its argument. Returns the number of
    /// results of a chunk and the time that they took.
    pub(super) fn join(
        self,
        into: &mut VecDeque<(usize, Result<R, TaskError>)>,
    ) -> Option<(usize, Duration)> {
        let first = self.first;
        match self.work {
            Work::One(task) => {
                into.push_back((first, task.join().map_err(|error| error.with_argument(first))));
            }
            Work::Chunk(task) => match task.join() {
                Ok(chunk) => {
                    let count = chunk.results.len();
                    let results = chunk.results.into_iter().zip(first..);
                    into.extend(results.map(|(result, argument)| {
                        (argument, result.map_err(|error| error.with_argument(argument)))
                    }));
                    return chunk.took.map(|took| (count, took));
                }
                Err(error) => into.push_back((first, Err(error))),
            },
        }
        None
    }
}
