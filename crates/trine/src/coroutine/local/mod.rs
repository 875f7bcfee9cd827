//! Values of which each coroutine has its own.
//!
//! ```text
//!   static A: Local<…>    key 1 ─┐         Storage of one coroutine, made at its first use
//!   static B: Local<…>    key 2 ─┼──────►  entries: [ Empty │ Live(rc) │ Live(rc) ]   by key
//!                                │         order:   [ 2, 1 ]                     as initialised
//! ```
//!
//! The storage hangs on the frame at the top of the coroutine's stack. A coroutine without such
//! values pays for a null pointer there, no more. A thread has its storage as a thread-local.

pub(super) mod storage;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

pub use self::storage::AccessError;
use self::storage::{Entry, Storage};
use super::carrier::{self, Carrier};
use crate::task::failure;

/// A value of which each coroutine has its own, and so does each thread outside of coroutines.
///
/// It is to coroutines as [`thread_local!`] is to threads. (A `thread_local!` that is used in a
/// coroutine is shared by all coroutines of its carrier.) The value is made at a coroutine's first
/// use. It is dropped at the coroutine's end, before [`join`](crate::Task::join) returns, and in
/// the coroutine, so that its destructor may wait. The value that was made last is dropped first. A
/// coroutine that never uses such a value pays nothing.
///
/// ```
/// use std::cell::Cell;
/// use trine::coroutine::{self, Local};
///
/// static COUNT: Local<Cell<u32>> = Local::new(|| Cell::new(0));
///
/// let counts: Vec<_> = (1..4)
///     .map(|rounds| {
///         coroutine::spawn(move || {
///             for _ in 0..rounds {
///                 COUNT.set(COUNT.get() + 1);
///                 coroutine::yield_now();
///             }
///             COUNT.get()
///         })
///     })
///     .map(|task| task.join().unwrap())
///     .collect();
/// assert_eq!(counts, [1, 2, 3]);
/// assert_eq!(COUNT.get(), 0); // the value of this thread
/// ```
///
/// The panic hook reports a destructor that panics, and the coroutine ends with that panic, unless
/// it has already ended with another. The other values are dropped all the same. At the end of a
/// thread, the report is all: nothing waits for the outcome. The values of a thread that has used
/// generators or local coroutines are dropped before all its thread-locals.
///
/// A [generator](super::Generator) has no values of its own: it uses those of its caller. A
/// generator that is suspended inside of [`with`](Local::with) keeps the value until it leaves
/// `with`, and then drops it.
///
/// A future that runs on a carrier, outside of coroutines, uses the values of the carrier's thread.
pub struct Local<T: 'static> {
    make: fn() -> T,
    /// The index of its entry in each storage, from 1; 0 before the first use.
    key: AtomicUsize,
}

impl<T: 'static> Local<T> {
    /// Declares a value that `make` makes for each coroutine or thread that uses it.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use trine::coroutine::Local;
    ///
    /// static LOG: Local<RefCell<Vec<u32>>> = Local::new(RefCell::default);
    /// LOG.with_borrow_mut(|log| log.push(1));
    /// assert_eq!(LOG.take(), [1]);
    /// ```
    pub const fn new(make: fn() -> T) -> Local<T> {
        Local { make, key: AtomicUsize::new(0) }
    }

    /// Calls `f` with the caller's value.
    ///
    /// ```
    /// use trine::coroutine::Local;
    ///
    /// static GREETING: Local<String> = Local::new(|| String::from("hello"));
    /// assert_eq!(GREETING.with(|text| text.len()), 5);
    /// ```
    ///
    /// # Panics
    ///
    /// If the value is being made. If it was dropped already, which only other destructors at the
    /// end of the coroutine or thread can observe.
    #[inline]
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// Calls `f` with the caller's value, unless it was dropped already.
    ///
    /// ```
    /// use trine::coroutine::{AccessError, Local};
    ///
    /// static GREETING: Local<String> = Local::new(|| String::from("hello"));
    /// assert_eq!(GREETING.try_with(|text| text.len())?, 5);
    /// # Ok::<(), AccessError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the value was dropped already.
    ///
    /// # Panics
    ///
    /// If the value is being made.
    #[inline]
    #[track_caller]
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = self.key.load(Relaxed);
        // A reference of its own keeps the value alive if a generator leaves `f` unfinished.
        let value = match with_storage(|storage| storage.get(key)) {
            Some(value) => value,
            None => self.first_use()?,
        };
        debug_assert!(value.is::<T>());
        // SAFETY: only the one `Local` with a key fills the entry of that key, with a `T`.
        let value_ref = unsafe { &*Rc::as_ptr(&value).cast::<T>() };
        Ok(f(value_ref))
    }

    #[cold]
    #[track_caller]
    fn first_use(&'static self) -> Result<Rc<dyn Any>, AccessError> {
        static KEYS: AtomicUsize = AtomicUsize::new(1);
        let mut key = self.key.load(Relaxed);
        if key == 0 {
            let new = KEYS.fetch_add(1, Relaxed);
            key = self.key.compare_exchange(0, new, Relaxed, Relaxed).err().unwrap_or(new);
        }
        // If the thread has ended, `begin` below returns the error.
        let _ = THREAD_END.try_with(|_| ());
        with_storage(|storage| storage.begin(key))?;
        let initializing = Initializing(key);
        let value: Rc<dyn Any> = Rc::new((self.make)());
        mem::forget(initializing);
        with_storage(|storage| storage.put(key, Entry::Live(Rc::clone(&value))));
        Ok(value)
    }
}

