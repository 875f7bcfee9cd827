//! A lock that several processes share, and that outlives its holders.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`Mutex`], its guard, the news of a death |
//! | `attachment.rs` | who lives, and how one waits |
//! | `state.rs` | the memory and the steps of the lock |

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::carry;
use super::shared::SharedError;
use crate::sync;

mod attachment;
mod state;

use attachment::Attachment;
use state::Before;

/// A value in shared memory that one task at a time may change, of whatever process.
///
/// It is given to other processes as an argument or result of a process task, and as often as one likes within this
/// one by `clone`. A wait parks the coroutine or the thread, and unwinds a task that is cancelled, as with
/// [`sync::Mutex`].
///
/// **Whoever dies with the lock does not keep it.** When a process ends while one of its tasks holds the lock, however it
/// ends, the next one who locks gets it with the news, and whoever waits already about 10 ms later: [`OwnerDied`].
/// The value is then one that somebody has [set](MutexGuard::set) as a whole; whether it belongs to what else there is, only the
/// program can know. (A panic, or a cancellation, ends a task and not its process: the lock is given back, as with
/// `sync::Mutex`.)
///
/// ```
/// use trine::{ipc::Mutex, process};
///
/// let total = Mutex::new(0_u64)?;
/// let tasks = [3, 4].map(|n| {
///     process::spawn((total.clone(), n), |(total, n): (Mutex<u64>, u64)| {
///         total.lock().unwrap().update(|total| *total += n);
///     })
/// });
/// for task in tasks {
///     task.join()?;
/// }
/// assert_eq!(total.lock().unwrap().get(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The value is [copied](MutexGuard::get) out and [in](MutexGuard::set), never borrowed: nothing keeps a process that has
/// gone wrong from writing there, lock or no lock. Any bytes are a valid `T`, so the worst that it can do is to
/// write another value, or to keep the lock.
///
/// Processes take turns: one that finds the lock taken again after its wait is left the next one. Locking costs about
/// thrice as much as with `sync::Mutex` while nobody competes, else system calls. Each `Mutex` that is not a clone takes two
/// descriptors.
///
/// A process that was forked off this one without a new program would be taken for this one: there, locking panics. It
/// makes a mutex of its own by [`descriptors`](Self::descriptors) and [`from_descriptors`](Self::from_descriptors).
pub struct Mutex<T> {
    attachment: Arc<Attachment>,
    /// Values go from thread to thread, one at a time.
    content: PhantomData<sync::Mutex<T>>,
}

/// What locking gives: the guard, or, with the guard in it, the news that a holder has died.
pub type LockResult<'a, T> = Result<MutexGuard<'a, T>, OwnerDied<'a, T>>;

impl<T: Pod> Mutex<T> {
    /// A free lock around `value`.
    ///
    /// # Errors
    ///
    /// As [`Shared::build`](super::Shared::build); or `/proc` is not there, or not usable.
    pub fn new(value: T) -> Result<Mutex<T>, SharedError> {
        Ok(Mutex::of(Attachment::new(value)?))
    }

    fn of(attachment: Attachment) -> Mutex<T> {
        Mutex { attachment: Arc::new(attachment), content: PhantomData }
    }

    /// The memory and the pipe of the lock, for a program that is no task of this one. There they become a mutex by
    /// [`from_descriptors`](Self::from_descriptors).
    ///
    /// # Errors
    ///
    /// There is no descriptor left, or no `/proc`.
    pub fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        self.attachment.descriptors()
    }

    /// Takes a mutex that a program of the same build has made.
    ///
    /// # Errors
    ///
    /// The descriptors are not those of a mutex of this type, or belong to another user.
    pub fn from_descriptors([memory, bell]: [OwnedFd; 2]) -> Result<Mutex<T>, SharedError> {
        Attachment::attach::<T>(&memory, &bell).map(Mutex::of)
    }
}

