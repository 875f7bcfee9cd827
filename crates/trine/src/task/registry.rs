//! The registry of live tasks: always on, read by anybody, written for a few nanoseconds a task.
//!
//! Every task of this process owns one [`Slot`] from its spawn until its last handle is gone. Slots
//! stand in pages that are never freed, so a reader may look at any slot at any time; the task's id,
//! which is never used twice, tells whether two looks saw the same task (a sequence lock with the
//! id as its sequence, after Boehm, "Can seqlocks get along with programming language memory
//! models?", 2012).
//!
//! Taking and returning a slot goes through a free list of the calling thread; a global list under
//! a lock evens out between threads in batches.
//!
//! ```text
//!   PAGES ──► [slot slot slot … 512]   leaked, type-stable, atomics only
//!             [slot slot slot … 512]
//!   LOCAL     free: [&slot, &slot, …]  ids: 4096..8192      (per thread)
//!   GLOBAL    free: [&slot, …]         next id              (one, under a lock)
//! ```

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::Location;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Kind, State, TaskId, TaskInfo};
use crate::sys::observe::{self, RunState};

/// Spawned, its function not yet called.
pub(crate) const NEW: u32 = 0;
/// Its function was called; it runs or is queued to run.
pub(crate) const RUNNABLE: u32 = 1;
/// As `RUNNABLE`, and a wake-up is stored that its next wait consumes. Coroutines only.
pub(crate) const NOTIFIED: u32 = 2;
/// Waits in a call of trine. For a coroutine: whoever moves the word from here to `RUNNABLE` must
/// put the coroutine into its carrier's queue, nobody else may.
pub(crate) const PARKED: u32 = 3;
/// Its function has returned, panicked or died.
pub(crate) const TERMINATED: u32 = 4;

/// In `kind`: the slot's name is set, and has to be cleared with the task.
const NAMED: u32 = 1 << 8;

/// What is known of one live task.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Slot {
    /// The task's id; 0 while the slot is free or being filled.
    id: AtomicU64,
    /// The id of the task that spawned it; 0 for none.
    parent: AtomicU64,
    location: AtomicPtr<Location<'static>>,
    /// `NEW` … `TERMINATED`; for coroutines also the word that waits and wake-ups meet at.
    pub(crate) state: AtomicU32,
    /// The kind's number, and `NAMED`.
    kind: AtomicU32,
    /// The kernel's id of the thread or process that runs it; 0 for none.
    os_id: AtomicU32,
    name: Mutex<Option<Arc<str>>>,
}

impl Slot {
    /// The id of the slot's task, 0 for none.
    #[inline]
    pub(crate) fn raw_id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    /// The id of the slot's task, if it has one.
    pub(crate) fn id(&self) -> Option<TaskId> {
        TaskId::from_raw(self.raw_id())
    }

    /// Shows the name of the slot's task to `show` without waiting or allocating, as a signal
    /// handler has to; `None` if it has none, or somebody is at it.
    pub(crate) fn try_name<R>(&self, show: impl FnOnce(&str) -> R) -> Option<R> {
        self.name.try_lock().ok()?.as_deref().map(show)
    }

    /// Notes which kernel thread or process runs the task.
    pub(crate) fn set_os_id(&self, id: u32) {
        self.os_id.store(id, Relaxed);
    }

    pub(crate) fn set_state(&self, state: u32) {
        self.state.store(state, Relaxed);
    }

    /// A thread task begins to wait in a call of trine.
    pub(crate) fn enter_wait(&self) {
        self.set_state(PARKED);
    }

    /// A thread task has ended its wait.
    pub(crate) fn leave_wait(&self) {
        self.set_state(RUNNABLE);
    }

