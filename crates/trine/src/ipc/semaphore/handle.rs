//! The semaphore: taking and releasing permits.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{self, Sleeper};
use super::watch::Registration;
use crate::reactor::Backoff;
use crate::sys::semaphore::{self as kernel, LONGEST_NAME, Memory};
use crate::task::{budget, park, wait};

/// A number of permits that several processes share.
///
/// Any program can open a named semaphore: it is the one that `sem_open(3)` of the GNU C library
/// and Python's `multiprocessing` open by the same name. An unnamed one ([`new`](Self::new))
/// travels to other processes as an argument or result of a process task, or as its descriptor.
///
/// ```
/// use trine::{coroutine, ipc::Semaphore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("trine-doc-semaphore-{}", std::process::id());
/// let jobs = Semaphore::create_new(&name, 0o600, 0)?;
///
/// let same = Semaphore::open(&name)?; // in any program
/// let worker = coroutine::spawn(move || same.acquire());
///
/// jobs.release(1)?;
/// worker.join()??;
/// Semaphore::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
///
/// Within one process, [`sync::Semaphore`](crate::sync::Semaphore) is faster and fair. This one is
/// not fair: the first task that comes when a permit is free takes it.
///
/// # After the end of a process
///
/// Permits of a process that has ended are not returned, because POSIX does not record the holders
/// of permits. A process that is killed just when it is woken consumes the wake-up; the next
/// [`release`](Self::release) wakes the next waiter. A named semaphore and its permits persist
/// without any process, until a program [`unlink`](Self::unlink)s it or the machine restarts. When
/// a task panics or is cancelled, its [`SemaphorePermit`] is returned.
///
/// # Other programs
///
/// A program that may open a named semaphore can take and release permits at will, also in
/// impossible numbers, and so make others wait or not. This never causes undefined behaviour. But a
/// process that may write the file may also truncate it, and then each process that uses the
/// semaphore is killed by SIGBUS, as with `sem_open`. So give it a `mode` for trusted users only.
/// An existing one of another user than root is refused unless [`any_owner`] accepts it. An unnamed
/// semaphore is safe from this, because its memory is sealed.
///
/// [`any_owner`]: super::SemaphoreOptions::any_owner
#[derive(Clone)]
pub struct Semaphore {
    memory: Arc<Memory>,
    pub(super) origin: Origin,
}

/// The way in which the semaphore was opened.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// By this name, with its slash.
    Named(Arc<str>),
    /// By this descriptor.
    Unnamed(Arc<OwnedFd>),
}

pub(super) fn checked(name: &str) -> io::Result<(CString, String)> {
    crate::ipc::name::checked("semaphore", name, LONGEST_NAME)
}

