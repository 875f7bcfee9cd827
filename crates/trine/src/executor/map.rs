//! [`Map`]: many tasks of one function, a bounded number at once.
//!
//! ```text
//!   arguments ──► Feed ──► Batch, Batch, … in a Window ──► ready ──► results
//! ```
//!
//! A [`Batch`] is one task or, if the executor is a pool of processes and the
//! tasks are tiny, many arguments that cross together. Only the window differs between [`Map`] and
//! [`Unordered`].

use std::collections::VecDeque;
use std::fmt;

use super::batch::Batch;
use super::feed::Feed;
use super::window::{AsFinished, InOrder, Window};
use crate::task::TaskError;

/// The results of [`Executor::map`](crate::Executor::map), in the order of the arguments.
///
/// Each step of the iterator first fills the window of tasks under way, then waits for the oldest.
/// Tiny process tasks cross many at a time: see [`chunk`](Map::chunk).
///
/// A task that fails is one `Err` among the results. Dropping the iterator detaches the tasks under
/// way. If the caller is cancelled or its time is up, the iterator cancels the tasks under way,
/// yields the error that names the caller, and ends.
///
/// ```
/// use trine::{Executor, Kind};
///
/// let results: Vec<_> = Kind::Thread.map(["3", "x"].map(String::from), |text: String| {
///     text.parse::<u32>().unwrap()
/// }).collect();
/// assert_eq!(*results[0].as_ref().unwrap(), 3);
/// assert!(results[1].as_ref().unwrap_err().is_panic());
/// ```
#[must_use = "a map runs nothing until it is iterated"]
pub struct Map<'e, E, I, F, R> {
    pub(super) engine: Engine<'e, E, I, F, R, InOrder<Batch<R>>>,
}

/// The results of [`Map::unordered`], each as soon as its task has ended.
///
/// ```
/// use trine::{Executor, Kind};
///
/// let squares = Kind::Coroutine.map(1..=4_u32, |n| n * n).unordered();
/// assert_eq!(squares.map(Result::unwrap).sum::<u32>(), 30);
/// ```
#[must_use = "a map runs nothing until it is iterated"]
pub struct Unordered<'e, E, I, F, R> {
    pub(super) engine: Engine<'e, E, I, F, R, AsFinished<Batch<R>>>,
}

/// The results of [`Unordered::indexed`]: each as soon as its task has ended, with the index of its
/// argument.
///
/// ```
/// use trine::{Executor, Kind};
///
/// let words = ["one", "task", "three"].map(String::from);
/// let lengths = Kind::Thread.map(words.clone(), |word: String| word.len());
/// for (index, length) in lengths.unordered().indexed() {
///     assert_eq!(length?, words[index].len());
/// }
/// # Ok::<(), trine::TaskError>(())
/// ```
#[must_use = "a map runs nothing until it is iterated"]
pub struct Indexed<'e, E, I, F, R> {
    pub(super) engine: Engine<'e, E, I, F, R, AsFinished<Batch<R>>>,
}

/// The part that [`Map`], [`Unordered`] and [`Indexed`] have in common.
pub(super) struct Engine<'e, E, I, F, R, W> {
    pub(super) feed: Feed<'e, E, I, F>,
    /// The most batches under way at once.
    pub(super) width: usize,
    pub(super) under_way: W,
    /// Results of a chunk that are still to be yielded, with the indices of their arguments.
    pub(super) ready: VecDeque<(usize, Result<R, TaskError>)>,
}

