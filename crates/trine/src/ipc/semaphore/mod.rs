//! Semaphores that processes share.
//!
//! | who waits | how |
//! |---|---|
//! | a plain thread | on the shared word itself, beside the word by which it is cancelled (`wait::for_word`) |
//! | a coroutine | a thread sleeps for all of them (`watch.rs`) |
//! | a coroutine, where the kernel is older than 5.16 or a sandbox forbids `futex_waitv` | looks again after 1 ms, then later, up to 16 |

mod carried;
mod state;
mod watch;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::watch::Watching;
use super::name;
use super::pauses::Pauses;
use crate::sys::semaphore::{self as kernel, LONGEST_NAME, Memory};
use crate::task::{park, wait};
use state::Sleeper;

/// A number of permits that several processes share.
///
/// A named one can be opened by any program, and is what `sem_open(3)` of the GNU C library and Python's
/// `multiprocessing` open by the same name. An unnamed one ([`new`](Self::new)) travels to other processes as an argument or result of
/// a process task, or as its descriptor.
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
/// Within one process, [`sync::Semaphore`](crate::sync::Semaphore) is faster and fair. Here nobody has a turn: whoever comes when a
/// permit is free takes it.
///
/// # What ends with a process, and what does not
///
/// The permits of a process that ends, however it ends, are not given back: POSIX knows nobody who holds a
/// permit. One that is killed just when it is woken takes the wake-up along, and the next
/// [`release`](Self::release) wakes the next waiter. A named semaphore and its permits stay until the machine is restarted, also without any process,
/// unless somebody [`unlink`](Self::unlink)s it. A [`SemaphorePermit`] is given back when a task panics or is cancelled.
///
/// # What others can do
///
/// Whoever may open a named semaphore may give and take permits at will, also impossible numbers of them, and thereby make others
/// wait or not; that is never undefined here. But a process that may write the file may also truncate
/// it, and then each process that uses the semaphore ends by SIGBUS, as with `sem_open`; give it a `mode` for those who
/// are trusted. Nobody can do that to an unnamed one: its memory is sealed.
#[derive(Clone)]
pub struct Semaphore {
    memory: Arc<Memory>,
    origin: Origin,
}

