//! The registry of live tasks: always on, readable by any thread, a few nanoseconds a task.
//!
//! Every task of this process owns one [`Slot`] from its spawn until its last handle is dropped.
//! Slots lie in pages that are never freed, so any thread may read any slot at any time. A task's
//! id is never used twice, so a reader that sees the same id before and after has read one task. (A
//! sequence lock with the id as its sequence, after Boehm, "Can seqlocks get along with programming
//! language memory models?", 2012.)
//!
//! A thread takes slots from a free list of its own and returns them there. A global list under a
//! lock balances the threads in batches.
//!
//! ```text
//!   PAGES ──► [slot slot slot … 512]   leaked, type-stable, atomics only
//!             [slot slot slot … 512]
//!   LOCAL     free: [&slot, &slot, …]  ids: 4096..8192      (per thread)
//!   GLOBAL    free: [&slot, …]         next id              (one, under a lock)
//! ```

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::panic::Location;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU64};
use std::sync::{Arc, Mutex};

use super::info::{Kind, State, TaskId, TaskInfo};
use super::slot::{self, NEW, PARKED, Reading, Slot, TERMINATED, lock};
use crate::sys::observe::{self, RunState};

/// A task's place in the registry. Dropping it removes the task.
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
        Entry::enter(slot, (id, true), kind, name, location)
    }

    /// Enters a task that another process has spawned, under its number there. Returns `None` for
    /// 0.
    pub(crate) fn adopt(
        id: u64,
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Option<Entry> {
        let id = TaskId::from_raw(id)?;
        Some(Entry::enter(take().0, (id, false), kind, name, location))
    }

    fn enter(
        slot: &'static Slot,
        (id, is_own): (TaskId, bool),
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Entry {
        let parent = current().map_or(0, Slot::raw_id);
        slot.fill(id, is_own, parent, kind, name, location);
        Entry { slot }
    }

    /// Returns the task's id.
    pub(crate) fn id(&self) -> TaskId {
        TaskId::from_raw(self.slot.raw_id()).expect("the slot is this task's until the drop")
    }

    /// Describes the task.
    pub(crate) fn info(&self) -> TaskInfo {
        self.slot.info().expect("the slot is this task's until the entry is dropped")
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.slot.empty();
        let slot = self.slot;
        if LOCAL.try_with(|local| local.borrow_mut().put(slot)).is_err() {
            lock(&GLOBAL).free.push(slot);
        }
    }
}

/// Takes a free slot and an unused number.
fn take() -> (&'static Slot, TaskId) {
    LOCAL.try_with(|local| local.borrow_mut().take()).unwrap_or_else(|_| {
        // The thread's own storage is already destroyed: take a slot from the global list.
        let mut local = Local::EMPTY;
        let taken = local.take();
        local.give_back();
        taken
    })
}

/// Returns all live tasks of this process, in no particular order.
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
    /// The slot of a thread that runs no task. Without a destructor, so that deadlines hold in the
    /// destructors of other thread-locals, too. It owns memory only inside of a shield or a scope.
    static PLAIN: ManuallyDrop<Slot> = const { ManuallyDrop::new(Slot::new()) };
    /// The thread's number; 0 before it is first needed.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Returns the task that the caller runs in.
#[inline]
pub(crate) fn current() -> Option<&'static Slot> {
    CURRENT.get()
}

/// Calls `f` with the slot whose flags and deadline end the caller's waits.
pub(super) fn with_own_slot<R>(f: impl FnOnce(&Slot) -> R) -> R {
    match current() {
        Some(slot) => f(slot),
        None => PLAIN.with(|slot| f(slot)),
    }
}

/// Returns a number that no other task or thread of this process ever has, and that is not 0: that
/// of the caller's task or, outside any task, of its thread.
///
/// Not an address: a slot is used again, and so is the memory of a thread.
#[inline]
pub(crate) fn caller() -> u64 {
    match current() {
        Some(slot) => slot.identity(),
        None => thread_number(),
    }
}

/// Returns the number of the calling thread.
#[inline]
fn thread_number() -> u64 {
    match NUMBER.get() {
        0 => number_thread(),
        number => number,
    }
}

#[cold]
fn number_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(slot::THREAD | 1);
    let number = NEXT.fetch_add(1, Relaxed);
    NUMBER.set(number);
    number
}

/// Notes the task that the calling thread runs from now on.
#[inline]
pub(crate) fn set_current(slot: Option<&'static Slot>) {
    CURRENT.set(slot);
}

/// In a carrier's word, beside the slot's address: the monitor has seen that this coroutine runs.
/// The next switch overwrites it.
pub(crate) const SEEN: usize = 1;
const _: () = assert!(align_of::<Slot>() > SEEN);

/// The carriers' words, each the slot of the coroutine that the carrier runs.
static RUNNING: Mutex<Vec<&'static AtomicPtr<Slot>>> = Mutex::new(Vec::new());

/// Adds a carrier's word: the slot of the coroutine on its core, or null.
pub(crate) fn add_carrier(running: &'static AtomicPtr<Slot>) {
    lock(&RUNNING).push(running);
}

/// Removes a carrier's word.
pub(crate) fn remove_carrier(running: &'static AtomicPtr<Slot>) {
    lock(&RUNNING).retain(|word| !std::ptr::eq(*word, running));
}

/// Returns true if the slot's task, a coroutine, is on a core.
///
/// The word of a carrier may still lead to a slot that another task has taken since. That task then
/// looks as if it ran, until the carrier's next switch: a state is that of a moment anyway.
fn is_running(slot: &Slot) -> bool {
    let runs = |word: &&AtomicPtr<Slot>| word.load(Relaxed).map_addr(|at| at & !SEEN);
    lock(&RUNNING).iter().any(|word| std::ptr::eq(runs(word), slot))
}

impl Slot {
    /// Describes the slot's task, if it has one.
    pub(crate) fn info(&self) -> Option<TaskInfo> {
        let Reading { id, name, kind, state, os_id, parent, location } = self.read()?;
        let state = match state {
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
                        RunState::Waiting | RunState::Stopped => State::Waiting,
                        RunState::Gone => State::Terminated,
                    },
                },
            },
        };
        let runner = Some(os_id).filter(|id| *id != 0);
        let pid = runner.filter(|_| kind == Kind::Process);
        let thread_id = runner.filter(|_| kind == Kind::Thread);
        Some(TaskInfo { id, name, kind, state, pid, thread_id, parent, location })
    }
}

/// The number of slots in a page of 32 KiB.
const PAGE: usize = 512;
/// The number of slots that move between a thread and the global list at once.
const BATCH: usize = 256;
/// The number of ids that a thread takes at once.
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
            let page: Vec<Slot> = (0..PAGE).map(|_| Slot::new()).collect();
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
    fn no_two_tasks_or_threads_ever_have_the_same_number() {
        let here = Location::caller();
        let mut numbers = std::collections::BTreeSet::new();
        // A thread and its storage, and a slot, are used again at once.
        for n in 1..=100 {
            assert!(numbers.insert(std::thread::spawn(caller).join().unwrap()));
            let own = Entry::new(Kind::Coroutine, None, here);
            assert!(numbers.insert(own.slot.identity()));
            drop(own);
            let adopted = Entry::adopt(n, Kind::Process, None, here).unwrap();
            assert!(numbers.insert(adopted.slot.identity()));
            assert_eq!((adopted.id().get(), adopted.info().id.get()), (n, n));
        }
        assert!(!numbers.contains(&0) && caller() == caller());
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
