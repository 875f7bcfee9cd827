//! [`Map`]: many tasks of one function, a bounded number at once.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Executor;
use crate::task::{Interrupted, Task, TaskError, park};

/// The results of [`Executor::map`], in the order of the arguments.
///
/// Each step of the iterator first fills the window of tasks under way, then waits for the oldest.
/// A task that ends with an error is one `Err` among the others. Dropping the iterator detaches
/// what is under way. If the caller is cancelled or its time is up, the iterator cancels what is under
/// way, gives the error that names the caller, and ends.
#[must_use = "a map runs nothing until it is iterated"]
pub struct Map<'e, E, I, F, R> {
    feed: Feed<'e, E, I, F>,
    window: usize,
    under_way: VecDeque<Task<R>>,
}

/// Where the tasks of a map come from.
struct Feed<'e, E, I, F> {
    executor: &'e E,
    args: std::iter::Fuse<I>,
    function: F,
    location: &'static Location<'static>,
    /// The caller was interrupted: no more tasks.
    ended: bool,
}

impl<E, I, F> Feed<'_, E, I, F> {
    fn spawn_next<A, R>(&mut self) -> Option<Task<R>>
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
        Some(self.executor.spawn_at(self.location, arg, self.function))
    }

    /// Takes no more arguments, and cancels what is under way.
    fn end<R>(&mut self, why: Interrupted, under_way: impl Iterator<Item = Task<R>>) -> TaskError {
        self.ended = true;
        under_way.for_each(|task| task.cancel_because(why.to_string()));
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
        let feed = Feed { executor, args: args.fuse(), function, location, ended: false };
        Map { feed, window: executor.width().max(1), under_way: VecDeque::new() }
    }

    /// Keeps at most `tasks` under way at once, instead of the executor's
    /// [`width`](Executor::width).
    ///
    /// # Panics
    ///
    /// If `tasks` is 0.
    pub fn window(mut self, tasks: usize) -> Self {
        assert!(tasks > 0, "a map with no task under way would never end");
        self.window = tasks;
        self
    }

    /// Gives each result as soon as it is there, with no regard to the order of the arguments.
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
            finished: Arc::default(),
        };
        for (place, task) in self.under_way.into_iter().enumerate() {
            unordered.watch(place, task);
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
        while self.under_way.len() < self.window {
            match self.feed.spawn_next() {
                Some(task) => self.under_way.push_back(task),
                None => break,
            }
        }
        let mut task = self.under_way.pop_front()?;
        if let Err(why) = task.wait() {
            self.under_way.push_front(task);
            return Some(Err(self.feed.end(why, self.under_way.drain(..))));
        }
        Some(task.join())
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
    places: Vec<Option<Task<R>>>,
    free: Vec<usize>,
    finished: Arc<Finished>,
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
            waited = park::wait(None);
        }
    }
}

impl<E, I, F, R> Unordered<'_, E, I, F, R> {
    fn watch(&mut self, place: usize, mut task: Task<R>) {
        let finished = Arc::clone(&self.finished);
        let waker = Waker::from(Arc::new(Place { number: place, finished }));
        if task.register(&waker) {
            self.finished.push(place);
        }
        self.places[place] = Some(task);
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
        while self.places.len() - self.free.len() < self.window {
            let Some(task) = self.feed.spawn_next() else { break };
            let place = self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            });
            self.watch(place, task);
        }
        if self.places.len() == self.free.len() {
            return None;
        }
        let place = match self.finished.next() {
            Ok(place) => place,
            Err(why) => {
                self.free.clear();
                return Some(Err(self.feed.end(why, self.places.drain(..).flatten())));
            }
        };
        self.free.push(place);
        let task = self.places[place].take().expect("a place ends once for each task");
        Some(task.join())
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
