//! The stacks of one carrier: cut from slabs of address space, taken at a first run, reused last-in
//! first-out.
//!
//! ```text
//!   slab: 64 slots in one mapping
//!   ┌─────────────── slot ───────────────┐┌─────────────── slot ───────────────┐
//!   │guard│       not resident       │top ││guard│                        │top  │ …
//!   └─────┴──────────────────────────┴──┬─┘└─────┴────────────────────────┴──┬──┘
//!         ↑ limit                       └ staggered: the tops of different slots fall into
//!         └ TRINE_STACK_SIZE ─────────────┘  different sets of the first-level cache
//! ```
//!
//! The guard lies below the size that the program has asked for. It is as large as the frames of C
//! code: C is compiled without probes, and a frame may step over a guard of its own size.
//!
//! The uppermost [`RESERVED`] bytes hold the carrier's data of the running coroutine (`fiber.rs`).
//! They are next to the registers that a switch saves, so that a switch touches few lines.
//!
//! Only touched pages use memory. A finished coroutine's stack keeps its pages warm for the next
//! one. A carrier that has been idle for a while gives back the memory of its free stacks
//! ([`StackCache::trim`]).
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | the stacks of one carrier or thread |
//! | `current.rs` | the calling thread's |
//! | `thread.rs` | stacks for generators, on any thread; the end of a thread |
//! | `overflow.rs` | the report of an overflow |
//! | `room.rs` | a larger stack for the report of a panic |

mod current;
pub(super) mod overflow;
mod room;
pub(super) mod thread;

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use corosensei::stack::{Stack, StackPointer};

use crate::config::{self, MAX_STACK_SIZE, MIN_STACK_SIZE};
use crate::sys;
use crate::sys::memory::stacks::{self, Guard, Region};

/// The number of stacks cut from one mapping.
const SLOTS: usize = 64;

/// The number of different positions of a stack's top, one cache line apart. Page-aligned tops
/// would all share the same few sets of a cache whose ways are a page (most first-level caches).
const STAGGER: usize = 16;
const CACHE_LINE: usize = 64;

/// The bytes at the top of each stack that are not the coroutine's.
pub(in crate::coroutine) const RESERVED: usize = 2 * CACHE_LINE;

/// The least size of the guard below a stack. Common libraries of C have buffers of 8 to 32 KiB in
/// their frames. It is address space only.
const GUARD: usize = 64 * 1024;

/// The number of free stacks that stay warm through a trim: those that are reused first.
const KEEP_WARM: usize = 16;

/// The number of free stacks that may hold memory on a thread without idle moments.
const MOST_WARM: usize = 256;

/// The bytes that a trim leaves of each warm stack. Deeper pages come from a single deep chain of
/// calls.
const KEEP_BYTES: usize = 8 * 1024;

/// The stack of one coroutine. Released with [`StackCache::release`], not by dropping.
#[derive(Debug)]
pub(in crate::coroutine) struct CoStack {
    top: NonZeroUsize,
    limit: NonZeroUsize,
    source: Source,
}

impl CoStack {
    /// Returns the [`RESERVED`] bytes at the top, aligned to a cache line, for the stack's owner.
    pub(in crate::coroutine) fn reserved(&self) -> *mut u8 {
        (self.top.get() - RESERVED) as *mut u8
    }
}

#[derive(Debug)]
enum Source {
    /// The number of the slot among the carrier's.
    Slot(u32),
    /// A dedicated mapping, for a stack of a size of its own.
    Dedicated { _region: Box<Region> },
}

