//! A value that is set once.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::call::Once;

/// A value that is set once, by the task that comes first, and then read without a lock; like
/// [`std::sync::OnceLock`], with these differences:
///
/// - A task that waits for the initialisation parks its coroutine, not its thread. So the
///   initialiser may wait, where in std's cell it would stop the carrier of the others.
/// - A task that needs the value in its own initialiser panics instead of waiting forever.
///
/// **There is no poisoning**, as in std's cell. An initialiser that panics, or whose task is
/// cancelled in a wait, leaves the cell empty, and the next caller initialises.
///
/// [`get`](Self::get) is one load.
///
/// ```
/// use std::time::Duration;
/// use trine::{coroutine, sync::OnceLock, time};
///
/// static SETTINGS: OnceLock<String> = OnceLock::new();
///
/// fn settings() -> &'static str {
///     SETTINGS.get_or_init(|| {
///         time::sleep(Duration::from_millis(1)); // asks a server, say
///         "colour = blue".to_owned()
///     })
/// }
///
/// let tasks: Vec<_> = (0..3).map(|_| coroutine::spawn(settings)).collect();
/// for task in tasks {
///     assert_eq!(task.join()?, "colour = blue");
/// }
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Initialised once `once` is complete.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value may be made on one thread and dropped on another (`Send`), and is shared
// (`Sync`). It is written by the one initialiser, before the others may look at it.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

// An unwinding leaves the cell empty or full, and its value is never borrowed exclusively through
// a shared cell.
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// Makes an empty cell.
    pub const fn new() -> OnceLock<T> {
        OnceLock { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Returns the value, if it is there. Never waits.
    ///
    /// ```
    /// let cell = trine::sync::OnceLock::new();
    /// assert_eq!(cell.get(), None);
    /// cell.set(7).unwrap();
    /// assert_eq!(cell.get(), Some(&7));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: complete.
        self.once.is_completed().then(|| unsafe { self.get_unchecked() })
    }

    /// Returns the value, if it is there.
    ///
    /// ```
    /// let mut cell = trine::sync::OnceLock::from(7);
    /// *cell.get_mut().unwrap() += 1;
    /// assert_eq!(cell.get(), Some(&8));
    /// ```
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: complete, and borrowed exclusively.
        self.once.is_completed().then(|| unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// Returns the value, and waits until another task has made it.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use trine::{coroutine, sync::OnceLock};
    ///
    /// static ANSWER: OnceLock<u32> = OnceLock::new();
    ///
    /// let task = coroutine::spawn(|| *ANSWER.wait());
    /// ANSWER.set(42).unwrap();
    /// assert_eq!(task.join()?, 42);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the caller itself makes the value; see [`get_or_init`](Self::get_or_init).
    #[inline]
    #[track_caller]
    pub fn wait(&self) -> &T {
        self.once.wait();
        // SAFETY: complete.
        unsafe { self.get_unchecked() }
    }

    /// Sets the value if the cell is empty. Waits while another task makes the value.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// let cell = trine::sync::OnceLock::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// assert_eq!(cell.get(), Some(&1));
    /// ```
    ///
    /// # Errors
    ///
    /// Gives `value` back if the cell has a value.
    ///
    /// # Panics
    ///
    /// If the caller makes the value already; see [`get_or_init`](Self::get_or_init).
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("called once"));
        value.map_or(Ok(()), Err)
    }

    /// Returns the value. Makes it by `init` if the cell is empty, and waits while another task
    /// makes it.
    ///
    /// Unwinds the task if it is cancelled while it waits. If `init` panics, or is unwound by a
    /// cancellation or a deadline, the cell stays empty.
    ///
    /// ```
    /// let cell = trine::sync::OnceLock::new();
    /// assert_eq!(*cell.get_or_init(|| 7), 7);
    /// assert_eq!(*cell.get_or_init(|| unreachable!()), 7);
    /// ```
    ///
    /// # Panics
    ///
    /// If `init` does. And if the caller makes the value already, in an outer `init`, which would
    /// wait for itself forever; with the exception that [`Mutex::lock`](crate::sync::Mutex::lock)
    /// names. A task that waits for another one that needs the value is not detected.
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        self.once.call_once(|| {
            let value = init();
            // SAFETY: the one initialiser, before completion: no other party looks at the value.
            unsafe { (*self.value.get()).write(value) };
        });
        // SAFETY: complete.
        unsafe { self.get_unchecked() }
    }

    /// Takes the value out, and leaves an empty cell.
    ///
    /// ```
    /// let mut cell = trine::sync::OnceLock::from(7);
    /// assert_eq!(cell.take(), Some(7));
    /// assert_eq!(cell.take(), None);
    /// ```
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed() {
            return None;
        }
        self.once = Once::new();
        // SAFETY: it was complete, and is not complete any more: the value is moved out once.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }

    /// Returns the value, if it was set.
    ///
    /// ```
    /// assert_eq!(trine::sync::OnceLock::from(7).into_inner(), Some(7));
    /// assert_eq!(trine::sync::OnceLock::<u32>::new().into_inner(), None);
    /// ```
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Returns the value.
    ///
    /// # Safety
    ///
    /// The initialisation is complete, and the caller has seen that.
    #[inline]
    unsafe fn get_unchecked(&self) -> &T {
        // SAFETY: the caller's promise: written before, and from then on only read.
        unsafe { (*self.value.get()).assume_init_ref() }
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        let cell = OnceLock::new();
        match cell.set(value) {
            Ok(()) => cell,
            Err(_) => unreachable!("the cell is new"),
        }
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        self.get().cloned().map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    /// Shows the value, or `<uninit>`; does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(value) => f.debug_tuple("OnceLock").field(value).finish(),
            None => f.debug_tuple("OnceLock").field(&format_args!("<uninit>")).finish(),
        }
    }
}
