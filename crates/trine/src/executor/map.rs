//! [`Map`]: many tasks of one function, a bounded number at once.
//!
//! What is under way is a row of [`Batch`]es: of one task each or, where the executor is a pool of processes and the
//! tasks are tiny, of many arguments that cross together.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Executor;
use crate::process::Chunk;
use crate::task::{Interrupted, Task, TaskError, park, wait};

/// The results of [`Executor::map`], in the order of the arguments.
///
/// Each step of the iterator first fills the window of tasks under way, then waits for the oldest.
/// Tiny tasks of processes cross many at a time: see [`chunk`](Map::chunk).
///
/// A task that ends with an error is one `Err` among the others. Dropping the iterator detaches
/// what is under way. If the caller is cancelled or its time is up, the iterator cancels what is under
/// way, gives the error that names the caller, and ends.
#[must_use = "a map runs nothing until it is iterated"]
pub struct Map<'e, E, I, F, R> {
    feed: Feed<'e, E, I, F>,
    window: usize,
    under_way: VecDeque<Batch<R>>,
    /// Results that have come with one that was given out.
    ready: VecDeque<Result<R, TaskError>>,
}

/// Where the tasks of a map come from.
struct Feed<'e, E, I, F> {
    executor: &'e E,
    args: std::iter::Fuse<I>,
    function: F,
    location: &'static Location<'static>,
    /// The caller was interrupted: no more tasks.
    ended: bool,
    /// How many arguments were taken.
    taken: usize,
    /// How many arguments cross at once.
    chunk: usize,
    /// Whether that follows from what the tasks take.
    adapts: bool,
}

/// Most arguments that cross at once, if nobody says otherwise.
const MOST: usize = 512;
/// How long a chunk should take: enough that what it costs to send is nothing beside it, and little enough that
/// the workers end at about the same time.
const ENOUGH: Duration = Duration::from_micros(200);

/// A part of the arguments, under way.
struct Batch<R> {
    /// Which argument is its first.
    first: usize,
    work: Work<R>,
}

/// One task, or many arguments that cross together.
enum Work<R> {
    One(Task<R>),
    Chunk(Task<Chunk<R>>),
}

impl<R> Batch<R> {
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

    /// The caller is about to wait.
    fn linger(&self) {
        match &self.work {
            Work::One(task) => task.linger(),
            Work::Chunk(task) => task.linger(),
        }
    }

    fn cancel_because(&self, reason: String) {
        match &self.work {
            Work::One(task) => task.cancel_because(reason),
            Work::Chunk(task) => task.cancel_because(reason),
        }
    }

    /// Its results, and how long they took if there are many.
    fn join(self, into: &mut VecDeque<Result<R, TaskError>>) -> Option<(usize, Duration)> {
        let first = self.first;
        match self.work {
            Work::One(task) => {
                into.push_back(task.join().map_err(|error| error.with_argument(first)));
            }
            Work::Chunk(task) => match task.join() {
                Ok(chunk) => {
                    let count = chunk.results.len();
                    let results = chunk.results.into_iter().zip(first..);
                    into.extend(results.map(|(result, argument)| {
                        result.map_err(|error| error.with_argument(argument))
                    }));
                    return chunk.took.map(|took| (count, took));
                }
                Err(error) => into.push_back(Err(error)),
            },
        }
        None
    }
}

