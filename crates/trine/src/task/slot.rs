//! The record of one live task, in one cache line that is never freed.
//!
//! | word | written by |
//! |---|---|
//! | `id` … `location`, `kind` | the spawner, under the sequence lock of the id (`registry.rs`) |
//! | `state` | a coroutine: see the diagram in `coroutine/fiber.rs`; other kinds: the runner |
//! | `CANCELLED` in `state` | any thread |
//! | `deadline`, `flags` | the task itself |
//! | `os_id` | the task's runner |
//! | `extra` | any thread, under its lock |

use std::panic::Location;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::cancel::scope::CancelScope;
use super::error::Cause;
use super::info::{Kind, TaskId};
use super::wakers;

/// Spawned; the function was not called yet.
pub(crate) const NEW: u32 = 0;
/// Begun: the function was called, and the task runs or is queued to run.
pub(crate) const RUNNABLE: u32 = 1;
/// Runnable, with a stored wake-up that the next wait consumes. Coroutines only.
pub(crate) const NOTIFIED: u32 = 2;
/// Waiting in a call of trine. The waker that moves a coroutine's word from here to `RUNNABLE` must
/// put the coroutine into its carrier's queue; no other may.
pub(crate) const PARKED: u32 = 3;
/// Ended: the function has returned, panicked or died, or will never be called.
pub(crate) const TERMINATED: u32 = 4;
/// The bits of the state word that hold one of the above.
pub(crate) const STATE: u32 = 0xff;
/// In the state word: the task is cancelled. Set once, by any thread, in a task that was started
/// and has not ended; excludes `NEW`.
pub(crate) const CANCELLED: u32 = 1 << 8;

/// In `kind`: `extra` is filled, and has to be cleared with the task.
const EXTRA: u32 = 1 << 8;

/// In `kind`: one call of `timeout` or `shield` that the task is in; the bits from here on count
/// them.
const GUARD: u32 = 1 << 16;
/// The bits of `kind` that hold the kind's number.
const KIND: u32 = 0xff;

/// In `flags`: the task's cancellation waits for the end of a shield.
pub(crate) const SHIELDED: u32 = 1;
/// In `flags`: the waker of the thread that runs the task is in `extra`.
const WAKER: u32 = 2;
/// In `flags`: the task runs a panic hook.
pub(super) const IN_HOOK: u32 = 4;
/// In `flags`: the task is inside scopes whose waits others can end.
const IN_SCOPE: u32 = 8;

/// In `id`: another process has spawned the task and numbered it. So it does not collide with the
/// tasks that this process numbers.
const ADOPTED: u64 = 1 << 63;
/// In the number of a thread that runs no task, which it tells from all tasks.
pub(super) const THREAD: u64 = 1 << 62;

/// In `deadline`: none.
const NEVER: u64 = u64::MAX;

/// The record of one live task.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    /// The task's id, and `ADOPTED`; 0 while the slot is free or being filled.
    id: AtomicU64,
    /// The id of the task that spawned it; 0 for none.
    parent: AtomicU64,
    location: AtomicPtr<Location<'static>>,
    /// The moment at which the task's waits end, in nanoseconds of [`moment`]; touched by the task
    /// only.
    deadline: AtomicU64,
    /// `NEW` … `TERMINATED`, and `CANCELLED`. A coroutine's waits and wake-ups meet at this word.
    pub(crate) state: AtomicU32,
    /// The kind's number, `EXTRA`, and a count of `GUARD`s.
    kind: AtomicU32,
    /// The kernel's id of the thread or process that runs it; 0 for none.
    os_id: AtomicU32,
    /// `SHIELDED`, `WAKER`, `IN_SCOPE`; touched by the task only.
    flags: AtomicU32,
    extra: Mutex<Option<Box<Extra>>>,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// The parts that few tasks have.
#[derive(Debug, Default)]
struct Extra {
    name: Option<Arc<str>>,
    /// The reason for which the task was cancelled.
    reason: Option<Arc<str>>,
    /// The end of the shield that holds the task's cancellation off.
    shield: Option<Instant>,
    /// The scopes that the task is inside of, the outermost first.
    scopes: Vec<Arc<CancelScope>>,
    /// The number of scopes that are outside the innermost shield.
    shielded: usize,
    /// Wakes the thread that runs the task.
    waker: Option<Waker>,
    /// The progress that the task has reported.
    progress: Option<f64>,
}