// SAFETY: `top` and `limit` are the bounds of a mapping that only this stack's owner uses until the
// stack is released. They are at least 15 KiB apart and aligned to 64, as is `RESERVED`. A guard
// lies below `limit`.
unsafe impl Stack for CoStack {
    #[inline]
    fn base(&self) -> StackPointer {
        // Never 0: a stack is larger than its reserved part.
        NonZeroUsize::new(self.top.get() - RESERVED).expect("within the stack")
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// The stacks of one carrier, or of one thread without a carrier.
pub(in crate::coroutine) struct StackCache {
    /// The bytes of a slot above its guard.
    stack_size: usize,
    guard: Guard,
    slabs: Vec<Slab>,
    /// Slots that were in use and are free now: their guard is in place.
    free: Vec<u32>,
    /// The number of slots at the bottom of `free` that are known to hold no memory.
    cold: usize,
}

struct Slab {
    region: Region,
    counts: Arc<Counts>,
}

/// Written by the cache's thread only, read by [`stats`].
#[derive(Default)]
struct Counts {
    /// Slots that were ever taken, from the lowest; these have their guard.
    opened: AtomicUsize,
    /// Slots in use.
    used: AtomicUsize,
}

/// The counts of all slabs.
static SLABS: Mutex<Vec<Weak<Counts>>> = Mutex::new(Vec::new());
/// The number of stacks in use with a dedicated mapping.
static DEDICATED: AtomicUsize = AtomicUsize::new(0);

impl Slab {
    fn new(region: Region) -> Slab {
        let counts = Arc::default();
        SLABS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&counts));
        Slab { region, counts }
    }

    fn opened(&self) -> usize {
        self.counts.opened.load(Relaxed)
    }

    fn used(&self) -> usize {
        self.counts.used.load(Relaxed)
    }

    /// Stores without a read-modify-write: there is only one writer.
    #[inline]
    fn set_used(&self, used: usize) {
        self.counts.used.store(used, Relaxed);
    }
}

/// The number of stacks of all threads; see [`stack_stats`](super::stack_stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackStats {
    /// Stacks that a coroutine or generator has.
    pub in_use: usize,
    /// Stacks that were in use and are free.
    pub free: usize,
    /// Mappings of 64 stacks each, kept permanently.
    pub slabs: usize,
}

pub(in crate::coroutine) fn stats() -> StackStats {
    let mut slabs = SLABS.lock().unwrap_or_else(PoisonError::into_inner);
    slabs.retain(|slab| slab.strong_count() > 0);
    let mut stats = StackStats { in_use: DEDICATED.load(Relaxed), ..StackStats::default() };
    for counts in slabs.iter().filter_map(Weak::upgrade) {
        let used = counts.used.load(Relaxed);
        stats.in_use += used;
        stats.free += counts.opened.load(Relaxed).saturating_sub(used);
        stats.slabs += 1;
    }
    stats
}

/// Rounds a requested size to whole pages within the bounds.
pub(in crate::coroutine) fn round_size(bytes: usize) -> usize {
    let page = sys::page_size();
    bytes.clamp(MIN_STACK_SIZE.max(4 * page), MAX_STACK_SIZE).next_multiple_of(page)
}

/// Returns the size of the guard below a stack of `size` bytes, which makes the distance of stacks
/// an odd number of pages. Tops at a distance of a power of two would share the same few sets of
/// every cache, whatever their stagger within a page.
pub(super) fn guard_size(size: usize) -> usize {
    let page = sys::page_size();
    let guard = GUARD.next_multiple_of(page);
    if ((size + guard) / page).is_multiple_of(2) { guard + page } else { guard }
}

/// Returns the way in which guards are made.
fn guard_kind() -> Guard {
    let markers = !config::settings().mprotect_guards && stacks::guard_markers_work();
    if markers { Guard::Marker } else { Guard::Mprotect }
}

impl StackCache {
    pub(in crate::coroutine) fn new() -> StackCache {
        StackCache {
            stack_size: round_size(config::settings().stack_size),
            guard: guard_kind(),
            slabs: Vec::new(),
            free: Vec::new(),
            cold: 0,
        }
    }

