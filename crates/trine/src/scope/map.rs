//! [`Scope::map`]: many tasks of one closure, which may borrow, a bounded number at once.
//!
//! ```text
//!   items ──► an Item each, in a Window ──► results
//! ```
//!
//! The windows are those of [`Executor::map`](crate::Executor::map). An item is a task of the
//! scope: what the closure borrows outlives it, and its failure is one of the scope's.

use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use super::scoped_task::ScopedTask;
use super::spawn::{Function, Scope, Starter};
use crate::executor::{AsFinished, InOrder, UnderWay, Window};
use crate::task::{Interrupted, Task, TaskError};
use crate::{coroutine, thread};

impl<'scope> Scope<'scope, '_> {
    /// Runs `f` over `items`, each in a coroutine of its own, at most `at_once` of them at a time.
    /// Returns an iterator over the results, in the order of the items.
    ///
    /// `f` may capture and borrow. The iterator is lazy: it takes an item only when there is room
    /// for another task, so an endless `items` is fine, and it runs nothing until it is iterated.
    /// `items` runs in the caller.
    ///
    /// An item whose task fails is a failure of the scope like that of any task, and its error has
    /// the [index of the item](TaskError::argument). Under [`scope`](crate::scope()) the first one
    /// cancels the other tasks and is the error of the scope. Under
    /// [`supervise`](crate::supervise) it is one `Err` among the results, and the other items go
    /// on. Dropping the iterator cancels the tasks under way.
    ///
    /// ```
    /// use std::sync::Mutex;
    ///
    /// let seen = Mutex::new(Vec::new());
    /// let words = ["one", "task", "three", "ways"];
    /// let lengths = trine::scope(|s| {
    ///     let lengths = s.map(&words, 2, |word| {
    ///         seen.lock().unwrap().push(*word);
    ///         word.len()
    ///     });
    ///     lengths.collect::<Result<Vec<_>, _>>()
    /// })??;
    /// assert_eq!(lengths, [3, 4, 5, 4]);
    /// assert_eq!(seen.into_inner().unwrap().len(), 4);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `at_once` is 0.
    #[track_caller]
    pub fn map<I, F, R>(
        &'scope self,
        items: I,
        at_once: usize,
        f: F,
    ) -> ScopedMap<'scope, I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: Send + 'scope,
        F: Fn(I::Item) -> R + Send + Sync + 'scope,
        R: Send + 'scope,
    {
        self.map_by(Runner::Coroutine, items.into_iter(), at_once, f)
    }

    /// Runs `f` over `items` as [`map`](Scope::map) does, each on a thread of its own: for work
    /// that computes.
    ///
    /// A thread costs microseconds. Give tiny items to it many at a time, or to a
    /// [`thread::Pool`], which keeps its threads.
    ///
    /// ```
    /// let numbers: Vec<u64> = (1..=1000).collect();
    /// let sum: u64 = trine::scope(|s| {
    ///     let parts = s.map_on_threads(numbers.chunks(250), 4, |part| part.iter().sum::<u64>());
    ///     parts.sum::<Result<u64, _>>()
    /// })??;
    /// assert_eq!(sum, 500_500);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `at_once` is 0.
    #[track_caller]
    pub fn map_on_threads<I, F, R>(
        &'scope self,
        items: I,
        at_once: usize,
        f: F,
    ) -> ScopedMap<'scope, I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: Send + 'scope,
        F: Fn(I::Item) -> R + Send + Sync + 'scope,
        R: Send + 'scope,
    {
        self.map_by(Runner::Thread, items.into_iter(), at_once, f)
    }

    #[track_caller]
    fn map_by<I, F, R>(
        &'scope self,
        runner: Runner,
        items: I,
        at_once: usize,
        f: F,
    ) -> ScopedMap<'scope, I, F, R>
    where
        I: Iterator,
    {
        assert!(at_once > 0, "a map with no task under way would never end");
        let (starter, location) = (self.starter(), Location::caller());
        let feed = Feed {
            starter,
            runner,
            location,
            f: Arc::new(f),
            items: items.fuse(),
            taken: 0,
            ended: false,
        };
        ScopedMap { engine: Engine { feed, at_once, under_way: InOrder::new() } }
    }
}