impl<E, I, F> Feed<'_, E, I, F> {
    fn spawn_next<A, R>(&mut self) -> Option<Batch<R>>
    where
        E: Executor,
        I: Iterator<Item = A>,
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        if self.ended {
            return None;
        }
        let arg = self.args.next()?;
        let first = self.taken;
        self.taken += 1;
        let Some(pool) = self.executor.processes().filter(|_| self.adapts || self.chunk > 1) else {
            let task = self.executor.spawn_at(self.location, arg, self.function);
            return Some(Batch { first, work: Work::One(task) });
        };
        // Somebody may have said `usize::MAX`, for all of them.
        let mut args = Vec::with_capacity(self.chunk.min(MOST));
        args.push(arg);
        args.extend(self.args.by_ref().take(self.chunk - 1));
        self.taken = first + args.len();
        let task = pool.spawn_chunk_at(self.location, args, self.function);
        Some(Batch { first, work: Work::Chunk(task) })
    }

    /// Learns from what a chunk of this many arguments has taken.
    fn learn(&mut self, (count, took): (usize, Duration)) {
        if !self.adapts || count < self.chunk {
            return;
        }
        if took < ENOUGH / 2 {
            self.chunk = (2 * self.chunk).min(MOST);
        } else if took > 2 * ENOUGH {
            self.chunk = (self.chunk / 2).max(1);
        }
    }

    /// Takes no more arguments, and cancels what is under way.
    fn end<R>(&mut self, why: Interrupted, under_way: impl Iterator<Item = Batch<R>>) -> TaskError {
        self.ended = true;
        under_way.for_each(|batch| batch.cancel_because(why.to_string()));
        TaskError::from(why)
    }
}

impl<'e, E, I, F, R> Map<'e, E, I, F, R>
where
    E: Executor,
    I: Iterator,
{
    pub(super) fn new(
        executor: &'e E,
        args: I,
        function: F,
        location: &'static Location<'static>,
    ) -> Self {
        let (chunk, adapts) = (1, executor.processes().is_some());
        let args = args.fuse();
        let feed =
            Feed { executor, args, function, location, ended: false, taken: 0, chunk, adapts };
        let (under_way, ready) = (VecDeque::new(), VecDeque::new());
        Map { feed, window: executor.width().max(1), under_way, ready }
    }

    /// Has this many arguments cross at once, where the tasks are processes; 1 lets each cross alone. Unless it is
    /// said here, the number follows from what the tasks take: 1 at first and for all that take longer than
    /// about 0.1 ms, up to 512 for tiny ones. So many arguments are taken from the iterator before there is a result.
    ///
    /// A process that dies costs the one argument that it was at, however many have crossed with that. The errors of
    /// one chunk name the same task, each [its argument](TaskError::argument).
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// let sum: u64 = Kind::Process.map(0..10_000, |n: u64| n % 7).chunk(1_000).map(Result::unwrap).sum();
    /// assert_eq!(sum, (0..10_000).map(|n| n % 7).sum());
    /// ```
    ///
    /// # Panics
    ///
    /// If `arguments` is 0.
    pub fn chunk(mut self, arguments: usize) -> Self {
        assert!(arguments > 0, "a chunk without arguments would never end");
        self.feed.chunk = arguments;
        self.feed.adapts = false;
        self
    }

    /// Keeps at most `tasks` under way at once, instead of the executor's
    /// [`width`](Executor::width). Arguments then cross one at a time, unless [`chunk`](Map::chunk) says otherwise;
    /// a chunk counts as one.
    ///
    /// # Panics
    ///
    /// If `tasks` is 0.
    pub fn window(mut self, tasks: usize) -> Self {
        assert!(tasks > 0, "a map with no task under way would never end");
        self.window = tasks;
        self.feed.adapts = false;
        self
    }

    /// Gives each result as soon as it is there, with no regard to the order of the arguments. An error says
    /// [which one](TaskError::argument) it had.
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
        let places = std::iter::repeat_with(|| None).take(self.under_way.len()).collect();
        let mut unordered = Unordered {
            feed: self.feed,
            window: self.window,
            places,
            free: Vec::new(),
            found: 0,
            finished: Arc::default(),
            ready: self.ready,
        };
        for (place, batch) in self.under_way.into_iter().enumerate() {
            unordered.watch(place, batch);
        }
        unordered
    }
}