/// The record of a task at one moment, with the words not yet interpreted.
pub(super) struct Reading {
    pub(super) id: TaskId,
    pub(super) name: Option<Arc<str>>,
    pub(super) kind: Kind,
    pub(super) state: u32,
    pub(super) os_id: u32,
    pub(super) parent: Option<TaskId>,
    pub(super) location: &'static Location<'static>,
}

/// The outcome of a request to cancel: the next step of the requester.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// End the task, which had not begun: it is the requester's now.
    Claimed,
    /// Wake the task, which had begun, so that its wait sees the request.
    Wake,
    /// Do nothing: the task had ended, or was cancelled before.
    Nothing,
}

impl Slot {
    /// Makes a slot without a task.
    pub(super) const fn new() -> Slot {
        Slot {
            id: AtomicU64::new(0),
            parent: AtomicU64::new(0),
            location: AtomicPtr::new(std::ptr::null_mut()),
            deadline: AtomicU64::new(NEVER),
            state: AtomicU32::new(NEW),
            kind: AtomicU32::new(0),
            os_id: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            extra: Mutex::new(None),
        }
    }

    /// Returns the id of the slot's task, 0 for none.
    #[inline]
    pub(crate) fn raw_id(&self) -> u64 {
        self.id.load(Relaxed) & !ADOPTED
    }

    /// Returns a number that no other task of this process, and no thread, ever has; 0 without a
    /// task.
    #[inline]
    pub(super) fn identity(&self) -> u64 {
        self.id.load(Relaxed)
    }

    /// Returns the id of the slot's task, if it has one.
    pub(crate) fn id(&self) -> Option<TaskId> {
        TaskId::from_raw(self.raw_id())
    }

    /// Calls `show` with the name of the slot's task, without waiting or allocating, as a signal
    /// handler needs it. Returns `None` if the task has no name or the record is locked.
    pub(crate) fn try_name<R>(&self, show: impl FnOnce(&str) -> R) -> Option<R> {
        self.extra.try_lock().ok()?.as_ref()?.name.as_deref().map(show)
    }

    /// Notes the kernel thread or process that runs the task.
    pub(crate) fn set_os_id(&self, id: u32) {
        self.os_id.store(id, Relaxed);
    }

    /// Sets the state of a task that is no coroutine, or has ended.
    pub(crate) fn set_state(&self, state: u32) {
        self.state.store(state, Relaxed);
    }

    /// Sets the state of a task that is no coroutine, and returns the previous one.
    pub(crate) fn exchange_state(&self, state: u32) -> u32 {
        let exchanged =
            self.state.fetch_update(Relaxed, Relaxed, |word| Some((word & !STATE) | state));
        exchanged.unwrap_or_else(|word| word) & STATE
    }

    /// Claims the task, which the caller then runs or ends. Returns false if another thread was
    /// quicker and ends it.
    #[must_use = "only the thread that has claimed a task may touch it"]
    pub(crate) fn claim(&self) -> bool {
        self.state.compare_exchange(NEW, RUNNABLE, AcqRel, Relaxed).is_ok()
    }

    /// Returns true if the task was claimed.
    pub(crate) fn is_claimed(&self) -> bool {
        self.state.load(Acquire) & STATE != NEW
    }

    /// Returns the kernel's id of the thread or process that runs the task; 0 for none.
    pub(crate) fn os_id(&self) -> u32 {
        self.os_id.load(Relaxed)
    }