impl<'e, E, I, F, R> Map<'e, E, I, F, R>
where
    I: Iterator,
{
    /// Makes a map that keeps `width` batches of `feed` under way.
    pub(super) fn new(feed: Feed<'e, E, I, F>, width: usize) -> Self {
        let (under_way, ready) = (InOrder::new(), VecDeque::new());
        Map { engine: Engine { feed, width: width.max(1), under_way, ready } }
    }

    /// Sets the number of arguments that cross to a process at once; 1 lets each cross alone.
    ///
    /// By default the number follows from the time that the tasks take: 1 at first and for tasks
    /// that take longer than about 0.1 ms, up to 512 for tiny ones. That many arguments are taken
    /// from the iterator before there is a result.
    ///
    /// A process that dies costs the one argument that it was working on, however many have crossed
    /// with it. The errors of one chunk name the same task, each with
    /// [its argument](TaskError::argument).
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// let rests = Kind::Process.map(0..10_000, |n: u64| n % 7).chunk(1_000);
    /// let sum: u64 = rests.map(Result::unwrap).sum();
    /// assert_eq!(sum, (0..10_000).map(|n| n % 7).sum());
    /// ```
    ///
    /// # Panics
    ///
    /// If `arguments` is 0.
    pub fn chunk(mut self, arguments: usize) -> Self {
        assert!(arguments > 0, "a chunk without arguments would never end");
        self.engine.feed.set_chunk(arguments);
        self
    }

    /// Keeps at most `tasks` under way at once, instead of the executor's
    /// [`width`](crate::Executor::width).
    ///
    /// Arguments then cross one at a time, unless [`chunk`](Map::chunk) sets another number; a
    /// chunk counts as one task.
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// let squares = Kind::Thread.map(1..=3_u32, |n| n * n).window(1); // one after the other
    /// assert_eq!(squares.map(Result::unwrap).collect::<Vec<_>>(), [1, 4, 9]);
    /// ```
    ///
    /// # Panics
    ///
    /// If `tasks` is 0.
    pub fn window(mut self, tasks: usize) -> Self {
        assert!(tasks > 0, "a map with no task under way would never end");
        self.engine.width = tasks;
        self.engine.feed.keep_chunk();
        self
    }

    /// Yields each result as soon as its task has ended, in any order. An error names the
    /// [index of its argument](TaskError::argument); with [`indexed`](Unordered::indexed), a value
    /// comes with it too.
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// let mut lengths: Vec<usize> = Kind::Thread
    ///     .map(["a", "bbb", "cc"].map(String::from), |text: String| text.len())
    ///     .unordered()
    ///     .collect::<Result<_, _>>()?;
    /// lengths.sort();
    /// assert_eq!(lengths, [1, 2, 3]);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn unordered(self) -> Unordered<'e, E, I, F, R> {
        let Engine { feed, width, mut under_way, ready } = self.engine;
        let mut unordered = AsFinished::new();
        under_way.drain().for_each(|batch| unordered.push(batch));
        Unordered { engine: Engine { feed, width, under_way: unordered, ready } }
    }
}

impl<'e, E, I, F, R> Unordered<'e, E, I, F, R> {
    /// Yields each result with the index of its argument, from 0.
    ///
    /// [`Iterator::enumerate`] would count the results as they come.
    ///
    /// If the caller is interrupted, the last item is the error that names the caller. Its index is
    /// that of the first argument that has no result.
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// for (n, square) in Kind::Coroutine.map(0..4_usize, |n| n * n).unordered().indexed() {
    ///     assert_eq!(square?, n * n);
    /// }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn indexed(self) -> Indexed<'e, E, I, F, R> {
        Indexed { engine: self.engine }
    }
}

impl<E, I, F, R> fmt::Debug for Map<'_, E, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.engine.under_way.len();
        f.debug_struct("Map").field("under_way", &under_way).finish_non_exhaustive()
    }
}

impl<E, I, F, R> fmt::Debug for Unordered<'_, E, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.engine.under_way.len();
        f.debug_struct("Unordered").field("under_way", &under_way).finish_non_exhaustive()
    }
}

impl<E, I, F, R> fmt::Debug for Indexed<'_, E, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.engine.under_way.len();
        f.debug_struct("Indexed").field("under_way", &under_way).finish_non_exhaustive()
    }
}