    /// Takes a stack of the usual size, or of `size` bytes.
    ///
    /// # Errors
    ///
    /// A text that names the exceeded limit and the remedy.
    #[inline]
    pub(in crate::coroutine) fn take(
        &mut self,
        size: Option<NonZeroUsize>,
    ) -> Result<CoStack, String> {
        if let Some(size) = size {
            let size = round_size(size.get());
            if size != self.stack_size {
                return self.take_dedicated(size);
            }
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.cold = self.cold.min(self.free.len());
                slot
            }
            None => self.open_slot()?,
        };
        let (slab, offset) = self.location(slot);
        self.slabs[slab].set_used(self.slabs[slab].used() + 1);
        let limit = self.slabs[slab].region.base() + offset + guard_size(self.stack_size);
        let top = limit + self.stack_size - slot as usize % STAGGER * CACHE_LINE;
        Ok(CoStack::new(limit, top, Source::Slot(slot)))
    }

    /// Takes a stack back from a coroutine that has ended.
    #[inline]
    pub(in crate::coroutine) fn release(&mut self, stack: CoStack) {
        match stack.source {
            Source::Slot(slot) => {
                let slab = &self.slabs[slot as usize / SLOTS];
                slab.set_used(slab.used() - 1);
                self.free.push(slot);
            }
            // The drop of the stack unmaps it.
            Source::Dedicated { .. } => {
                DEDICATED.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Returns true if free stacks may hold memory that [`trim`](Self::trim) would give back.
    pub(in crate::coroutine) fn needs_trim(&self) -> bool {
        self.free.len() > self.cold + KEEP_WARM
    }

    /// Trims if many free stacks may hold memory: for threads that have no idle moment for it, as
    /// carriers have.
    pub(in crate::coroutine) fn trim_if_many(&mut self) {
        if self.free.len() > self.cold + MOST_WARM {
            self.trim();
        }
    }

    /// Returns the size of the stack whose guard holds `address`, if that is a slot's.
    pub(super) fn size_above_guard(&self, address: usize) -> Option<usize> {
        let offset = self.offset_in_slot(address)?;
        (offset < guard_size(self.stack_size)).then_some(self.stack_size)
    }

    /// Returns the bytes of a slot below `address`, down to its guard; `None` outside of all slots.
    fn room_below(&self, address: usize) -> Option<usize> {
        Some(self.offset_in_slot(address)?.saturating_sub(guard_size(self.stack_size)))
    }

    /// Returns the distance of `address` from the beginning of its slot, if it is in one.
    fn offset_in_slot(&self, address: usize) -> Option<usize> {
        self.slabs.iter().find_map(|slab| {
            let offset = address.checked_sub(slab.region.base())?;
            (offset < SLOTS * self.slot_size()).then_some(offset % self.slot_size())
        })
    }

    /// Returns the distance of slots.
    #[inline]
    fn slot_size(&self) -> usize {
        guard_size(self.stack_size) + self.stack_size
    }

    /// Gives the memory of free stacks back to the system, except the uppermost [`KEEP_BYTES`] of
    /// the [`KEEP_WARM`] that are reused first.
    pub(in crate::coroutine) fn trim(&mut self) {
        let guard = guard_size(self.stack_size);
        let warm_from = self.free.len().saturating_sub(KEEP_WARM).max(self.cold);
        // Slabs without a stack in use, among those with memory to give back.
        let mut unused = vec![false; self.slabs.len()];
        for &slot in &self.free[self.cold..warm_from] {
            let (slab, _) = self.location(slot);
            unused[slab] = self.slabs[slab].used() == 0;
        }
        for &slot in &self.free[warm_from..] {
            let (slab, offset) = self.location(slot);
            unused[slab] = false;
            let deep = self.stack_size.saturating_sub(KEEP_BYTES);
            // SAFETY: the slot is free, so its contents are not used any more.
            unsafe { self.slabs[slab].region.discard(offset + guard, deep) };
        }
        // One call for each such slab, one for each free stack of the others.
        for (slab, _) in self.slabs.iter().zip(&unused).filter(|(_, unused)| **unused) {
            // SAFETY: all slots of the slab are free.
            unsafe { slab.region.discard(0, SLOTS * self.slot_size()) };
        }
        for &slot in &self.free[self.cold..warm_from] {
            let (slab, offset) = self.location(slot);
            if !unused[slab] {
                // SAFETY: the slot is free.
                unsafe { self.slabs[slab].region.discard(offset + guard, self.stack_size) };
            }
        }
        self.cold = warm_from;
    }

    /// Returns the slab of a slot, and the slot's offset in it.
    fn location(&self, slot: u32) -> (usize, usize) {
        (slot as usize / SLOTS, slot as usize % SLOTS * self.slot_size())
    }

    /// Takes a slot that was never used, from a new slab if there is none.
    #[cold]
    fn open_slot(&mut self) -> Result<u32, String> {
        if self.slabs.last().is_none_or(|slab| slab.opened() == SLOTS) {
            let region = Region::reserve(SLOTS * self.slot_size());
            let region = region.map_err(|error| stacks::explain_refusal(&error))?;
            self.slabs.push(Slab::new(region));
        }
        let number = self.slabs.len() - 1;
        let (slot_size, guard) = (self.slot_size(), guard_size(self.stack_size));
        let slab = &mut self.slabs[number];
        let opened = slab.opened();
        let guarded = slab.region.guard(opened * slot_size, guard, self.guard);
        guarded.map_err(|error| stacks::explain_refusal(&error))?;
        slab.counts.opened.store(opened + 1, Relaxed);
        u32::try_from(number * SLOTS + opened)
            .map_err(|_| "a carrier cannot number more than 2^32 stacks".into())
    }

    #[cold]
    fn take_dedicated(&self, size: usize) -> Result<CoStack, String> {
        let stack = CoStack::map(size, self.guard)?;
        DEDICATED.fetch_add(1, Relaxed);
        Ok(stack)
    }
}

impl CoStack {
    /// Makes a mapping for one stack.
    fn map(size: usize, kind: Guard) -> Result<CoStack, String> {
        let explain = |error| stacks::explain_refusal(&error);
        let guard = guard_size(size);
        let mut region = Region::reserve(size + guard).map_err(explain)?;
        region.guard(0, guard, kind).map_err(explain)?;
        let limit = region.base() + guard;
        Ok(CoStack::new(limit, limit + size, Source::Dedicated { _region: Box::new(region) }))
    }

    fn new(limit: usize, top: usize, source: Source) -> CoStack {
        let nonzero = |address| NonZeroUsize::new(address).expect("no mapping is at address 0");
        CoStack { top: nonzero(top), limit: nonzero(limit), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(stack: &CoStack, depth: usize) {
        // SAFETY: within the usable part of a stack that this test owns.
        unsafe { ((stack.top.get() - depth) as *mut u8).write_volatile(1) };
    }

    fn look(stack: &CoStack, depth: usize) -> u8 {
        // SAFETY: as in `touch`.
        unsafe { ((stack.top.get() - depth) as *const u8).read_volatile() }
    }

    #[test]
    fn stacks_are_reused_last_in_first_out() {
        let mut cache = StackCache::new();
        let stacks: Vec<_> = (0..SLOTS + 3).map(|_| cache.take(None).unwrap()).collect();
        let tops: Vec<_> = stacks.iter().map(|stack| stack.top).collect();
        for stack in stacks {
            assert!(stack.top.get() - stack.limit.get() > 250_000 && stack.top.get() % 64 == 0);
            cache.release(stack);
        }
        for &top in tops.iter().rev() {
            let stack = cache.take(None).unwrap();
            assert_eq!(stack.top, top);
            std::mem::forget(stack);
        }
    }

    #[test]
    fn a_trim_gives_memory_back_and_spares_stacks_in_use() {
        let mut cache = StackCache::new();
        let mut stacks: Vec<_> = (0..3 * SLOTS).map(|_| cache.take(None).unwrap()).collect();
        for stack in &stacks {
            touch(stack, 64);
            touch(stack, 100_000);
        }
        let used = stacks.swap_remove(0);
        for stack in stacks {
            cache.release(stack);
        }
        assert!(cache.needs_trim());
        cache.trim();
        assert!(!cache.needs_trim());
        assert_eq!((look(&used, 64), look(&used, 100_000)), (1, 1));
        let again = cache.take(None).unwrap();
        assert_eq!((look(&again, 64), look(&again, 100_000)), (1, 0));
        let cold: Vec<_> = (0..2 * SLOTS).map(|_| cache.take(None).unwrap()).collect();
        assert_eq!((look(&cold[KEEP_WARM], 64), look(&cold[KEEP_WARM], 100_000)), (0, 0));
    }

    #[test]
    fn odd_sizes_are_rounded_into_bounds() {
        assert_eq!(round_size(0), 16 * 1024);
        assert_eq!(round_size(100_001), 102_400);
        assert_eq!(round_size(usize::MAX), MAX_STACK_SIZE);
        let mut cache = StackCache::new();
        let own = cache.take(NonZeroUsize::new(1 << 20)).unwrap();
        touch(&own, 1_000_000);
        cache.release(own);
    }
}