/// Guards the call of a `Local`'s function: if that panics, the next use calls it again.
struct Initializing(usize);

impl Drop for Initializing {
    fn drop(&mut self) {
        with_storage(|storage| storage.put(self.0, Entry::Empty));
    }
}

impl<T: 'static> Local<Cell<T>> {
    /// Returns a copy of the caller's value.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use trine::coroutine::Local;
    ///
    /// static DEPTH: Local<Cell<u32>> = Local::new(|| Cell::new(0));
    /// DEPTH.set(DEPTH.get() + 1);
    /// assert_eq!((DEPTH.replace(5), DEPTH.take(), DEPTH.get()), (1, 5, 0));
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`with`](Local::with), here and in all methods below.
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Sets the caller's value.
    #[track_caller]
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// Takes the caller's value, and leaves the default.
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Replaces the caller's value, and returns the old one.
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> Local<RefCell<T>> {
    /// Calls `f` with the caller's value.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use trine::coroutine::Local;
    ///
    /// static PATH: Local<RefCell<Vec<&str>>> = Local::new(RefCell::default);
    /// PATH.with_borrow_mut(|path| path.extend(["usr", "bin"]));
    /// assert_eq!(PATH.with_borrow(|path| path.join("/")), "usr/bin");
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`with`](Local::with). Also if the value is borrowed in the other way, here and
    /// below.
    #[track_caller]
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with the caller's value, which it may change.
    #[track_caller]
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the caller's value.
    #[track_caller]
    pub fn set(&'static self, value: T) {
        drop(self.replace(value));
    }

    /// Takes the caller's value, and leaves the default.
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Replaces the caller's value, and returns the old one.
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

thread_local! {
    /// The values of a thread. They stay until its very end, for the destructors of other
    /// thread-locals.
    static THREAD: ManuallyDrop<Storage> = const { ManuallyDrop::new(Storage::new()) };
    static THREAD_END: ThreadEnd = const { ThreadEnd };
}

/// Drops the values of a thread when it ends.
struct ThreadEnd;

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        THREAD.with(|storage| storage.end());
    }
}

/// Drops the values of the calling thread, which may make new ones until it ends.
pub(super) fn drop_values_of_thread() {
    THREAD.with(|storage| mem::forget(storage.drop_values()));
}

/// Calls `f` with the storage of the caller.
#[inline]
fn with_storage<R>(f: impl FnOnce(&Storage) -> R) -> R {
    match carrier::current().and_then(Carrier::running) {
        // SAFETY: the fiber runs, on the carrier of this thread: it is the caller.
        Some(fiber) => f(unsafe { fiber.locals() }.get_or_init(|| Box::new(Storage::new()))),
        None => THREAD.with(|storage| f(storage)),
    }
}

/// Wraps the function of a coroutine so that its values are dropped after it.
pub(super) fn with_end<F, T>(function: F) -> impl FnOnce() -> T
where
    F: FnOnce() -> T,
{
    struct Unwinding;

    impl Drop for Unwinding {
        fn drop(&mut self) {
            failure::keeping_note(|| mem::forget(drop_values()));
        }
    }

    move || {
        let unwinding = Unwinding;
        let value = function();
        mem::forget(unwinding);
        if let Some(payload) = drop_values() {
            // The value's destructor may panic too; only the first panic is carried on.
            mem::forget(panic::catch_unwind(AssertUnwindSafe(|| drop(value))));
            panic::resume_unwind(payload);
        }
        value
    }
}

/// Drops the values of the calling coroutine.
fn drop_values() -> Option<Box<dyn Any + Send>> {
    let fiber = carrier::current().and_then(Carrier::running)?;
    // SAFETY: as in `with_storage`.
    unsafe { fiber.locals() }.get()?.drop_values()
}
