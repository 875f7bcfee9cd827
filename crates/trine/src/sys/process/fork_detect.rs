//! Whether this process is a copy, made by `fork`, of one that has marked itself.
//!
//! The mark is a page that the kernel fills with zeroes in a copy (`MADV_WIPEONFORK`, Linux 4.14), so looking costs no
//! system call. A process whose copies mark themselves [prepares](prepare) the page, and they find it.

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// A mark of the process that has made it. Its page stays mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(&'static AtomicU8);

impl Mark {
    /// Marks the calling process; its copies are known from now on.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn new() -> io::Result<Mark> {
        let (len, access) = (crate::sys::page_size(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing, and nobody else uses it.
        let page = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) }?;
        // SAFETY: the page just mapped, in which nothing stands.
        if let Err(error) = unsafe { mm::madvise(page, len, Advice::LinuxWipeOnFork) } {
            // SAFETY: as above; nobody has seen it.
            let _ = unsafe { mm::munmap(page, len) };
            return Err(error.into());
        }
        // SAFETY: the page was just mapped, to be written, and stays, in copies as well.
        let mark = Mark(unsafe { AtomicU8::from_ptr(page.cast()) });
        mark.renew();
        Ok(mark)
    }

    /// Marks the calling process in place of the one that has made the mark, which may be the same.
    pub(crate) fn renew(self) {
        self.0.store(1, Relaxed);
    }

    /// Whether the process that has made the mark is another one, and this its copy.
    pub(crate) fn is_in_copy(self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

/// The mark of a worker, once there is one.
static WORKER: OnceLock<Mark> = OnceLock::new();

/// Makes the mark of workers, in the process that forks them, for the calling process and its copies.
///
/// # Errors
///
/// There is no memory, or the kernel is too old.
pub(crate) fn prepare() -> io::Result<()> {
    let mark = Mark::new()?;
    WORKER.get_or_init(|| mark);
    Ok(())
}

/// Marks the calling process, a worker; its copies are known from now on. Something [is prepared](prepare) here, or in the
/// process that this one is a copy of.
pub(crate) fn mark_original() {
    WORKER.get().expect("nobody has prepared a mark").renew();
}

/// Whether this is a copy of a worker that has marked itself. May be called from a signal handler.
pub(crate) fn is_one() -> bool {
    WORKER.get().is_some_and(|mark| mark.is_in_copy())
}