    /// What the slot says of its task, if it has one.
    pub(crate) fn info(&self) -> Option<TaskInfo> {
        let raw = self.id.load(Acquire);
        let id = TaskId::from_raw(raw)?;
        let kind = Kind::from_raw(self.kind.load(Relaxed) & !NAMED);
        let word = self.state.load(Relaxed);
        let os_id = self.os_id.load(Relaxed);
        let parent = TaskId::from_raw(self.parent.load(Relaxed));
        let location = self.location.load(Relaxed);
        let name = lock(&self.name).clone();
        // Pairs with the release fence of `fill`: had any field come from a later task, the id
        // would have changed.
        fence(Acquire);
        if self.id.load(Relaxed) != raw || location.is_null() {
            return None;
        }
        // SAFETY: only `fill` stores here, and only pointers to `'static` locations.
        let location: &'static Location<'static> = unsafe { &*location };
        let state = match word {
            NEW => State::New,
            TERMINATED => State::Terminated,
            PARKED => State::Waiting,
            _ => match kind {
                Kind::Coroutine if is_running(self) => State::Running,
                Kind::Coroutine => State::Ready,
                Kind::Thread | Kind::Process => match os_id {
                    0 => State::Ready,
                    id => match observe::run_state(id) {
                        RunState::Running => State::Running,
                        RunState::Waiting => State::Waiting,
                        RunState::Gone => State::Terminated,
                    },
                },
            },
        };
        Some(TaskInfo { id, name, kind, state, parent, location })
    }

    fn fill(&self, id: TaskId, kind: Kind, name: Option<Arc<str>>, at: &'static Location<'static>) {
        // The id is 0 since the slot was returned. No store below may be seen before that.
        fence(Release);
        let parent = current().map_or(0, |slot| slot.id.load(Relaxed));
        self.parent.store(parent, Relaxed);
        self.location.store(std::ptr::from_ref(at).cast_mut(), Relaxed);
        let named = if name.is_some() { NAMED } else { 0 };
        self.kind.store(kind.to_raw() | named, Relaxed);
        self.state.store(NEW, Relaxed);
        self.os_id.store(0, Relaxed);
        if name.is_some() {
            *lock(&self.name) = name;
        }
        self.id.store(id.get(), Release);
    }
}

/// A task's place in the registry; leaving it is dropping this.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) slot: &'static Slot,
}

