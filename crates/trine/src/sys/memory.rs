//! Address space for stacks: reserved at once, resident page by page as it is touched.
//!
//! ```text
//!  low                                                                  high
//!  ┌───────┬───────────────┬───────┬───────────────┬───────┬───────────────┐
//!  │ guard │  stack 0    ← │ guard │  stack 1    ← │ guard │  stack 2    ← │   one Region
//!  └───────┴───────────────┴───────┴───────────────┴───────┴───────────────┘
//!  a stack grows downwards, towards its guard page; touching that page is a SIGSEGV
//! ```

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

/// How a guard page is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A marker in the page table (`MADV_GUARD_INSTALL`, Linux 6.13): the mapping stays whole.
    Marker,
    /// A page without access rights: splits the mapping, so each guard costs two of the
    /// `vm.max_map_count` mappings that a process may have.
    Mprotect,
}

/// `MADV_GUARD_INSTALL` of `<linux/mman.h>`; not yet named by `rustix` and `libc`.
const MADV_GUARD_INSTALL: i32 = 102;

/// A range of address space of this process, returned to the system on drop.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: a `Region` is an address range and no more; what lives in it has its own rules.
unsafe impl Send for Region {}

impl Region {
    /// Reserves `len` bytes (a multiple of the page size), readable and writable, none resident.
    pub(crate) fn reserve(len: usize) -> io::Result<Region> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags)
        }?;
        let region = Region { base: NonNull::new(base).expect("mmap does not return null"), len };
        // A transparent huge page would make 2 MiB resident for the first byte touched. Kernels
        // without huge pages answer EINVAL, which is as good.
        // SAFETY: the range is the mapping just made; the advice changes no contents.
        let _ = unsafe { mm::madvise(base, len, Advice::LinuxNoHugepage) };
        Ok(region)
    }

    /// The lowest address.
    pub(crate) fn base(&self) -> usize {
        self.base.as_ptr() as usize
    }

    /// Makes the page at `offset` a guard: any access to it is a SIGSEGV.
    pub(crate) fn guard(&self, offset: usize, how: Guard) -> io::Result<()> {
        let page = super::page_size();
        let at = self.at(offset, page);
        match how {
            Guard::Marker => {
                // SAFETY: the page lies in this mapping (`at` has checked) and nothing lives in it:
                // the caller hands out no memory of a guard page.
                if unsafe { libc::madvise(at, page, MADV_GUARD_INSTALL) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Guard::Mprotect => {
                // SAFETY: as above.
                unsafe { mm::mprotect(at, page, MprotectFlags::empty()) }?;
            }
        }
        Ok(())
    }

    /// Gives the pages of a range back to the system; they read as zero when touched again.
    ///
    /// # Safety
    ///
    /// Nobody may rely on the contents of the range.
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
        // SAFETY: the mapping is ours alone, and its owner drops it when nothing uses it any more.
        let _ = unsafe { mm::munmap(self.base.as_ptr(), self.len) };
    }
}

/// The end, the highest address, of the first thread's stack as the kernel lists it.
pub(crate) fn first_stack_end() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (_, rest) = line.split_once('-')?;
    usize::from_str_radix(rest.split(' ').next()?, 16).ok()
}

/// Whether this kernel has guard markers; asked once, by trying.
pub(crate) fn guard_markers_work() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        Region::reserve(super::page_size()).is_ok_and(|page| page.guard(0, Guard::Marker).is_ok())
    })
}

/// Says which limit of the system stood behind a refused mapping, and how to raise it.
pub(crate) fn explain_refusal(error: &io::Error) -> String {
    if error.raw_os_error() != Some(libc::ENOMEM) {
        return format!("the kernel refused memory for a stack: {error}");
    }
    let limit = read_number("/proc/sys/vm/max_map_count");
    let used = std::fs::read("/proc/self/maps")
        .map(|maps| maps.iter().filter(|&&byte| byte == b'\n').count() as u64)
        .ok();
    match (used, limit) {
        (Some(used), Some(limit)) if used + 8 >= limit => format!(
            "no more mappings for stacks: this process has {used} of the {limit} that \
             vm.max_map_count allows; raise it with `sysctl vm.max_map_count=N`, or use Linux 6.13 \
             or newer, where a guard page needs no mapping of its own"
        ),
        _ => format!(
            "no more address space for stacks: {error}; look at `ulimit -v`, the memory limit of \
             the control group and vm.overcommit_memory, or choose a smaller stack size"
        ),
    }
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
