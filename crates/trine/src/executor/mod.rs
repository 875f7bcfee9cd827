//! [`Executor`]: running functions by a kind that the program chooses later.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`Executor`], for [`Kind`] and the pools |
//! | `drive.rs` | starts the tasks of a map on its executor, and waits for them |
//! | `map.rs` | [`Map`], [`Unordered`], [`Indexed`] |
//! | `window.rs` | the batches under way, in the order of the arguments or of their ends |
//! | `feed.rs` | takes arguments, one by one or in chunks |
//! | `batch.rs` | one task, or many arguments that cross together |

use std::panic::Location;

use crate::process::Portable;
use crate::task::{Kind, Task};
use crate::{coroutine, process, thread};

mod batch;
mod drive;
mod feed;
mod map;
mod window;

pub use map::{Indexed, Map, Unordered};
pub(crate) use window::{AsFinished, InOrder, UnderWay, Window};

use feed::Feed;

/// A runner of functions: a [`Kind`] with its default pool, or a pool of the program's own.
///
/// The same call serves all three kinds, so it has the bounds of the strictest: an argument and a
/// result that can cross between processes, and a function that captures nothing. A closure that
/// captures is no `fn(A) -> R` and does not compile.
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
    /// ```
    /// use trine::{Executor, Kind, thread};
    ///
    /// fn answer(executor: &impl Executor) -> Result<u32, trine::TaskError> {
    ///     executor.spawn(6, |n: u32| n * 7).join()
    /// }
    /// assert_eq!(answer(&thread::Pool::new(1))?, 42);
    /// assert_eq!(answer(&Kind::Process)?, 42);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None here; [`Task::join`] reports how the task has ended.
    #[track_caller]
    fn spawn<A, R>(&self, arg: A, f: fn(A) -> R) -> Task<R>
    where
        A: Portable,
        R: Portable,
    {
        self.spawn_at(Location::caller(), arg, f)
    }

    /// Runs `f(arg)` as a task that names `location` as its origin. Implementors provide this for
    /// [`spawn`](Executor::spawn).
    ///
    /// ```
    /// use std::panic::Location;
    /// use trine::{Executor, Kind};
    ///
    /// let here = Location::caller();
    /// let task = Kind::Thread.spawn_at(here, 6, |n: u32| n * 7);
    /// assert_eq!(task.info().location, here);
    /// # task.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    fn spawn_at<A, R>(
        &self,
        location: &'static Location<'static>,
        arg: A,
        f: fn(A) -> R,
    ) -> Task<R>
    where
        A: Portable,
        R: Portable;

    /// Returns the number of tasks that [`map`](Executor::map) keeps under way at once.
    ///
    /// ```
    /// use trine::{Executor, thread};
    ///
    /// assert_eq!(thread::Pool::new(4).width(), 8); // two for each thread
    /// ```
    fn width(&self) -> usize;

    /// Returns the pool of processes behind the executor, if it has one: a map gives that pool
    /// several arguments at once.
    #[doc(hidden)]
    fn processes(&self) -> Option<&process::Pool> {
        None
    }

    /// Runs `f` over all of `args` and returns an iterator over the results, in the order of the
    /// arguments.
    ///
    /// It is lazy and bounded: it takes an argument only when there is room for another task, so an
    /// endless iterator is fine. See [`Map`] for the order and the bound.
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// let squares: Vec<u64> = Kind::Process.map(1.., |n: u64| n * n).take(4).flatten().collect();
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// ```
    #[track_caller]
    #[expect(clippy::type_complexity, reason = "the type of the function is one of its parts")]
    fn map<I, A, R>(&self, args: I, f: fn(A) -> R) -> Map<'_, Self, I::IntoIter, fn(A) -> R, R>
    where
        Self: Sized,
        I: IntoIterator<Item = A>,
        A: Portable,
        R: Portable,
    {
        let adapts = self.processes().is_some();
        let feed = Feed::new(self, args.into_iter(), f, Location::caller(), adapts);
        Map::new(feed, self.width())
    }
}

/// The number of tasks that a map keeps under way for each worker: one that runs, and the next.
const PER_WORKER: usize = 2;

/// The number of coroutines that a map keeps under way: they wait, so it is far above the number of
/// cores.
const COROUTINES: usize = 256;

impl Executor for Kind {
    fn spawn_at<A, R>(&self, location: &'static Location<'static>, arg: A, f: fn(A) -> R) -> Task<R>
    where
        A: Portable,
        R: Portable,
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
    fn spawn_at<A, R>(&self, location: &'static Location<'static>, arg: A, f: fn(A) -> R) -> Task<R>
    where
        A: Portable,
        R: Portable,
    {
        thread::Pool::spawn_at(self, location, move || f(arg))
    }

    fn width(&self) -> usize {
        PER_WORKER * self.size()
    }
}

impl Executor for process::Pool {
    fn spawn_at<A, R>(&self, location: &'static Location<'static>, arg: A, f: fn(A) -> R) -> Task<R>
    where
        A: Portable,
        R: Portable,
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