/// The results of [`Scope::map`] and [`Scope::map_on_threads`], in the order of the items.
///
/// Each step of the iterator first starts tasks until `at_once` are under way, then waits for the
/// oldest. A task is under way until its result has been yielded.
///
/// Dropping the iterator cancels the tasks under way. The scope waits for them and drops their
/// values. If the caller is cancelled, its time is up or its scope has failed, the
/// iterator cancels them too, yields the error that names the caller, and ends. Once
/// [`Scope::cancel`] was called, the iterator takes one more item at most, whose result is the
/// cancellation.
///
/// ```
/// let texts = ["3", "x", "5"];
/// let parse = |text: &str| text.parse::<u32>().unwrap();
/// let ended = trine::supervise(|s| s.map(texts, 8, parse).collect::<Vec<_>>());
/// let results = ended.value?;
/// assert_eq!((results[0].as_ref().ok(), results[2].as_ref().ok()), (Some(&3), Some(&5)));
/// assert_eq!(results[1].as_ref().unwrap_err().argument(), Some(1));
///
/// let error = trine::scope(|s| s.map(texts, 8, parse).count()).unwrap_err();
/// assert_eq!(error.argument(), Some(1));
/// # Ok::<(), trine::TaskError>(())
/// ```
#[must_use = "a map runs nothing until it is iterated"]
pub struct ScopedMap<'scope, I, F, R> {
    engine: Engine<'scope, I, F, InOrder<Item<'scope, R>>>,
}

/// The results of [`ScopedMap::unordered`]: each as soon as its task has ended, with the index of
/// its item.
///
/// ```
/// let words = ["one", "task", "three", "ways"];
/// trine::scope(|s| {
///     for (index, length) in s.map(&words, 2, |word| word.len()).unordered() {
///         assert_eq!(length?, words[index].len());
///     }
///     Ok::<_, trine::TaskError>(())
/// })??;
/// # Ok::<(), trine::TaskError>(())
/// ```
#[must_use = "a map runs nothing until it is iterated"]
pub struct ScopedUnordered<'scope, I, F, R> {
    engine: Engine<'scope, I, F, AsFinished<Item<'scope, R>>>,
}

impl<'scope, I, F, R> ScopedMap<'scope, I, F, R> {
    /// Yields each result as soon as its task has ended, with the index of its item, from 0.
    ///
    /// If the caller is interrupted, the last result is the error that names the caller. Its index
    /// is that of the first item that has no result.
    ///
    /// ```
    /// let found = trine::scope(|s| {
    ///     let mut texts = s.map(["x", "7", "y"], 3, |text| text.parse::<u32>().ok()).unordered();
    ///     texts.find_map(|(index, number)| Some((index, number.ok()??))) // and the rest ends
    /// })?;
    /// assert_eq!(found, Some((1, 7)));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn unordered(self) -> ScopedUnordered<'scope, I, F, R> {
        let Engine { feed, at_once, mut under_way } = self.engine;
        let mut unordered = AsFinished::new();
        under_way.drain().for_each(|item| unordered.push(item));
        ScopedUnordered { engine: Engine { feed, at_once, under_way: unordered } }
    }
}

/// The way in which the tasks of a map run.
#[derive(Clone, Copy)]
enum Runner {
    Coroutine,
    Thread,
}

/// The source of a map's tasks.
struct Feed<'scope, I, F> {
    starter: Starter<'scope>,
    runner: Runner,
    location: &'static Location<'static>,
    f: Arc<F>,
    items: Fuse<I>,
    /// The number of items taken so far.
    taken: usize,
    /// True once the caller was interrupted or the scope cancelled: no more items are taken.
    ended: bool,
}

impl<'scope, I, F> Feed<'scope, I, F>
where
    I: Iterator,
{
    /// Starts the task of the next item, if there is one.
    fn start_next<R>(&mut self) -> Option<Item<'scope, R>>
    where
        I::Item: Send + 'scope,
        F: Fn(I::Item) -> R + Send + Sync + 'scope,
        R: Send + 'scope,
    {
        if self.ended {
            return None;
        }
        // May panic. Then no task was started, and the caller may drop the map.
        let item = self.items.next()?;
        let index = self.taken;
        self.taken += 1;
        let member = self.starter.enter_map(index);
        // A scope that was cancelled refuses all later items too.
        self.ended = member.refusal.is_some();
        let f = Arc::clone(&self.f);
        let runner = self.runner;
        let spawn = |location, function: Function| match runner {
            Runner::Coroutine => {
                let builder = coroutine::Builder::new().with_room_for::<I::Item, R>();
                builder.spawn_at(location, function)
            }
            Runner::Thread => thread::Builder::new().spawn_at(location, function),
        };
        let task = self.starter.start(member, self.location, move || Ok(f(item)), spawn);
        Some(Item { index, task: Some(task) })
    }
}