pub(super) fn check(permits: u32) -> io::Result<()> {
    if permits > Semaphore::MAX_PERMITS {
        let most = Semaphore::MAX_PERMITS;
        let text = format!("a semaphore has at most {most} permits, not {permits}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

impl Semaphore {
    /// The largest number of free permits: 2³¹ - 1.
    pub const MAX_PERMITS: u32 = state::MAX_PERMITS;

    /// Creates an unnamed semaphore with `permits` free permits. Its memory is freed when the last
    /// process has dropped it.
    ///
    /// ```
    /// use trine::{ipc::Semaphore, thread};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let free = Semaphore::new(2)?;
    /// let same = free.clone();
    /// let task = thread::spawn(move || -> std::io::Result<u32> {
    ///     let _permit = same.acquire_permit()?;
    ///     Ok(same.available())
    /// });
    /// assert_eq!(task.join()??, 1);
    /// assert_eq!(free.available(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` for too many permits, and if no descriptor or memory is left.
    pub fn new(permits: u32) -> io::Result<Semaphore> {
        check(permits)?;
        let (memory, descriptor) = Memory::create(permits)?;
        Ok(Semaphore::unnamed(memory, descriptor))
    }

    pub(super) fn unnamed(memory: Memory, descriptor: OwnedFd) -> Semaphore {
        Semaphore { memory: Arc::new(memory), origin: Origin::Unnamed(Arc::new(descriptor)) }
    }

    pub(super) fn named(memory: Memory, name: String) -> Semaphore {
        Semaphore { memory: Arc::new(memory), origin: Origin::Named(name.into()) }
    }

    /// Removes the name. Programs that have the semaphore open keep it; the next one that creates
    /// the name gets a new semaphore.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// # let name = format!("trine-doc-unlink-{}", std::process::id());
    /// let kept = Semaphore::create_new(&name, 0o600, 1)?;
    /// Semaphore::unlink(&name)?;
    /// assert!(Semaphore::open(&name).is_err());
    /// assert!(kept.try_acquire());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` for an invalid name, with `NotFound`, and with `PermissionDenied`
    /// for another user's semaphore.
    pub fn unlink(name: impl AsRef<str>) -> io::Result<()> {
        let (name, shown) = checked(name.as_ref())?;
        kernel::unlink(&name)
            .map_err(|error| kernel::explain(&format!("unlink the semaphore {shown}"), error))
    }

    /// Takes a permit, and waits for it. Any task of any process can [`release`](Self::release) it
    /// again.
    ///
    /// ```
    /// use trine::{coroutine, ipc::Semaphore};
    ///
    /// let semaphore = Semaphore::new(0)?;
    /// let same = semaphore.clone();
    /// let waiter = coroutine::spawn(move || same.acquire());
    /// semaphore.release(1)?;
    /// waiter.join().unwrap()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails when the caller is interrupted; no permit was taken then.
    pub fn acquire(&self) -> io::Result<()> {
        self.acquire_until(None)
    }

    /// Takes a permit, and waits for it for at most `timeout`; zero only looks. A timeout beyond
    /// the clock's range never ends.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    /// use trine::ipc::Semaphore;
    ///
    /// let semaphore = Semaphore::new(0)?;
    /// let error = semaphore.acquire_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`acquire`](Self::acquire) does.
    pub fn acquire_timeout(&self, timeout: Duration) -> io::Result<()> {
        if !timeout.is_zero() {
            return self.acquire_until(Instant::now().checked_add(timeout));
        }
        match self.try_acquire() {
            true => Ok(()),
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Takes a permit if one is free; returns true if it did.
    ///
    /// ```
    /// let semaphore = trine::ipc::Semaphore::new(1)?;
    /// assert!(semaphore.try_acquire());
    /// assert!(!semaphore.try_acquire());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use = "whether it was taken"]
    pub fn try_acquire(&self) -> bool {
        budget::spend();
        state::try_take(&self.memory)
    }

    /// Takes a permit, and waits for it. Dropping the guard returns the permit.
    ///
    /// ```
    /// let slots = trine::ipc::Semaphore::new(2)?;
    /// let slot = slots.acquire_permit()?;
    /// assert_eq!(slots.available(), 1);
    /// drop(slot);
    /// assert_eq!(slots.available(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`acquire`](Self::acquire) does.
    pub fn acquire_permit(&self) -> io::Result<SemaphorePermit<'_>> {
        self.acquire()?;
        Ok(SemaphorePermit { semaphore: self })
    }

    fn acquire_until(&self, deadline: Option<Instant>) -> io::Result<()> {
        if self.try_acquire() {
            return Ok(());
        }
        // Dropped in reverse order: a waiter passes a wake-up on only after it has left the
        // watcher.
        let mut sleeper = Sleeper::new(&self.memory);
        let mut registration = Registration::new(&self.memory);
        let mut backoff = Backoff::slow(deadline);
        loop {
            let waited = if park::is_plain_thread() {
                wait::for_word(self.memory.futex(), 0, deadline).map_err(io::Error::from)
            } else if registration.arm() {
                wait::for_wake(deadline).map_err(io::Error::from)
            } else {
                backoff.wait()
            };
            // Also after an interrupted wait: a permit that has come is not left.
            if sleeper.take() {
                return Ok(());
            }
            waited?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Returns `n` permits, and wakes as many waiters, in all processes.
    ///
    /// ```
    /// let semaphore = trine::ipc::Semaphore::new(0)?;
    /// semaphore.release(2)?;
    /// assert_eq!(semaphore.available(), 2);
    /// assert!(semaphore.release(u32::MAX).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if more than [`MAX_PERMITS`](Self::MAX_PERMITS) would be free;
    /// none was returned then.
    pub fn release(&self, n: u32) -> io::Result<()> {
        if state::release(&self.memory, n) {
            return Ok(());
        }
        let (there, most) = (self.available(), Semaphore::MAX_PERMITS);
        let text = format!(
            "a semaphore with {there} free permits cannot take {n} more: {most} is the most"
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// Returns the number of permits that are free now.
    ///
    /// ```
    /// let slots = trine::ipc::Semaphore::new(2)?;
    /// slots.release(3)?;
    /// assert_eq!(slots.available(), 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn available(&self) -> u32 {
        budget::spend();
        state::available(&self.memory)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Semaphore");
        if let Origin::Named(name) = &self.origin {
            shown.field("name", name);
        }
        shown.field("available", &state::available(&self.memory)).finish_non_exhaustive()
    }
}

/// A permit of a [`Semaphore`]. Dropping it returns the permit.
///
/// ```
/// let semaphore = trine::ipc::Semaphore::new(1)?;
/// let permit = semaphore.acquire_permit()?;
/// assert_eq!(semaphore.available(), 0);
/// drop(permit);
/// assert_eq!(semaphore.available(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a permit that is not kept is given back at once"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
}

impl SemaphorePermit<'_> {
    /// Keeps the permit taken: it stays so until a task [`release`](Semaphore::release)s one.
    ///
    /// ```
    /// let semaphore = trine::ipc::Semaphore::new(1)?;
    /// semaphore.acquire_permit()?.forget();
    /// assert_eq!(semaphore.available(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        // Fails if others have released permits that they had not taken, so that there is no room.
        state::release(&self.semaphore.memory, 1);
    }
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SemaphorePermit").field(self.semaphore).finish()
    }
}
