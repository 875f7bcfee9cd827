//! Driving a map: starting its tasks on the executor, and waiting for them.

use std::iter::FusedIterator;

use super::Executor;
use super::batch::{Batch, Work};
use super::feed::Feed;
use super::map::{Engine, Indexed, Map, Unordered};
use super::window::Window;
use crate::process::Portable;
use crate::task::TaskError;

/// Starts the next batch, if there are more arguments.
#[expect(clippy::type_complexity, reason = "the type of the function is one of its parts")]
fn spawn_next<E, I, R>(feed: &mut Feed<'_, E, I, fn(I::Item) -> R>) -> Option<Batch<R>>
where
    E: Executor,
    I: Iterator,
    I::Item: Portable,
    R: Portable,
{
    let (first, arg) = feed.next_arg()?;
    let Some(pool) = feed.executor.processes().filter(|_| feed.makes_chunks()) else {
        let task = feed.executor.spawn_at(feed.location, arg, feed.function);
        return Some(Batch { first, work: Work::One(task) });
    };
    let args = feed.fill_chunk(arg);
    let task = pool.spawn_chunk_at(feed.location, args, feed.function);
    Some(Batch { first, work: Work::Chunk(task) })
}

impl<E, I, R, W> Engine<'_, E, I, fn(I::Item) -> R, R, W>
where
    E: Executor,
    I: Iterator,
    I::Item: Portable,
    R: Portable,
    W: Window<Batch<R>>,
{
    /// Fills the window and waits for the next result, which comes with the index of its argument.
    fn next(&mut self) -> Option<(usize, Result<R, TaskError>)> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        while self.under_way.len() < self.width {
            let Some(batch) = spawn_next(&mut self.feed) else { break };
            self.under_way.push(batch);
        }
        if self.under_way.len() == 0 {
            return None;
        }
        let batch = match self.under_way.next() {
            Ok(batch) => batch,
            Err(why) => {
                let (first, error) = self.feed.end(why, self.under_way.drain());
                return Some((first, Err(error)));
            }
        };
        if let Some(took) = batch.join(&mut self.ready) {
            self.feed.learn(took);
        }
        self.ready.pop_front()
    }
}

impl<E, I, A, R> Iterator for Map<'_, E, I, fn(A) -> R, R>
where
    E: Executor,
    I: Iterator<Item = A>,
    A: Portable,
    R: Portable,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.engine.next().map(|(_, result)| result)
    }
}

impl<E, I, A, R> Iterator for Unordered<'_, E, I, fn(A) -> R, R>
where
    E: Executor,
    I: Iterator<Item = A>,
    A: Portable,
    R: Portable,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.engine.next().map(|(_, result)| result)
    }
}

impl<E, I, A, R> Iterator for Indexed<'_, E, I, fn(A) -> R, R>
where
    E: Executor,
    I: Iterator<Item = A>,
    A: Portable,
    R: Portable,
{
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.engine.next()
    }
}

impl<E, I, F, R> FusedIterator for Map<'_, E, I, F, R> where Self: Iterator {}

impl<E, I, F, R> FusedIterator for Unordered<'_, E, I, F, R> where Self: Iterator {}

impl<E, I, F, R> FusedIterator for Indexed<'_, E, I, F, R> where Self: Iterator {}
