//! Detects `fork` through a page that the kernel fills with zeroes in the copy of a process
//! (`MADV_WIPEONFORK`, Linux 4.14).
//!
//! A check is one load from that page and costs no system call. Three users:
//!
//! - [`generation`] numbers processes: a copy gets a number of its own at its first call.
//! - An [`Origin`] remembers the process in which threads were started. A copy does not have them.
//! - A [`Mark`] identifies the process that made it. The program that forks workers
//!   [prepares](prepare_worker_mark) a mark in advance, and each worker [renews](mark_worker) it.

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// A number that is 0 in a copy of the process that has written it. Its page is never unmapped.
#[derive(Clone, Copy, Debug)]
struct WipedOnFork(&'static AtomicU64);

impl WipedOnFork {
    /// Maps a page with the number 0.
    ///
    /// # Errors
    ///
    /// There is no memory, or the kernel is too old.
    fn new() -> io::Result<WipedOnFork> {
        let (len, access) = (crate::sys::page_size(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let page = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) }?;
        // SAFETY: the page was just mapped and holds nothing yet.
        if let Err(error) = unsafe { mm::madvise(page, len, Advice::LinuxWipeOnFork) } {
            // SAFETY: as above; nothing refers to the page.
            let _ = unsafe { mm::munmap(page, len) };
            return Err(error.into());
        }
        // SAFETY: the page was just mapped for reading and writing, and stays mapped, in copies of
        // the process as well. Zeroes are a valid number.
        Ok(WipedOnFork(unsafe { AtomicU64::from_ptr(page.cast()) }))
    }
}

/// Returns a number that differs from those of the processes that this process was forked from.
#[inline]
pub(crate) fn generation() -> u64 {
    static NUMBER: OnceLock<Option<WipedOnFork>> = OnceLock::new();
    let Some(WipedOnFork(number)) = NUMBER.get_or_init(|| WipedOnFork::new().ok()) else {
        return std::process::id().into();
    };
    match number.load(Relaxed) {
        0 => begin_generation(number),
        known => known,
    }
}

#[cold]
fn begin_generation(number: &AtomicU64) -> u64 {
    /// In an ordinary page: a copy of the process counts on from its parent's value.
    static PROCESSES: AtomicU64 = AtomicU64::new(1);
    let new = PROCESSES.fetch_add(1, Relaxed);
    number.compare_exchange(0, new, Relaxed, Relaxed).map_or_else(|known| known, |_| new)
}

/// The process in which threads were started.
#[derive(Debug, Default)]
pub(crate) struct Origin(AtomicU64);

impl Origin {
    pub(crate) const fn new() -> Origin {
        Origin(AtomicU64::new(0))
    }

    /// Notes that the calling process has the threads.
    pub(crate) fn note(&self) {
        self.0.store(generation(), Relaxed);
    }

    /// Returns true if the calling process is a copy of the process that has the threads.
    #[inline]
    pub(crate) fn is_elsewhere(&self) -> bool {
        let origin = self.0.load(Relaxed);
        origin != 0 && origin != generation()
    }
}

/// The process that runs trine's own threads, which serve all tasks: carriers, the service of
/// process tasks, and the like.
static THREADS: Origin = Origin::new();

/// Notes that the calling process has started a thread that serves all tasks.
pub(crate) fn note_thread() {
    THREADS.note();
}

/// Returns true if the calling process is a copy of one that had started trine's own threads, and
/// does not have them.
#[inline]
pub(crate) fn lacks_threads() -> bool {
    THREADS.is_elsewhere()
}

/// Has the calling process start threads of its own. It is a copy of one that had none any more.
pub(crate) fn begin_anew() {
    THREADS.0.store(0, Relaxed);
}

/// Explains that a copy of the program cannot have `what`.
pub(crate) fn explain(what: &str) -> String {
    format!(
        "this process was forked from one that had used trine already, and {what} only there; fork \
         before the first use of trine, or by `trine::process::fork`, which says if it is too late"
    )
}

/// A mark of the process that has made or renewed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(WipedOnFork);

impl Mark {
    /// Marks the calling process. Copies of it are detected from now on.
    ///
    /// # Errors
    ///
    /// There is no memory, or the kernel is too old.
    pub(crate) fn new() -> io::Result<Mark> {
        let mark = Mark(WipedOnFork::new()?);
        mark.renew();
        Ok(mark)
    }

    /// Marks the calling process instead of the one that has made the mark.
    pub(crate) fn renew(self) {
        self.0.0.store(1, Relaxed);
    }

    /// Returns true if the calling process is a copy of the marked process.
    pub(crate) fn is_in_copy(self) -> bool {
        self.0.0.load(Relaxed) == 0
    }
}

/// The mark of a worker, once there is one.
static WORKER: OnceLock<Mark> = OnceLock::new();

/// Makes the mark of workers, for the calling process and its copies. The process that forks the
/// workers calls this.
///
/// # Errors
///
/// There is no memory, or the kernel is too old.
pub(crate) fn prepare_worker_mark() -> io::Result<()> {
    let mark = Mark::new()?;
    WORKER.get_or_init(|| mark);
    Ok(())
}

/// Marks the calling process, a worker. Copies of it are detected from now on.
///
/// # Panics
///
/// [`prepare_worker_mark`] was called neither here nor in a process that this is a copy of.
pub(crate) fn mark_worker() {
    WORKER.get().expect("the mark is prepared before a worker is forked").renew();
}

/// Returns true if the calling process is a copy of a worker that has marked itself. May be called
/// from a signal handler.
pub(crate) fn is_copy_of_worker() -> bool {
    WORKER.get().is_some_and(|mark| mark.is_in_copy())
}