impl Entry {
    /// Enters a new task.
    pub(crate) fn new(
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Entry {
        let (slot, id) = take();
        Entry::enter(slot, id, kind, name, location)
    }

    /// Enters a task that another process has spawned, under the number it has there; 0 is none.
    pub(crate) fn adopt(
        id: u64,
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Option<Entry> {
        let id = TaskId::from_raw(id)?;
        Some(Entry::enter(take().0, id, kind, name, location))
    }

    fn enter(
        slot: &'static Slot,
        id: TaskId,
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Entry {
        slot.fill(id, kind, name, location);
        Entry { slot }
    }

    pub(crate) fn id(&self) -> TaskId {
        TaskId::from_raw(self.slot.raw_id()).expect("the slot is this task's until the drop")
    }

    pub(crate) fn info(&self) -> TaskInfo {
        self.slot.info().expect("the slot is this task's until the entry is dropped")
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.slot.id.store(0, Relaxed);
        if self.slot.kind.load(Relaxed) & NAMED != 0 {
            *lock(&self.slot.name) = None;
        }
        let slot = self.slot;
        if LOCAL.try_with(|local| local.borrow_mut().put(slot)).is_err() {
            lock(&GLOBAL).free.push(slot);
        }
    }
}

/// A free slot and an unused number.
fn take() -> (&'static Slot, TaskId) {
    LOCAL.try_with(|local| local.borrow_mut().take()).unwrap_or_else(|_| {
        // The thread's own storage is already gone: take one from the global list.
        let mut local = Local::EMPTY;
        let taken = local.take();
        local.give_back();
        taken
    })
}

/// All live tasks of this process, in no particular order.
pub(crate) fn list() -> Vec<TaskInfo> {
    let pages: Vec<_> = lock(&GLOBAL).pages.clone();
    pages
        .iter()
        .flat_map(|page| page.iter())
        .filter_map(Slot::info)
        .filter(|info| info.state != State::Terminated)
        .collect()
}

thread_local! {
    static CURRENT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    static LOCAL: RefCell<Local> = const { RefCell::new(Local::EMPTY) };
}

/// The task that the caller runs in.
#[inline]
pub(crate) fn current() -> Option<&'static Slot> {
    CURRENT.try_with(Cell::get).ok().flatten()
}

/// Says which task the calling thread runs from now on.
#[inline]
pub(crate) fn set_current(slot: Option<&'static Slot>) {
    CURRENT.set(slot);
}

/// In a carrier's word, beside the slot's address: the monitor has seen that this one runs. The next
/// switch overwrites it.
pub(crate) const SEEN: usize = 1;
const _: () = assert!(align_of::<Slot>() > SEEN);

/// Words in which carriers say which coroutine they run, by its slot.
static RUNNING: Mutex<Vec<&'static AtomicPtr<Slot>>> = Mutex::new(Vec::new());

/// Adds a carrier's word: the slot of the coroutine on its core, or null.
pub(crate) fn add_carrier(running: &'static AtomicPtr<Slot>) {
    lock(&RUNNING).push(running);
}

fn is_running(slot: &Slot) -> bool {
    let runs = |word: &&AtomicPtr<Slot>| word.load(Relaxed).map_addr(|at| at & !SEEN);
    lock(&RUNNING).iter().any(|word| std::ptr::eq(runs(word), slot))
}

/// Slots in a page: 32 KiB of them.
const PAGE: usize = 512;
/// Slots that move between a thread and the global list at once.
const BATCH: usize = 256;
/// Ids that a thread takes at once.
const IDS: u64 = 4096;

/// A thread's own free slots and unused ids.
struct Local {
    free: Vec<&'static Slot>,
    ids: Range<u64>,
}

impl Local {
    const EMPTY: Local = Local { free: Vec::new(), ids: 0..0 };

    fn take(&mut self) -> (&'static Slot, TaskId) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.refill(),
        };
        let id = match self.ids.next() {
            Some(id) => id,
            None => {
                let mut global = lock(&GLOBAL);
                self.ids = global.next_id..global.next_id + IDS;
                global.next_id += IDS;
                self.ids.next().expect("just filled")
            }
        };
        (slot, TaskId::from_raw(id).expect("ids start at 1"))
    }

    fn put(&mut self, slot: &'static Slot) {
        if self.free.len() >= 2 * BATCH {
            lock(&GLOBAL).free.extend(self.free.drain(BATCH..));
        }
        self.free.push(slot);
    }

    #[cold]
    fn refill(&mut self) -> &'static Slot {
        let mut global = lock(&GLOBAL);
        if global.free.is_empty() {
            let page: Vec<Slot> = (0..PAGE).map(|_| Slot::default()).collect();
            let page: &'static [Slot] = Vec::leak(page);
            global.pages.push(page);
            global.free.extend(page.iter().rev());
        }
        let rest = global.free.len().saturating_sub(BATCH);
        self.free.extend(global.free.drain(rest..));
        self.free.pop().expect("just filled")
    }

    fn give_back(&mut self) {
        lock(&GLOBAL).free.append(&mut self.free);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if !self.free.is_empty() {
            self.give_back();
        }
    }
}

struct Global {
    pages: Vec<&'static [Slot]>,
    free: Vec<&'static Slot>,
    next_id: u64,
}

static GLOBAL: Mutex<Global> =
    Mutex::new(Global { pages: Vec::new(), free: Vec::new(), next_id: 1 });

/// No code that can panic runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_listed_from_entry_to_drop() {
        let entry = Entry::new(Kind::Thread, Some("listed".into()), Location::caller());
        let found = list().into_iter().find(|info| info.id == entry.id()).unwrap();
        assert_eq!(found.name.as_deref(), Some("listed"));
        assert_eq!(found.location.file(), file!());
        assert_eq!(found.state, State::New);
        let id = entry.id();
        drop(entry);
        assert!(list().iter().all(|info| info.id != id));
    }

    #[test]
    fn readers_never_see_a_mixture_of_two_tasks() {
        let here = Location::caller();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for n in 0..20_000_u64 {
                            let name = (n % 3 == 0).then(|| Arc::from("every third"));
                            let named = name.is_some();
                            let kind = if named { Kind::Process } else { Kind::Coroutine };
                            let entry = Entry::new(kind, name, here);
                            entry.slot.set_state(PARKED);
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    for info in list().into_iter().filter(|info| info.location == here) {
                        assert_eq!(info.name.is_some(), info.kind == Kind::Process, "{info:?}");
                    }
                }
            });
            for writer in writers {
                writer.join().unwrap();
            }
            stop.store(true, Relaxed);
        });
    }
}
