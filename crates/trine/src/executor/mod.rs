//! Running functions without saying which way: the trait of what runs `fn(A) -> R` tasks.

use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::process::CapturesNothing;
use crate::task::{Kind, Task};
use crate::{coroutine, process, thread};

mod map;

pub use map::{Map, Unordered};

/// What runs functions: a [`Kind`] with its default pool, or a pool of one's own.
///
/// The same call serves all three kinds, so it asks for what the strictest one needs: an argument
/// and a result that can cross between processes, and a function that captures nothing. A function
/// that captures does not compile.
///
/// ```
/// use trine::{Executor, Kind};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// for kind in Kind::ALL {
///     let squares: Result<Vec<u64>, _> = kind.map(1..=4, square).collect();
///     assert_eq!(squares?, [1, 4, 9, 16]);
/// }
/// # Ok::<(), trine::TaskError>(())
/// ```
pub trait Executor {
    /// Runs `f(arg)` and returns its handle at once.
    ///
    /// # Errors
    ///
    /// None here; how the task ended is told by [`Task::join`].
    #[track_caller]
    fn spawn<A, R, F>(&self, arg: A, f: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let _ = const { CapturesNothing::<F>::check() };
        self.spawn_at(Location::caller(), arg, f)
    }

    /// As [`spawn`](Executor::spawn), with the place that the task is to name as its origin: what
    /// an executor has to provide.
    fn spawn_at<A, R, F>(&self, location: &'static Location<'static>, arg: A, f: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static;

    /// How many tasks [`map`](Executor::map) keeps under way at once.
    fn width(&self) -> usize;

    /// The pool of processes that stands behind it, if there is one: a map gives that several arguments at once.
    #[doc(hidden)]
    fn processes(&self) -> Option<&process::Pool> {
        None
    }

    /// Runs `f` over all of `args`: an iterator over the results, in the order of the arguments.
    ///
    /// Lazy and bounded: it takes an argument only when there is room for another task, so an
    /// endless iterator is fine. See [`Map`] for the order and the bound.
    #[track_caller]
    fn map<I, A, R, F>(&self, args: I, f: F) -> Map<'_, Self, I::IntoIter, F, R>
    where
        Self: Sized,
        I: IntoIterator<Item = A>,
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let _ = const { CapturesNothing::<F>::check() };
        Map::new(self, args.into_iter(), f, Location::caller())
    }
}

/// Tasks that a map keeps under way for each worker: one that runs, one that is ready to follow.
const PER_WORKER: usize = 2;

/// Coroutines that a map keeps under way: they are for waiting, so many more than there are cores.
const COROUTINES: usize = 256;

impl Executor for Kind {
    fn spawn_at<A, R, F>(&self, location: &'static Location<'static>, arg: A, f: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        match self {
            Kind::Coroutine => coroutine::Builder::new().spawn_at(location, move || f(arg)),
            Kind::Thread => thread::pool().spawn_at(location, move || f(arg)),
            Kind::Process => process::pool().spawn_at(location, arg, f),
        }
    }

    fn width(&self) -> usize {
        match self {
            Kind::Coroutine => COROUTINES,
            Kind::Thread => thread::pool().width(),
            Kind::Process => process::pool().width(),
        }
    }

    fn processes(&self) -> Option<&process::Pool> {
        matches!(self, Kind::Process).then(process::pool)
    }
}

impl Executor for thread::Pool {
    fn spawn_at<A, R, F>(&self, location: &'static Location<'static>, arg: A, f: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        thread::Pool::spawn_at(self, location, move || f(arg))
    }

    fn width(&self) -> usize {
        PER_WORKER * self.size()
    }
}

impl Executor for process::Pool {
    fn spawn_at<A, R, F>(&self, location: &'static Location<'static>, arg: A, f: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        process::Pool::spawn_at(self, location, arg, f)
    }

    fn width(&self) -> usize {
        PER_WORKER * self.workers()
    }

    fn processes(&self) -> Option<&process::Pool> {
        self.takes_chunks().then_some(self)
    }
}