/// Where it is from.
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
        let text = format!("a semaphore has at most {most} permits, and not {permits}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

impl Semaphore {
    /// The largest number of permits that can be free: 2³¹ - 1.
    pub const MAX_PERMITS: u32 = state::MOST;

    /// A semaphore without a name, with `permits` to begin with, in memory of its own: it goes when the last
    /// process that has it lets go of it.
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
    /// `InvalidInput`: too many permits. No descriptor or no memory.
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

    /// Opens the semaphore `name`, which is there. The slash in front that C wants may be left out.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: a name that is empty, `.` or `..`, longer than 251 bytes, or has a slash elsewhere or a NUL.
    /// - `NotFound`; `PermissionDenied`: the mode does not let this user read and write it.
    /// - `InvalidData`: what has the name is no semaphore of a 64-bit program.
    /// - `StorageFull`: `/dev/shm` is full, and somebody has made the file without its memory.
    /// - No descriptor or no memory.
    pub fn open(name: impl AsRef<str>) -> io::Result<Semaphore> {
        let (name, shown) = checked(name.as_ref())?;
        match Memory::open(&name) {
            Ok(memory) => Ok(Semaphore::named(memory, shown)),
            Err(error) => Err(kernel::explain(&format!("open the semaphore {shown}"), error)),
        }
    }

    /// Opens the semaphore `name`; if there is none, creates it with `permits` to begin with, for those whom
    /// `mode`, less the mask of the process, allows to read and write.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`create_new`](Self::create_new), but for `NotFound` and
    /// `AlreadyExists`.
    pub fn create(name: impl AsRef<str>, mode: u32, permits: u32) -> io::Result<Semaphore> {
        let name = name.as_ref();
        check(permits)?;
        // Each turn is somebody else's having unlinked or created it in between.
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

    /// As [`create`](Self::create), if there is none.
    ///
    /// # Errors
    ///
    /// - `AlreadyExists`.
    /// - `InvalidInput`: the name, as for [`open`](Self::open); too many permits.
    /// - `StorageFull`: `/dev/shm` is full. `PermissionDenied`: it may not be written.
    /// - No descriptor or no memory.
    pub fn create_new(name: impl AsRef<str>, mode: u32, permits: u32) -> io::Result<Semaphore> {
        let (name, shown) = checked(name.as_ref())?;
        check(permits)?;
        match Memory::create_named(&name, mode, permits) {
            Ok(memory) => Ok(Semaphore::named(memory, shown)),
            Err(error) => Err(kernel::explain(&format!("create the semaphore {shown}"), error)),
        }
    }

    /// Removes the name. Who has the semaphore open keeps it; the next to create the name makes another
    /// one.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no name, `NotFound`, `PermissionDenied` for somebody else's.
    pub fn unlink(name: impl AsRef<str>) -> io::Result<()> {
        let (name, shown) = checked(name.as_ref())?;
        kernel::unlink(&name)
            .map_err(|error| kernel::explain(&format!("unlink the semaphore {shown}"), error))
    }

    /// Takes a permit, waiting for it. It is given back by [`release`](Self::release), by whomever.
    ///
    /// # Errors
    ///
    /// What interrupts the caller; no permit was taken then.
    pub fn acquire(&self) -> io::Result<()> {
        self.acquire_until(None)
    }

    /// As [`acquire`](Self::acquire), waiting for at most `timeout`. One beyond what the clock can count waits for
    /// good.
    ///
    /// # Errors
    ///
    /// `TimedOut`; else as `acquire`.
    pub fn acquire_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.acquire_until(Instant::now().checked_add(timeout))
    }

    /// Takes a permit if one is free.
    #[must_use = "whether it was taken"]
    pub fn try_acquire(&self) -> bool {
        state::try_take(&self.memory)
    }

    /// Takes a permit, waiting for it, which is given back when the guard is dropped.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_permit(&self) -> io::Result<SemaphorePermit<'_>> {
        self.acquire()?;
        Ok(SemaphorePermit { semaphore: self })
    }

    fn acquire_until(&self, deadline: Option<Instant>) -> io::Result<()> {
        if self.try_acquire() {
            return Ok(());
        }
        // Dropped in the opposite order: only who is not watched any more passes a wake-up on.
        let mut sleeper = Sleeper::new(&self.memory);
        let mut watching = Watching::new(&self.memory);
        let mut pauses = Pauses::new(deadline);
        loop {
            let waited = if park::is_plain_thread() {
                wait::for_word(self.memory.futex(), 0, deadline).map_err(io::Error::from)
            } else if watching.arm() {
                wait::for_wake(deadline).map_err(io::Error::from)
            } else {
                pauses.wait()
            };
            // Also if the wait was interrupted: what has come is not left.
            if sleeper.take() {
                return Ok(());
            }
            waited?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Gives `n` permits, and wakes as many of those who wait, in all processes.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: more than [`MAX_PERMITS`](Self::MAX_PERMITS) would be free; none was given.
    pub fn release(&self, n: u32) -> io::Result<()> {
        if state::give(&self.memory, n) {
            return Ok(());
        }
        let (there, most) = (self.available(), Semaphore::MAX_PERMITS);
        let text =
            format!("a semaphore with {there} free permits takes no {n} more: {most} is the most");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// How many permits are free at the moment.
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

/// A permit of a [`Semaphore`]; dropped, it is given back.
#[must_use = "a permit that is not kept is given back at once"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
}

impl SemaphorePermit<'_> {
    /// Keeps the permit from the semaphore until somebody [`release`](Semaphore::release)s one.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        // It finds no room if others have released what they had not taken.
        state::give(&self.semaphore.memory, 1);
    }
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SemaphorePermit").field(self.semaphore).finish()
    }
}
