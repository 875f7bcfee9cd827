//! Address space for stacks: reserved at once, resident page by page as it is touched.
//!
//! ```text
//!  low                                                                  high
//!  ┌───────┬───────────────┬───────┬───────────────┬───────┬───────────────┐
//!  │ guard │  stack 0    ← │ guard │  stack 1    ← │ guard │  stack 2    ← │   one Region
//!  └───────┴───────────────┴───────┴───────────────┴───────┴───────────────┘
//!  a stack grows downwards, towards its guard; touching that is a SIGSEGV
//! ```

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

use crate::sys::process::image;

/// The way a guard is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Markers in the page table (`MADV_GUARD_INSTALL`, Linux 6.13): the mapping stays whole.
    Marker,
    /// Pages without access rights. They split the mapping, so each guard costs two of the
    /// `vm.max_map_count` mappings that a process may have.
    Mprotect,
}

/// `MADV_GUARD_INSTALL` of `<linux/mman.h>`; `rustix` and `libc` do not have it yet.
const MADV_GUARD_INSTALL: i32 = 102;

/// The number of guards made by `mprotect` in all mapped regions.
static SPLITTING_GUARDS: AtomicUsize = AtomicUsize::new(0);

/// A range of address space of this process, returned to the system on drop.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<c_void>,
    len: usize,
    /// The number of its guards made by `mprotect`.
    splitting_guards: usize,
}

// SAFETY: a `Region` is an address range and no more; its contents have their own rules.
unsafe impl Send for Region {}

impl Region {
    /// Reserves `len` bytes (a multiple of the page size), readable and writable, none resident.
    pub(crate) fn reserve(len: usize) -> io::Result<Region> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags)
        }?;
        let base_pointer = NonNull::new(base).expect("mmap does not return null");
        let region = Region { base: base_pointer, len, splitting_guards: 0 };
        // A transparent huge page would make 2 MiB resident for the first byte touched. Kernels
        // without huge pages return EINVAL, which is as good. SAFETY: the range is the mapping just
        // made; the advice changes no contents.
        let _ = unsafe { mm::madvise(base, len, Advice::LinuxNoHugepage) };
        Ok(region)
    }

    /// The lowest address.
    pub(crate) fn base(&self) -> usize {
        self.base.as_ptr() as usize
    }

    /// Makes the `len` bytes at `offset` (whole pages) a guard: any access to it is a SIGSEGV.
    pub(crate) fn guard(&mut self, offset: usize, len: usize, how: Guard) -> io::Result<()> {
        let at = self.at(offset, len);
        match how {
            Guard::Marker => {
                // SAFETY: the pages lie in this mapping (`at` has checked) and hold nothing: the
                // caller hands out no memory of a guard.
                if unsafe { libc::madvise(at, len, MADV_GUARD_INSTALL) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Guard::Mprotect => {
                if mappings_are_short() {
                    return Err(io::Error::from_raw_os_error(libc::ENOMEM));
                }
                // SAFETY: as above.
                unsafe { mm::mprotect(at, len, MprotectFlags::empty()) }?;
                self.splitting_guards += 1;
                SPLITTING_GUARDS.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    /// Returns the pages of a range to the system; they read as zero when touched again.
    ///
    /// # Safety
    ///
    /// No code relies on the contents of the range.
    pub(crate) unsafe fn discard(&self, offset: usize, len: usize) {
        let at = self.at(offset, len);
        // SAFETY: the range lies in this mapping, and the caller gives its contents up. Guard
        // markers and page protection survive (madvise(2)).
        let _ = unsafe { mm::madvise(at, len, Advice::LinuxDontNeed) };
    }

    fn at(&self, offset: usize, len: usize) -> *mut c_void {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        self.base.as_ptr().wrapping_byte_add(offset)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value alone, and its owner drops it after the last
        // use.
        let _ = unsafe { mm::munmap(self.base.as_ptr(), self.len) };
        if self.splitting_guards > 0 {
            SPLITTING_GUARDS.fetch_sub(self.splitting_guards, Relaxed);
        }
    }
}

/// Returns the end, the highest address, of the first thread's stack according to the kernel.
pub(crate) fn first_stack_end() -> Option<usize> {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        // The kernel puts this string at the end of the stack, before one word.
        let (start, len) = image::started_as_at()?;
        return Some((start + len).next_multiple_of(crate::sys::page_size()));
    };
    let line = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (_, rest) = line.split_once('-')?;
    usize::from_str_radix(rest.split(' ').next()?, 16).ok()
}

/// Returns true if this kernel has guard markers; tries it once.
pub(crate) fn guard_markers_work() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let page = crate::sys::page_size();
        Region::reserve(page).is_ok_and(|mut region| region.guard(0, page, Guard::Marker).is_ok())
    })
}

/// Returns how many mappings a process may have, if that can be read.
fn most_mappings() -> Option<usize> {
    static MOST: OnceLock<Option<usize>> = OnceLock::new();
    *MOST.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
    })
}

/// Returns true if guards by `mprotect` have taken 7/8 of the mappings that this process may have.
/// The rest is left to the program: an allocator that gets no mapping ends it.
fn mappings_are_short() -> bool {
    most_mappings().is_some_and(|most| 2 * SPLITTING_GUARDS.load(Relaxed) >= most / 8 * 7)
}

/// Explains which limit of the system caused the refusal of a mapping, and how to raise it. Cheap
/// enough to be called for each of a million refusals.
pub(crate) fn explain_refusal(error: &io::Error) -> String {
    if error.raw_os_error() != Some(libc::ENOMEM) {
        return format!("the kernel refused memory for a stack: {error}");
    }
    match most_mappings() {
        Some(most) if mappings_are_short() => format!(
            "no more mappings for stacks: {} guards use up most of the {most} mappings that \
             vm.max_map_count allows a process; raise it with `sysctl vm.max_map_count=N`, or use \
             Linux 6.13 or newer, where a guard needs no mapping of its own",
            SPLITTING_GUARDS.load(Relaxed)
        ),
        _ => format!(
            "no more address space for stacks: {error}; look at `ulimit -v`, the memory limit of \
             the control group and vm.overcommit_memory, or choose a smaller stack size"
        ),
    }
}
