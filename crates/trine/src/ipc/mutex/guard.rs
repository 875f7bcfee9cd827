//! The guard of a lock, and the error of a lock whose holder has died.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use bytemuck::Pod;

use super::attachment::Attachment;
use super::state::Before;
use crate::sync;

/// The result of locking: the guard, or an error that holds the guard because a holder has died.
pub type LockResult<'a, T> = Result<MutexGuard<'a, T>, OwnerDied<'a, T>>;

/// The guard of a [`Mutex`](super::Mutex). Dropping it unlocks, also in a panic or a cancellation.
///
/// Like a [`sync::MutexGuard`], it belongs to the task that locked, and is not `Send`:
///
/// ```compile_fail,E0277
/// let mutex = trine::ipc::Mutex::new(1).unwrap();
/// std::thread::scope(|s| {
///     let guard = mutex.lock().unwrap();
///     s.spawn(move || drop(guard));
/// });
/// ```
#[must_use = "a guard that is not kept unlocks at once"]
pub struct MutexGuard<'a, T> {
    attachment: &'a Attachment,
    /// Released after the lock itself.
    _turn: sync::MutexGuard<'a, ()>,
    /// `Send` and `Sync` as a borrowed `sync::Mutex` is.
    content: PhantomData<&'a sync::Mutex<T>>,
}

/// Makes the guard of a lock that was just taken.
#[inline]
pub(super) fn locked<'a, T>(
    attachment: &'a Attachment,
    turn: sync::MutexGuard<'a, ()>,
    before: Before,
) -> LockResult<'a, T> {
    let guard = MutexGuard { attachment, _turn: turn, content: PhantomData };
    match before {
        Before::Released => Ok(guard),
        Before::Died => Err(OwnerDied { guard }),
    }
}

impl<T: Pod> MutexGuard<'_, T> {
    /// Returns a copy of the value.
    ///
    /// ```
    /// let limit = trine::ipc::Mutex::new(10_u32)?;
    /// let guard = limit.lock().unwrap();
    /// assert_eq!(guard.get(), 10);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics in a process that was forked off the one that locked: the lock is its parent's.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> T {
        self.attachment.assert_own();
        self.attachment.memory.get()
    }

    /// Replaces the value. A process that is killed meanwhile leaves the old value or the new one,
    /// as a whole.
    ///
    /// ```
    /// let limit = trine::ipc::Mutex::new(10_u32)?;
    /// limit.lock().unwrap().set(20);
    /// assert_eq!(limit.lock().unwrap().get(), 20);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics as [`get`](Self::get) does.
    #[inline]
    #[track_caller]
    pub fn set(&mut self, value: T) {
        self.attachment.assert_own();
        self.attachment.memory.set(value);
    }

    /// Changes the value: [`get`](Self::get), `f`, [`set`](Self::set). If `f` panics, the value
    /// stays as it was.
    ///
    /// ```
    /// let mutex = trine::ipc::Mutex::new([1_u8, 2, 3])?;
    /// let mut guard = mutex.lock().unwrap();
    /// guard.update(|bytes| bytes.reverse());
    /// assert_eq!(guard.get(), [3, 2, 1]);
    /// guard.set([0; 3]);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics as [`get`](Self::get) does.
    #[inline]
    #[track_caller]
    pub fn update<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.get();
        let result = f(&mut value);
        self.set(value);
        result
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.attachment.release();
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attachment.was_inherited() {
            return f.write_str("<locked by the parent process>");
        }
        self.get().fmt(f)
    }
}

/// The error of a lock whose holder has died. It holds the lock.
///
/// Dropping it unlocks without recovery, so the next holder gets this error again. A program that
/// passes the error on with `?` therefore loses nothing.
///
/// ```
/// use trine::ipc::Mutex;
/// use trine::process;
///
/// let balance = Mutex::new(10_i64)?;
/// let crash = process::spawn::<_, ()>(balance.clone(), |balance: Mutex<i64>| {
///     let _guard = balance.lock().unwrap();
///     std::process::abort();
/// });
/// assert!(crash.join().unwrap_err().is_crash());
///
/// let died = balance.lock().unwrap_err();
/// assert_eq!(died.guard().get(), 10); // check, and repair with `guard_mut`
/// let _guard = died.recover();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OwnerDied<'a, T> {
    guard: MutexGuard<'a, T>,
}

impl<'a, T> OwnerDied<'a, T> {
    /// Declares the value consistent, and returns the guard. If this holder dies too, the next one
    /// gets an [`OwnerDied`] again.
    ///
    /// # Panics
    ///
    /// Panics in a process that was forked off the one that locked.
    #[track_caller]
    pub fn recover(self) -> MutexGuard<'a, T> {
        self.guard.attachment.assert_own();
        self.guard.attachment.memory.recover();
        self.guard
    }

    /// Returns the guard, for a look at the value.
    pub fn guard(&self) -> &MutexGuard<'a, T> {
        &self.guard
    }

    /// Returns the guard, to repair the value before [`recover`](Self::recover). Until that is
    /// called, further holders get an [`OwnerDied`].
    ///
    /// ```
    /// let seats = trine::ipc::Mutex::new([0_u32; 8])?;
    /// let guard = seats.lock().unwrap_or_else(|mut died| {
    ///     died.guard_mut().update(|seats| seats.sort()); // half done, maybe
    ///     died.recover()
    /// });
    /// assert!(guard.get().is_sorted());
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    pub fn guard_mut(&mut self) -> &mut MutexGuard<'a, T> {
        &mut self.guard
    }
}

impl<T> fmt::Debug for OwnerDied<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerDied").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for OwnerDied<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a process has died with the lock; its change may be half done")
    }
}

impl<T> Error for OwnerDied<'_, T> {}