impl<E, I, A, F, R> Iterator for Map<'_, E, I, F, R>
where
    E: Executor,
    I: Iterator<Item = A>,
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        while self.under_way.len() < self.window {
            match self.feed.spawn_next() {
                Some(batch) => self.under_way.push_back(batch),
                None => break,
            }
        }
        let mut batch = self.under_way.pop_front()?;
        if let Err(why) = batch.wait() {
            self.under_way.push_front(batch);
            return Some(Err(self.feed.end(why, self.under_way.drain(..))));
        }
        if let Some(took) = batch.join(&mut self.ready) {
            self.feed.learn(took);
        }
        self.ready.pop_front()
    }
}

impl<E, I, A, F, R> FusedIterator for Map<'_, E, I, F, R>
where
    E: Executor,
    I: Iterator<Item = A>,
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
}

/// The results of [`Map::unordered`], each as soon as it is there.
#[must_use = "a map runs nothing until it is iterated"]
pub struct Unordered<'e, E, I, F, R> {
    feed: Feed<'e, E, I, F>,
    window: usize,
    /// The tasks under way, each at the place that its waker names.
    places: Vec<Option<Batch<R>>>,
    free: Vec<usize>,
    /// Where the last look for one under way has found it.
    found: usize,
    finished: Arc<Finished>,
    ready: VecDeque<Result<R, TaskError>>,
}

/// Places whose tasks have ended, and who waits for the next.
#[derive(Default)]
struct Finished {
    state: Mutex<(VecDeque<usize>, Option<Waker>)>,
}

/// The waker of the task at one place.
struct Place {
    number: usize,
    finished: Arc<Finished>,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.finished.push(self.number);
    }
}

impl Finished {
    fn push(&self, place: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.push_back(place);
        let waiter = state.1.take();
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    fn is_empty(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    fn next(&self) -> Result<usize, Interrupted> {
        let mut waker = None;
        let mut waited = Ok(());
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = state.0.pop_front() {
                return Ok(place);
            }
            waited?;
            state.1 = Some(waker.get_or_insert_with(park::waker).clone());
            drop(state);
            waited = wait::for_wake(None);
        }
    }
}

impl<E, I, F, R> Unordered<'_, E, I, F, R> {
    fn watch(&mut self, place: usize, mut batch: Batch<R>) {
        let finished = Arc::clone(&self.finished);
        let waker = Waker::from(Arc::new(Place { number: place, finished }));
        if batch.register(&waker) {
            self.finished.push(place);
        }
        self.places[place] = Some(batch);
    }

    /// Helps with one that is under way; goes on where it was, as a large window may be all but empty.
    fn linger(&mut self) {
        let count = self.places.len();
        let mut around = (self.found..self.found + count).map(|place| place % count);
        if let Some(place) = around.find(|place| self.places[*place].is_some()) {
            self.found = place;
            self.places[place].iter().for_each(Batch::linger);
        }
    }
}

impl<E, I, A, F, R> Iterator for Unordered<'_, E, I, F, R>
where
    E: Executor,
    I: Iterator<Item = A>,
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        while self.places.len() - self.free.len() < self.window {
            let Some(batch) = self.feed.spawn_next() else { break };
            let place = self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            });
            self.watch(place, batch);
        }
        if self.places.len() == self.free.len() {
            return None;
        }
        if self.finished.is_empty() {
            self.linger();
        }
        let place = match self.finished.next() {
            Ok(place) => place,
            Err(why) => {
                self.free.clear();
                return Some(Err(self.feed.end(why, self.places.drain(..).flatten())));
            }
        };
        self.free.push(place);
        let batch = self.places[place].take().expect("a place ends once for each batch");
        if let Some(took) = batch.join(&mut self.ready) {
            self.feed.learn(took);
        }
        self.ready.pop_front()
    }
}

impl<E, I, F, R> fmt::Debug for Map<'_, E, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.under_way.len();
        f.debug_struct("Map").field("under_way", &under_way).finish_non_exhaustive()
    }
}

impl<E, I, F, R> fmt::Debug for Unordered<'_, E, I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.places.len() - self.free.len();
        f.debug_struct("Unordered").field("under_way", &under_way).finish_non_exhaustive()
    }
}
