//! Semaphores that processes share.
//!
//! | waiter | how it waits |
//! |---|---|
//! | a plain thread | on the shared word itself, and on the word that cancels the thread (`task::wait::for_word`) |
//! | a coroutine | a thread sleeps for all coroutines |
//! | a coroutine, before Linux 5.16 or where a sandbox forbids `futex_waitv` | looks again after 1 ms, then less often, up to 16 ms apart |
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`Semaphore`], [`SemaphorePermit`] |
//! | `state.rs` | the word in shared memory, and its transitions |
//! | `watch.rs` | the thread that sleeps for coroutines |
//! | `carried.rs` | sending a semaphore to another process |

mod carried;
mod state;
mod watch;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::watch::Registration;
use super::name;
use crate::reactor::Backoff;
use crate::sys::semaphore::{self as kernel, LONGEST_NAME, Memory};
use crate::task::{park, wait};
use state::Sleeper;

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
/// An unnamed semaphore is safe from this, because its memory is sealed.
#[derive(Clone)]
pub struct Semaphore {
    memory: Arc<Memory>,
    origin: Origin,
}

/// The way in which the semaphore was opened.
#[derive(Clone, Debug)]
enum Origin {
    /// By this name, with its slash.
    Named(Arc<str>),
    /// By this descriptor.
    Unnamed(Arc<OwnedFd>),
}

fn checked(name: &str) -> io::Result<(CString, String)> {
    name::checked("semaphore", name, LONGEST_NAME)
}

fn check(permits: u32) -> io::Result<()> {
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

    fn unnamed(memory: Memory, descriptor: OwnedFd) -> Semaphore {
        Semaphore { memory: Arc::new(memory), origin: Origin::Unnamed(Arc::new(descriptor)) }
    }

    fn named(memory: Memory, name: String) -> Semaphore {
        Semaphore { memory: Arc::new(memory), origin: Origin::Named(name.into()) }
    }

    /// Opens the existing semaphore `name`. The leading slash that C requires is optional.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// let error = Semaphore::open("no-such-semaphore").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the name is empty, `.` or `..`, longer than 251 bytes, or contains a NUL
    ///   or a slash that does not lead it.
    /// - `NotFound`.
    /// - `PermissionDenied`: its mode does not let this user read and write it.
    /// - `InvalidData`: the name is not that of a semaphore of a 64-bit program.
    /// - `StorageFull`: `/dev/shm` is full, and the file was made without its memory.
    /// - No descriptor or memory is left.
    pub fn open(name: impl AsRef<str>) -> io::Result<Semaphore> {
        let (name, shown) = checked(name.as_ref())?;
        match Memory::open(&name) {
            Ok(memory) => Ok(Semaphore::named(memory, shown)),
            Err(error) => Err(kernel::explain(&format!("open the semaphore {shown}"), error)),
        }
    }

    /// Opens the semaphore `name`, or creates it: with `permits` free permits, and with the file
    /// permissions `mode`, less the process's umask.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// # let name = format!("trine-doc-create-{}", std::process::id());
    /// let one = Semaphore::create(&name, 0o600, 3)?;
    /// let other = Semaphore::create(&name, 0o600, 9)?; // opens the first one
    /// Semaphore::unlink(&name)?;
    /// assert_eq!(other.available(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`open`](Self::open) and [`create_new`](Self::create_new) do, but for `NotFound`
    /// and `AlreadyExists`.
    pub fn create(name: impl AsRef<str>, mode: u32, permits: u32) -> io::Result<Semaphore> {
        let name = name.as_ref();
        check(permits)?;
        // Repeats only if another process has unlinked or created it in between.
        loop {
            match Semaphore::open(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match Semaphore::create_new(name, mode, permits) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created,
            }
        }
    }

    /// Creates the semaphore `name`, which must not exist, as [`create`](Self::create) does.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// # let name = format!("trine-doc-create-new-{}", std::process::id());
    /// let semaphore = Semaphore::create_new(&name, 0o600, 1)?;
    /// let error = Semaphore::create_new(&name, 0o600, 1).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// # Semaphore::unlink(&name)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `AlreadyExists`.
    /// - `InvalidInput`: the name is invalid, as for [`open`](Self::open), or there are too many
    ///   permits.
    /// - `StorageFull`: `/dev/shm` is full.
    /// - `PermissionDenied`: `/dev/shm` is not writable.
    /// - No descriptor or memory is left.
    pub fn create_new(name: impl AsRef<str>, mode: u32, permits: u32) -> io::Result<Semaphore> {
        let (name, shown) = checked(name.as_ref())?;
        check(permits)?;
        match Memory::create_named(&name, mode, permits) {
            Ok(memory) => Ok(Semaphore::named(memory, shown)),
            Err(error) => Err(kernel::explain(&format!("create the semaphore {shown}"), error)),
        }
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

    /// Takes a permit, and waits for it for at most `timeout`. A timeout beyond the clock's range
    /// never ends.
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
        self.acquire_until(Instant::now().checked_add(timeout))
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
        state::available(&self.memory)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Semaphore");
        if let Origin::Named(name) = &self.origin {
            shown.field("name", name);
        }
        shown.field("available", &self.available()).finish_non_exhaustive()
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