/// The part that [`ScopedMap`] and [`ScopedUnordered`] have in common.
struct Engine<'scope, I, F, W> {
    feed: Feed<'scope, I, F>,
    /// The most tasks under way at once.
    at_once: usize,
    under_way: W,
}

impl<'scope, I, F, W> Engine<'scope, I, F, W>
where
    I: Iterator,
{
    /// Starts tasks until enough are under way, and waits for the next result, which comes with the
    /// index of its item.
    fn next<R>(&mut self) -> Option<(usize, Result<R, TaskError>)>
    where
        I::Item: Send + 'scope,
        F: Fn(I::Item) -> R + Send + Sync + 'scope,
        R: Send + 'scope,
        W: Window<Item<'scope, R>>,
    {
        while self.under_way.len() < self.at_once {
            let Some(item) = self.feed.start_next() else { break };
            self.under_way.push(item);
        }
        if self.under_way.len() == 0 {
            return None;
        }
        match self.under_way.next() {
            Ok(item) => Some(item.result()),
            Err(why) => {
                self.feed.ended = true;
                let items: Vec<_> = self.under_way.drain().collect();
                items.iter().for_each(|item| item.cancel_because(&why.as_reason()));
                let first = items.iter().map(|item| item.index).min().expect("not empty");
                Some((first, Err(TaskError::from(why))))
            }
        }
    }
}

/// One item of a map, under way. Its drop cancels the task.
struct Item<'scope, R> {
    index: usize,
    task: Option<ScopedTask<'scope, R>>,
}

impl<R> Item<'_, R> {
    /// Takes the result of an item that has ended.
    fn result(mut self) -> (usize, Result<R, TaskError>) {
        let ScopedTask { task, packet, .. } = self.task.take().expect("the result is taken once");
        let result = packet.result(task.join_uninterrupted());
        (self.index, result.map_err(|error| error.with_argument(self.index)))
    }

    fn cancel_because(&self, reason: &str) {
        if let Some(task) = &self.task {
            task.cancel_because(reason);
        }
    }

    fn task(&mut self) -> &mut Task<()> {
        &mut self.task.as_mut().expect("the result is not taken").task
    }
}

impl<R> UnderWay for Item<'_, R> {
    fn wait(&mut self) -> Result<(), Interrupted> {
        self.task().wait()
    }

    fn register(&mut self, waker: &Waker) -> bool {
        self.task().register(waker)
    }

    fn linger(&self) {
        if let Some(task) = &self.task {
            task.task.linger();
        }
    }
}

impl<R> Drop for Item<'_, R> {
    fn drop(&mut self) {
        self.cancel_because("its results are no longer wanted");
    }
}

impl<'scope, I, F, R> Iterator for ScopedMap<'scope, I, F, R>
where
    I: Iterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> R + Send + Sync + 'scope,
    R: Send + 'scope,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.engine.next().map(|(_, result)| result)
    }
}

impl<'scope, I, F, R> Iterator for ScopedUnordered<'scope, I, F, R>
where
    I: Iterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> R + Send + Sync + 'scope,
    R: Send + 'scope,
{
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.engine.next()
    }
}

impl<I, F, R> FusedIterator for ScopedMap<'_, I, F, R> where Self: Iterator {}

impl<I, F, R> FusedIterator for ScopedUnordered<'_, I, F, R> where Self: Iterator {}

impl<I, F, R> fmt::Debug for ScopedMap<'_, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.engine.under_way.len();
        f.debug_struct("ScopedMap").field("under_way", &under_way).finish_non_exhaustive()
    }
}

impl<I, F, R> fmt::Debug for ScopedUnordered<'_, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.engine.under_way.len();
        f.debug_struct("ScopedUnordered").field("under_way", &under_way).finish_non_exhaustive()
    }
}
