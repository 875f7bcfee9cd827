//! A value that is made at its first use.

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::cell::OnceLock;

/// A value that is made at its first use, like [`std::sync::LazyLock`], with these differences:
///
/// - A task that waits for the initialisation parks its coroutine, not its thread. So the
///   initialiser may wait, where in std's cell it would stop the carrier of the others.
/// - In a future task, a wait here blocks the carrier, as in std's cell: a future has no stack that
///   could be set aside. Make the value before, or in a coroutine.
/// - **There is no poisoning.** An initialiser that panics, or whose task is cancelled in a wait,
///   leaves the value unmade, and the next use makes it. So the initialiser may be called more than
///   once: it is an `Fn`, where std's is an `FnOnce`.
/// - A task that needs the value in its own initialiser panics instead of waiting forever.
///
/// ```
/// use std::time::Duration;
/// use trine::{coroutine, sync::LazyLock, time};
///
/// static SETTINGS: LazyLock<String> = LazyLock::new(|| {
///     time::sleep(Duration::from_millis(1)); // reads a file, say
///     "colour = blue".to_owned()
/// });
///
/// let tasks: Vec<_> = (0..3).map(|_| coroutine::spawn(|| SETTINGS.len())).collect();
/// for task in tasks {
///     assert_eq!(task.join()?, 13);
/// }
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    cell: OnceLock<T>,
    init: F,
}

// SAFETY: the value as in `OnceLock`. `init` is called by one task at a time, on any thread, and
// touched by no other party: `Send` is enough.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

// An initialiser that was unwound is called again by reference, so it must bear that.
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: RefUnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F> LazyLock<T, F> {
    /// Makes a value that `init` will make at its first use.
    pub const fn new(init: F) -> LazyLock<T, F> {
        LazyLock { cell: OnceLock::new(), init }
    }

    /// Returns the value, if it was made. Never waits.
    ///
    /// ```
    /// use trine::sync::LazyLock;
    ///
    /// let lazy = LazyLock::new(|| 7);
    /// assert_eq!(LazyLock::get(&lazy), None);
    /// assert_eq!(*lazy, 7);
    /// assert_eq!(LazyLock::get(&lazy), Some(&7));
    /// ```
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        this.cell.get()
    }
}

impl<T, F: Fn() -> T> LazyLock<T, F> {
    /// Returns the value. Makes it if this is its first use, and waits while another task makes it.
    /// Dereferencing does the same.
    ///
    /// Unwinds the task if it is cancelled while it waits. If the initialiser panics, or is unwound
    /// by a cancellation or a deadline, the next use calls it again.
    ///
    /// ```
    /// use trine::sync::LazyLock;
    ///
    /// let lazy = LazyLock::new(|| 7);
    /// assert_eq!(LazyLock::force(&lazy), &7);
    /// ```
    ///
    /// # Panics
    ///
    /// If the initialiser does. And if it needs the value itself; see
    /// [`OnceLock::get_or_init`].
    #[inline]
    #[track_caller]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.cell.get_or_init(&this.init)
    }
}

impl<T, F: Fn() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    /// Makes a value that `T::default` will make at its first use.
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    /// Shows the value, or `<uninit>`; does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match LazyLock::get(self) {
            Some(value) => f.debug_tuple("LazyLock").field(value).finish(),
            None => f.debug_tuple("LazyLock").field(&format_args!("<uninit>")).finish(),
        }
    }
}
