//! Permits that own their semaphore.

use std::fmt;
use std::sync::Arc;

use super::count::{AcquireError, Semaphore, checked};
use crate::task::budget;

/// Permits taken of a [`Semaphore`] in an [`Arc`], given back when dropped. A task that is spawned
/// may own them, as it borrows nothing.
///
/// ```
/// use std::sync::Arc;
/// use trine::{coroutine, sync::Semaphore};
///
/// let slots = Arc::new(Semaphore::new(2));
/// let tasks: Vec<_> = (0..10)
///     .map(|_| {
///         // The spawner waits, so at most two of the coroutines exist at a time.
///         let slot = slots.clone().acquire_owned();
///         coroutine::spawn(move || drop(slot))
///     })
///     .collect();
/// for task in tasks {
///     task.join()?;
/// }
/// assert_eq!(slots.available_permits(), 2);
/// # Ok::<(), trine::TaskError>(())
/// ```
#[must_use = "a permit that is not kept is given back at once"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    n: usize,
}

impl Semaphore {
    /// Takes one permit as [`acquire`](Self::acquire) does, for a task that owns it.
    ///
    /// # Panics
    ///
    /// The same as [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned(self: Arc<Self>) -> OwnedSemaphorePermit {
        self.acquire_many_owned(1)
    }

    /// Takes `n` permits as [`acquire_many`](Self::acquire_many) does, for a task that owns them.
    ///
    /// # Panics
    ///
    /// The same as [`acquire_many`](Self::acquire_many).
    #[track_caller]
    pub fn acquire_many_owned(self: Arc<Self>, n: usize) -> OwnedSemaphorePermit {
        let wanted = checked(n);
        budget::spend();
        if !self.permits.try_take(wanted) {
            self.wait_or_panic(wanted);
        }
        OwnedSemaphorePermit { semaphore: self, n }
    }

    /// Takes `n` permits as [`acquire_unless_closed`](Self::acquire_unless_closed) does, for a task
    /// that owns them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use trine::sync::Semaphore;
    ///
    /// let slots = Arc::new(Semaphore::new(2));
    /// let both = slots.clone().acquire_owned_unless_closed(2)?;
    /// slots.close();
    /// assert!(slots.clone().acquire_owned_unless_closed(1).is_err());
    /// # drop(both);
    /// # Ok::<(), trine::sync::AcquireError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An [`AcquireError`] if the semaphore is closed, before the wait or meanwhile.
    ///
    /// # Panics
    ///
    /// If `n` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn acquire_owned_unless_closed(
        self: Arc<Self>,
        n: usize,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        let wanted = checked(n);
        budget::spend();
        if !self.permits.try_take(wanted) {
            self.wait(wanted)?;
        }
        Ok(OwnedSemaphorePermit { semaphore: self, n })
    }

    /// Takes one permit as [`try_acquire`](Self::try_acquire) does, for a task that owns it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use trine::sync::Semaphore;
    ///
    /// let slots = Arc::new(Semaphore::new(1));
    /// let slot = slots.clone().try_acquire_owned().unwrap();
    /// assert!(slots.clone().try_acquire_owned().is_none());
    /// # drop(slot);
    /// ```
    pub fn try_acquire_owned(self: Arc<Self>) -> Option<OwnedSemaphorePermit> {
        self.try_acquire_many_owned(1)
    }

    /// Takes `n` permits as [`try_acquire_many`](Self::try_acquire_many) does, for a task that owns
    /// them.
    ///
    /// # Panics
    ///
    /// The same as [`try_acquire_many`](Self::try_acquire_many).
    #[track_caller]
    pub fn try_acquire_many_owned(self: Arc<Self>, n: usize) -> Option<OwnedSemaphorePermit> {
        self.try_take(n).then(|| OwnedSemaphorePermit { semaphore: self, n })
    }
}

impl OwnedSemaphorePermit {
    /// Keeps the permits from the semaphore permanently, or until
    /// [`add_permits`](Semaphore::add_permits) brings them back.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use trine::sync::Semaphore;
    ///
    /// let slots = Arc::new(Semaphore::new(2));
    /// slots.clone().acquire_owned().forget();
    /// assert_eq!(slots.available_permits(), 1);
    /// assert_eq!(Arc::strong_count(&slots), 1);
    /// ```
    pub fn forget(mut self) {
        self.n = 0;
    }

    /// Returns the number of these permits.
    pub fn permits(&self) -> usize {
        self.n
    }

    /// Returns the semaphore.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.permits.give(self.n as u64);
    }
}

impl fmt::Debug for OwnedSemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSemaphorePermit").field("permits", &self.n).finish()
    }
}