    /// Requests the task to end. The caller owns a reference to it.
    pub(crate) fn request_cancel(&self, reason: Option<Arc<str>>) -> Request {
        let mut word = self.state.load(Relaxed);
        if word & CANCELLED == 0 && word != TERMINATED {
            self.set_reason(reason);
        }
        loop {
            let (next, request) = match word & STATE {
                _ if word & CANCELLED != 0 => return Request::Nothing,
                TERMINATED => return Request::Nothing,
                NEW => (TERMINATED, Request::Claimed),
                _ => (word | CANCELLED, Request::Wake),
            };
            match self.state.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => return request,
                Err(seen) => word = seen,
            }
        }
    }

    /// Notes the reason for a cancellation that is recorded elsewhere.
    pub(crate) fn set_reason(&self, reason: Option<Arc<str>>) {
        if let Some(reason) = reason {
            self.with_extra(|extra| {
                extra.reason.get_or_insert(reason);
            });
        }
    }

    /// Notes the progress that the task reports.
    pub(crate) fn set_progress(&self, progress: f64) {
        self.with_extra(|extra| extra.progress = Some(progress));
    }

    /// Returns the progress that the task has reported.
    pub(crate) fn progress(&self) -> Option<f64> {
        lock(&self.extra).as_ref().and_then(|extra| extra.progress)
    }

    /// Returns the task's kind.
    pub(crate) fn kind(&self) -> Kind {
        Kind::from_raw(self.kind.load(Relaxed) & KIND)
    }

    /// Returns true if the task is cancelled.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.load(Acquire) & CANCELLED != 0
    }

    /// Returns the reason for which the task was cancelled, if it has one.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        lock(&self.extra).as_ref().and_then(|extra| extra.reason.clone())
    }

    /// Returns the cause that a cancelled task ends with.
    pub(crate) fn cancellation(&self) -> Cause {
        Cause::Cancelled { reason: self.reason() }
    }

    /// Returns the moment at which the task's waits end; for the task itself.
    #[inline]
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.deadline.load(Relaxed) {
            NEVER => None,
            nanos => Some(moment::zero() + Duration::from_nanos(nanos)),
        }
    }

    /// Sets the task's deadline and returns the previous one; for the task itself.
    pub(crate) fn exchange_deadline(&self, deadline: Option<Instant>) -> Option<Instant> {
        let before = self.deadline();
        let nanos = deadline.map_or(NEVER, |deadline| {
            let since = deadline.saturating_duration_since(moment::zero());
            u64::try_from(since.as_nanos()).unwrap_or(NEVER)
        });
        self.deadline.store(nanos, Relaxed);
        before
    }

    /// Returns the end of the shield that holds the task's cancellation off; for the task itself.
    pub(crate) fn shield(&self) -> Option<Instant> {
        if self.flags.load(Relaxed) & SHIELDED == 0 {
            return None;
        }
        lock(&self.extra).as_ref().and_then(|extra| extra.shield)
    }

    /// Raises a shield, or lowers it to an outer one; for the task itself.
    pub(crate) fn set_shield(&self, shield: Option<Instant>, shielded: usize) {
        self.set_flag(SHIELDED, shield.is_some());
        self.with_extra(|extra| (extra.shield, extra.shielded) = (shield, shielded));
        self.free_if_plain();
    }

    /// Returns the number of scopes that the task is inside of, and how many of them are outside
    /// its shield; for the task itself.
    pub(crate) fn scopes(&self) -> (usize, usize) {
        let extra = lock(&self.extra);
        extra.as_ref().map_or((0, 0), |extra| (extra.scopes.len(), extra.shielded))
    }

    /// Returns true if the task is inside a scope; for the task itself.
    #[inline]
    pub(crate) fn has_scopes(&self) -> bool {
        self.has_flag(IN_SCOPE)
    }

    /// Returns true if a scope around the task has ended, of all or only of those inside its
    /// shield; for the task itself.
    pub(crate) fn is_scope_ended(&self, shielded: bool) -> bool {
        self.with_extra(|extra| {
            let outer = if shielded { extra.shielded } else { 0 };
            extra.scopes.iter().skip(outer).any(|scope| scope.is_ended())
        })
    }

    /// Enters a scope; for the task itself.
    pub(crate) fn enter_scope(&self, scope: Arc<CancelScope>) {
        self.with_extra(|extra| extra.scopes.push(scope));
        self.set_flag(IN_SCOPE, true);
    }

    /// Leaves a scope, mostly the last one entered; for the task itself. A generator may leave its
    /// scopes in another order, and in another task.
    pub(crate) fn leave_scope(&self, scope: &Arc<CancelScope>) {
        let left = self.with_extra(|extra| {
            if let Some(at) = extra.scopes.iter().rposition(|other| Arc::ptr_eq(other, scope)) {
                extra.scopes.remove(at);
                extra.shielded -= usize::from(at < extra.shielded);
            }
            extra.scopes.len()
        });
        self.set_flag(IN_SCOPE, left > 0);
        self.free_if_plain();
    }

    /// Frees the extra parts of a slot without a task, outside of shields and scopes: nothing else
    /// frees them at the end of the thread.
    fn free_if_plain(&self) {
        if self.id().is_none() && !self.has_flag(SHIELDED) && !self.has_flag(IN_SCOPE) {
            *lock(&self.extra) = None;
        }
    }

    /// Enters a call of `timeout` or `shield`; for the task itself.
    pub(crate) fn enter_guard(&self) {
        self.kind.fetch_add(GUARD, Relaxed);
    }

    /// Leaves a call of `timeout` or `shield`; for the task itself.
    pub(crate) fn leave_guard(&self) {
        self.kind.fetch_sub(GUARD, Relaxed);
    }

    /// Returns the number of such calls that the task is in; for the task itself.
    #[inline]
    pub(crate) fn guards(&self) -> u32 {
        self.kind.load(Relaxed) / GUARD
    }

    /// Returns true if a bit of `flags` is set; for the task itself.
    pub(crate) fn has_flag(&self, bit: u32) -> bool {
        self.flags.load(Relaxed) & bit != 0
    }

    /// Sets or clears a bit of `flags`; for the task itself.
    pub(crate) fn set_flag(&self, bit: u32, on: bool) {
        let flags = self.flags.load(Relaxed);
        self.flags.store(if on { flags | bit } else { flags & !bit }, Relaxed);
    }

    /// Leaves a waker of the thread that runs the task, once; for the task itself, before it checks
    /// for a cancellation.
    pub(crate) fn leave_waker(&self, waker: impl FnOnce() -> Waker) {
        if !self.has_flag(WAKER) {
            self.with_extra(|extra| extra.waker = Some(waker()));
            self.set_flag(WAKER, true);
        }
    }

    /// Wakes the thread that runs the task, if it has left a waker. Follows a request to cancel.
    pub(crate) fn wake_thread(&self) {
        // The lock orders this with `leave_waker`: a thread that has left no waker yet will see the
        // request.
        let waker = lock(&self.extra).as_ref().and_then(|extra| extra.waker.clone());
        if let Some(waker) = waker {
            wakers::wake(waker);
        }
    }

    fn with_extra<R>(&self, f: impl FnOnce(&mut Extra) -> R) -> R {
        let mut extra = lock(&self.extra);
        self.kind.fetch_or(EXTRA, Relaxed);
        f(extra.get_or_insert_default())
    }

    /// Reads the record of the slot's task, if it has one: never a mixture of two tasks.
    pub(super) fn read(&self) -> Option<Reading> {
        let raw = self.id.load(Acquire);
        let id = TaskId::from_raw(raw & !ADOPTED)?;
        let kind = Kind::from_raw(self.kind.load(Relaxed) & KIND);
        let state = self.state.load(Relaxed) & STATE;
        let os_id = self.os_id.load(Relaxed);
        let parent = TaskId::from_raw(self.parent.load(Relaxed));
        let location = self.location.load(Relaxed);
        let name = lock(&self.extra).as_ref().and_then(|extra| extra.name.clone());
        // Pairs with the release fence of `fill`: had any field come from a later task, the id
        // would have changed.
        fence(Acquire);
        if self.id.load(Relaxed) != raw || location.is_null() {
            return None;
        }
        // SAFETY: only `fill` stores here, and only pointers to `'static` locations.
        let location: &'static Location<'static> = unsafe { &*location };
        Some(Reading { id, name, kind, state, os_id, parent, location })
    }

    /// Records a task in a free slot. `is_own` says that this process has numbered it.
    pub(super) fn fill(
        &self,
        id: TaskId,
        is_own: bool,
        parent: u64,
        kind: Kind,
        name: Option<Arc<str>>,
        at: &'static Location<'static>,
    ) {
        // The id has been 0 since the slot was returned. No store below may be seen before that.
        fence(Release);
        self.parent.store(parent, Relaxed);
        self.location.store(std::ptr::from_ref(at).cast_mut(), Relaxed);
        self.deadline.store(NEVER, Relaxed);
        self.kind.store(kind.to_raw(), Relaxed);
        self.state.store(NEW, Relaxed);
        self.os_id.store(0, Relaxed);
        self.flags.store(0, Relaxed);
        if name.is_some() {
            self.with_extra(|extra| extra.name = name);
        }
        let identity = if is_own { id.get() } else { id.get() | ADOPTED };
        self.id.store(identity, Release);
    }

    /// Clears the record.
    pub(super) fn empty(&self) {
        self.id.store(0, Relaxed);
        if self.kind.load(Relaxed) & EXTRA != 0 {
            *lock(&self.extra) = None;
        }
    }
}

/// Locks a mutex of the registry. No code that can panic runs under these locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moments as words: nanoseconds since the first call.
mod moment {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(super) fn zero() -> Instant {
        static ZERO: OnceLock<Instant> = OnceLock::new();
        *ZERO.get_or_init(Instant::now)
    }
}
