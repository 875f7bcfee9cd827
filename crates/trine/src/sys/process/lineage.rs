//! Whether this process is still the one that it was: a copy of it that somebody has forked is another.

use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// A number that the kernel makes zero in a forked process.
struct Page(NonNull<AtomicU64>);

// SAFETY: an atomic number in memory that is never freed.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

/// A number of this process that differs from those of the processes that it was forked off.
#[inline]
pub(crate) fn current() -> u64 {
    static PAGE: OnceLock<Option<Page>> = OnceLock::new();
    let Some(Page(page)) = PAGE.get_or_init(Page::new) else {
        return std::process::id().into();
    };
    // SAFETY: mapped for good; zeroes are a number.
    let number = unsafe { page.as_ref() };
    match number.load(Relaxed) {
        0 => begin(number),
        known => known,
    }
}

#[cold]
fn begin(number: &AtomicU64) -> u64 {
    /// Not made zero: a forked process goes on counting.
    static PROCESSES: AtomicU64 = AtomicU64::new(1);
    let new = PROCESSES.fetch_add(1, Relaxed);
    number.compare_exchange(0, new, Relaxed, Relaxed).map_or_else(|known| known, |_| new)
}

impl Page {
    fn new() -> Option<Page> {
        let (len, access) = (crate::sys::page_size(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing; the advice is about its own pages.
        unsafe {
            let page = mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE).ok()?;
            mm::madvise(page, len, Advice::LinuxWipeOnFork).ok()?;
            NonNull::new(page.cast()).map(Page)
        }
    }
}