impl<T> Mutex<T> {
    /// Locks, waiting for as long as others hold the lock. Unlocks when the guard is dropped.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] if a process has died with the lock and nobody has [recovered](OwnerDied::recover) since. The caller
    /// holds the lock then, too.
    ///
    /// ```
    /// use trine::ipc::{Mutex, OwnerDied};
    ///
    /// let seats = Mutex::new([0_u32; 8])?;
    /// let mut guard = seats.lock().unwrap_or_else(|died| {
    ///     // Whoever has died may have been in the middle of something.
    ///     let mut guard = died.recover();
    ///     guard.set([0; 8]);
    ///     guard
    /// });
    /// guard.update(|seats| seats[3] = 1);
    /// # drop(guard);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the caller's task, or thread outside any task, holds the lock by the same mutex or a clone of it; in a process that
    /// was forked off the one that has made it.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> LockResult<'_, T> {
        let turn = self.own().turn.lock();
        loop {
            if let Some(before) = self.attachment.take(None) {
                return self.locked(turn, before);
            }
        }
    }

    /// Locks if that needs no wait. `None` if the lock is held.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), within the result.
    ///
    /// # Panics
    ///
    /// In a process that was forked off the one that has made it.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<LockResult<'_, T>> {
        let turn = self.own().turn.try_lock()?;
        let before = self.attachment.try_take()?;
        Some(self.locked(turn, before))
    }

    /// Locks, waiting for at most `duration`; `None` if it was not to be had in that time.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), within the result.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock), if the wait would be for good.
    #[track_caller]
    pub fn lock_timeout(&self, duration: Duration) -> Option<LockResult<'_, T>> {
        let deadline = Instant::now().checked_add(duration);
        let turn = self.own().turn.lock_timeout(duration)?;
        let before = self.attachment.take(deadline)?;
        Some(self.locked(turn, before))
    }

    /// What locking goes by.
    #[inline]
    #[track_caller]
    fn own(&self) -> &Attachment {
        assert!(
            !self.attachment.is_another_s(),
            "this mutex belongs to the process that this one was forked off; make one of its descriptors"
        );
        &self.attachment
    }

    #[inline]
    fn locked<'a>(&'a self, turn: sync::MutexGuard<'a, ()>, before: Before) -> LockResult<'a, T> {
        let guard = MutexGuard { attachment: &self.attachment, _turn: turn, content: PhantomData };
        match before {
            Before::Fine => Ok(guard),
            Before::Died => Err(OwnerDied { guard }),
        }
    }
}

impl<T> Clone for Mutex<T> {
    /// Another handle of the same lock, for this process.
    fn clone(&self) -> Mutex<T> {
        Mutex { attachment: Arc::clone(&self.attachment), content: PhantomData }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    /// Shows no value: to read it is to lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T: Pod> Serialize for Mutex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [memory, bell] = self.descriptors().map_err(S::Error::custom)?;
        (carry::put(memory.as_fd())?, carry::put(bell.as_fd())?).serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Mutex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mutex<T>, D::Error> {
        let (memory, bell) = <(u32, u32)>::deserialize(deserializer)?;
        let descriptors = [carry::take(memory)?, carry::take(bell)?];
        Mutex::from_descriptors(descriptors).map_err(D::Error::custom)
    }
}

/// Holds a [`Mutex`]; dropped, it unlocks, also by a panic or a cancellation.
///
/// As [`sync::MutexGuard`], it belongs to the task that locked, and is not `Send`:
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
    /// Given on after the lock.
    _turn: sync::MutexGuard<'a, ()>,
    content: PhantomData<&'a Mutex<T>>,
}

impl<T: Pod> MutexGuard<'_, T> {
    /// A copy of the value.
    #[inline]
    pub fn get(&self) -> T {
        self.attachment.memory.get()
    }

    /// Replaces the value. Whoever is killed in the middle of it leaves the old one or the new one, as a whole.
    #[inline]
    pub fn set(&mut self, value: T) {
        self.attachment.memory.set(value);
    }

    /// Changes the value: [`get`](Self::get), `f`, [`set`](Self::set). If `f` panics, it stays as it was.
    #[inline]
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
        self.attachment.give();
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// The lock was taken from a process that has died with it; or from one since whose death nobody has recovered.
///
/// It holds the lock. Dropped, it unlocks, and the next one is told again; so a program that hands it on by `?` forgets
/// nothing.
pub struct OwnerDied<'a, T> {
    guard: MutexGuard<'a, T>,
}

impl<'a, T> OwnerDied<'a, T> {
    /// The guard; from here on all counts as being in order. (Should this holder die, the next one is told of that.)
    pub fn recover(self) -> MutexGuard<'a, T> {
        self.guard.attachment.memory.recover();
        self.guard
    }

    /// The guard, to look at what there is.
    pub fn guard(&self) -> &MutexGuard<'a, T> {
        &self.guard
    }

    /// The guard, to put things in order before [`recover`](Self::recover): the next one is told as long as that is not
    /// done.
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
        f.write_str("a process has died with the lock; what it was changing may be half done")
    }
}

impl<T> Error for OwnerDied<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutex_crosses_as_two_descriptors() {
        let mutex = Mutex::new(4_u16).unwrap();
        let (bytes, descriptors) = carry::packing(|| postcard::to_allocvec(&mutex).unwrap());
        assert_eq!(descriptors.len(), 2);
        let same: Mutex<u16> =
            carry::unpacking(descriptors, || postcard::from_bytes(&bytes)).unwrap();
        let guard = mutex.lock().unwrap();
        assert!(same.try_lock().is_none());
        drop(guard);
        same.lock().unwrap().set(5);
        assert_eq!(mutex.lock().unwrap().get(), 5);
        let nothing = carry::unpacking(Vec::new(), || postcard::from_bytes::<Mutex<u16>>(&bytes));
        assert!(nothing.is_err());
    }
}
