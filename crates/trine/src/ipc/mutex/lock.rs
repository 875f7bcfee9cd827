//! The mutex, and sending it to other processes.

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

use super::attachment::Attachment;
use super::guard::{self, LockResult};
#[cfg(doc)]
use super::guard::{MutexGuard, OwnerDied};
use crate::ipc::carry;
use crate::ipc::shared::SharedError;
use crate::sync;

/// A value in shared memory that one task at a time can change, among all tasks of all processes.
///
/// A mutex goes to other processes as an argument or result of a process task. Within a process,
/// `clone` makes further handles. A wait parks the coroutine or the thread, and unwinds a task that
/// is cancelled, as with [`sync::Mutex`].
///
/// **A dead process does not keep the lock.** If a process ends while one of its tasks holds the
/// lock, in whatever way, the next task that locks gets it with [`OwnerDied`]; a task that waits
/// already gets it about 10 ms later. The value is then one that was [set](MutexGuard::set) as a
/// whole. Only the program can know if it is consistent with other data. (A panic or a cancellation
/// ends a task, not its process: it releases the lock, as with `sync::Mutex`.)
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
/// The value is copied [out](MutexGuard::get) and [in](MutexGuard::set), never borrowed, because
/// nothing keeps a corrupted process from writing to the memory without the lock. Any bytes are a
/// valid `T`. So the worst that such a process can do is to write another value or to keep the
/// lock.
///
/// Processes take turns: a process that finds the lock taken again after its wait gets it next.
/// Without contention, locking costs about three times as much as with `sync::Mutex`; with
/// contention it makes system calls. Each `Mutex` that is not a clone takes two descriptors.
///
/// In a process that was forked off this one without a new program, locking panics, because other
/// processes could not tell the two apart. So does the use of a guard from before. That process
/// makes a mutex of its own with [`descriptors`](Self::descriptors) and
/// [`from_descriptors`](Self::from_descriptors), as do the workers of a pool whose `preload` has
/// made the mutex.
pub struct Mutex<T> {
    attachment: Arc<Attachment>,
    /// Values move between threads, one at a time, as in a `sync::Mutex`.
    content: PhantomData<sync::Mutex<T>>,
}

impl<T: Pod> Mutex<T> {
    /// Creates an unlocked mutex with `value`.
    ///
    /// ```
    /// let count = trine::ipc::Mutex::new(7_u32)?;
    /// assert_eq!(count.lock().unwrap().get(), 7);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`Shared::build`](crate::ipc::Shared::build) does, and without a usable `/proc`.
    pub fn new(value: T) -> Result<Mutex<T>, SharedError> {
        Ok(Mutex::of(Attachment::new(value)?))
    }

    fn of(attachment: Attachment) -> Mutex<T> {
        Mutex { attachment: Arc::new(attachment), content: PhantomData }
    }

    /// Returns the memory and the pipe of the mutex, for a program that is no task of this one.
    /// There, [`from_descriptors`](Self::from_descriptors) makes a mutex of them.
    ///
    /// ```
    /// use trine::ipc::Mutex;
    ///
    /// let one = Mutex::new(1_u64)?;
    /// let other = Mutex::<u64>::from_descriptors(one.descriptors()?)?; // in another program
    /// other.lock().unwrap().set(2);
    /// assert_eq!(one.lock().unwrap().get(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left, or without `/proc`.
    pub fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        self.attachment.descriptors()
    }

    /// Attaches to a mutex of a program of the same build, by its
    /// [`descriptors`](Self::descriptors).
    ///
    /// ```
    /// use trine::ipc::Mutex;
    ///
    /// let count = Mutex::new(7_u64)?;
    /// let same = Mutex::<u64>::from_descriptors(count.descriptors()?)?;
    /// assert_eq!(same.lock().unwrap().get(), 7);
    /// assert!(Mutex::<u16>::from_descriptors(count.descriptors()?).is_err()); // another type
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the descriptors are not those of a mutex of this type, or belong to another user.
    pub fn from_descriptors([memory, bell]: [OwnedFd; 2]) -> Result<Mutex<T>, SharedError> {
        Attachment::attach::<T>(&memory, &bell).map(Mutex::of)
    }
}

impl<T> Mutex<T> {
    /// Locks, and waits while another task holds the lock. Dropping the guard unlocks.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// # Errors
    ///
    /// Fails with [`OwnerDied`] if a process has died with the lock and no holder has
    /// [recovered](OwnerDied::recover) it since. The caller holds the lock then, too.
    ///
    /// ```
    /// use trine::ipc::{Mutex, OwnerDied};
    ///
    /// let seats = Mutex::new([0_u32; 8])?;
    /// let mut guard = seats.lock().unwrap_or_else(|died| {
    ///     // The dead holder may have been in the middle of a change.
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
    /// Panics if the caller's task, or thread outside any task, holds the lock by the same mutex or
    /// a clone of it, and no deadline ends the wait; see [`sync::Mutex::lock`]. Also in a process
    /// that was forked off the one that made the mutex.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> LockResult<'_, T> {
        let turn = self.checked().turn.lock();
        loop {
            if let Some(before) = self.attachment.take(None) {
                return guard::locked(&self.attachment, turn, before);
            }
        }
    }

    /// Locks if that needs no wait; `None` if the lock is held.
    ///
    /// ```
    /// let mutex = trine::ipc::Mutex::new(0_u8)?;
    /// let guard = mutex.try_lock().unwrap().unwrap();
    /// assert!(mutex.try_lock().is_none());
    /// drop(guard);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The result inside the option fails as [`lock`](Self::lock) does.
    ///
    /// # Panics
    ///
    /// Panics in a process that was forked off the one that made the mutex.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<LockResult<'_, T>> {
        let turn = self.checked().turn.try_lock()?;
        let before = self.attachment.try_take()?;
        Some(guard::locked(&self.attachment, turn, before))
    }

    /// Locks, and waits for at most `duration`; `None` if the lock was held for that long.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mutex = trine::ipc::Mutex::new(0_u8)?;
    /// let same = mutex.clone();
    /// let guard = mutex.lock().unwrap();
    /// let limit = Duration::from_millis(1);
    /// let task = trine::coroutine::spawn(move || same.lock_timeout(limit).is_none());
    /// assert!(task.join().unwrap());
    /// # drop(guard);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The result inside the option fails as [`lock`](Self::lock) does.
    ///
    /// # Panics
    ///
    /// Panics as [`lock`](Self::lock) does, if the wait would never end.
    #[track_caller]
    pub fn lock_timeout(&self, duration: Duration) -> Option<LockResult<'_, T>> {
        if duration.is_zero() {
            return self.try_lock();
        }
        let deadline = Instant::now().checked_add(duration);
        let turn = self.checked().turn.lock_timeout(duration)?;
        let before = self.attachment.take(deadline)?;
        Some(guard::locked(&self.attachment, turn, before))
    }

    /// Returns the attachment, unless this process was forked off the one that attached.
    #[inline]
    #[track_caller]
    fn checked(&self) -> &Attachment {
        self.attachment.assert_own();
        &self.attachment
    }
}

impl<T> Clone for Mutex<T> {
    /// Creates another handle of the same lock, for this process.
    fn clone(&self) -> Mutex<T> {
        Mutex { attachment: Arc::clone(&self.attachment), content: PhantomData }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    /// Leaves out the value, because reading it needs the lock.
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
