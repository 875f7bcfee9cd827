//! A coroutine: its job, its suspended context, and the state word at which waits and wake-ups
//! meet.
//!
//! ```text
//!             spawn                first run              returns
//!   (queue) ────────► NEW ──────────► RUNNABLE ─────────────────► TERMINATED
//!                                  ┌────┘ ▲ │ ▲
//!                       wake: token│      │ │ │ wake: into the queue
//!                                  ▼      │ ▼ │
//!                              NOTIFIED ──┘ PARKED
//!                                 wait: takes the token
//! ```
//!
//! A bit of the same word marks the task as cancelled. It is set once the word has left `NEW`, and
//! stays. Taking the word out of `NEW` claims the task: either for a carrier, which runs it, or for
//! a canceller, which ends it on the spot. In the second case the queue's reference is left over.
//!
//! The word is in the task's registry slot, which belongs to the task as long as the fiber exists.
//! The parties that may touch each field:
//!
//! | field | touched by |
//! |---|---|
//! | `frame` and all it points to, `depth`, `acts_for_another` | the carrier of its first run |
//! | `home` | written by that carrier, before the state first leaves `NEW`; read by wakers |
//! | `job` | see [`Job`] |
//!
//! A parked fiber is kept alive by one reference that no variable holds. Parking gives the
//! reference up (the carrier forgets its `Arc`), and the waker that moves the state from `PARKED`
//! to `RUNNABLE` owns it. So no other party can drop, and so unwind, a parked coroutine, and it
//! cannot be queued twice.
//!
//! Ordering: a waker may have written the value that the coroutine waits for. So each wake-up is a
//! read-modify-write with `Release`, also when the token is already set. The wait takes the token,
//! or is resumed after, with `Acquire`. For a fiber that was parked, an inbox or the same thread
//! carries the order.
//!
//! `fiber.rs` and `remote.rs` import each other; the header of `remote.rs` says why.

use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::task::{Wake, Waker};

use corosensei::stack::Stack;
use corosensei::{Coroutine, Yielder};

use super::local::storage::Storage;
use super::remote::{Ready, Remote};
use super::stack::{CoStack, RESERVED};
use crate::sys::{self, float};
use crate::task::job::{Job, Run};
pub(super) use crate::task::park::Suspend;
use crate::task::slot::{NOTIFIED, PARKED, RUNNABLE, Request, STATE, Slot, TERMINATED};
use crate::task::unwind;
use crate::task::{Backend, Cause, Core, TaskError};

pub(super) type Context = Coroutine<(), Suspend, (), CoStack>;

/// A coroutine that runs the job `J`: two cache lines until its first run, which brings the rest.
pub(super) struct Fiber<J: ?Sized = dyn Task> {
    /// The frame at the top of the stack, from the first run to the end; else null.
    frame: Cell<*mut Frame>,
    /// The approximate end of the stack when the fiber was last suspended.
    depth: Cell<*const u8>,
    home: AtomicPtr<Remote>,
    slot: &'static Slot,
    /// True while the coroutine acts for another task, whose function it drops.
    acts_for_another: Cell<bool>,
    /// The stack size that its builder was given, in KiB.
    stack_kib: Option<NonZeroU32>,
    job: J,
}

/// The data that a carrier keeps of a coroutine that runs there, in the reserved part of its stack.
/// A switch touches only its first cache line.
#[repr(C)]
struct Frame {
    context: ManuallyDrop<Context>,
    /// Valid while the coroutine runs.
    yielder: *const Yielder<(), Suspend>,
    /// The lowest address of the stack.
    limit: usize,
    /// The task that the coroutine acts for; its own if it acts for no other.
    acts_for: &'static Slot,
    /// The values of its [`Local`](super::Local)s, if it has any. Only the coroutine touches them.
    locals: OnceCell<Box<Storage>>,
}

const _: () = assert!(size_of::<Frame>() <= RESERVED && align_of::<Frame>() <= 64);
// Except with the fields that a sanitizer adds.
const _: () = assert!(
    std::mem::offset_of!(Frame, limit) <= 64 || cfg!(feature = "sanitizer"),
    "what a switch touches is one line"
);

/// A job as a fiber holds it.
pub(super) trait Task: Run {
    /// Returns a waker of the fiber around this job, which comes from an `Arc` that is alive.
    ///
    /// # Safety
    ///
    /// `fiber` points to the `Fiber<Self>` whose job this is, in an `Arc`.
    unsafe fn waker_of(&self, fiber: *const ()) -> Waker;
}

impl<J: Run + 'static> Task for J {
    unsafe fn waker_of(&self, fiber: *const ()) -> Waker {
        let fiber = fiber.cast::<Fiber<J>>();
        // SAFETY: the caller's promise; the count is raised for the new reference.
        Waker::from(unsafe {
            Arc::increment_strong_count(fiber);
            Arc::from_raw(fiber)
        })
    }
}

// SAFETY: the table at the top: only one carrier touches `frame`, `depth` and `acts_for_another`,
// and the queues that bring a fiber to its carrier order that after the spawn. The rest is `Sync`.
unsafe impl<J: ?Sized + Sync> Sync for Fiber<J> {}
// SAFETY: as above. A context is made and dropped on its carrier. An `Arc` of a fiber that reaches
// zero elsewhere belongs to a coroutine that has ended, or never started, and holds no context.
unsafe impl<J: ?Sized + Send> Send for Fiber<J> {}

impl<J: Run + 'static> Fiber<J> {
    pub(super) fn new(job: J, stack_size: Option<NonZeroUsize>) -> Fiber<J> {
        // The builder has bounded the size; a KiB more or less is within the rounding to pages.
        let stack_kib = stack_size.map(|bytes| bytes.get().div_ceil(1024));
        Fiber {
            frame: Cell::new(ptr::null_mut()),
            depth: Cell::new(ptr::null()),
            home: AtomicPtr::new(ptr::null_mut()),
            slot: job.slot(),
            acts_for_another: Cell::new(false),
            stack_kib: stack_kib.and_then(|kib| NonZeroU32::new(u32::try_from(kib).ok()?)),
            job,
        }
    }
}

impl Fiber {
    /// Returns a waker of a fiber.
    ///
    /// # Safety
    ///
    /// `fiber` is the pointer of an `Arc<Fiber>` that is alive.
    pub(super) unsafe fn waker(fiber: *const Fiber) -> Waker {
        // SAFETY: the caller's promise; the job is the one of this very fiber.
        unsafe { (*fiber).job.waker_of(fiber.cast()) }
    }

    #[inline]
    pub(super) fn slot(&self) -> &'static Slot {
        self.slot
    }

    /// Returns true if the task has ended, and its stack was taken. For the fiber's carrier.
    pub(super) fn has_ended(&self) -> bool {
        self.slot.state.load(Relaxed) & STATE == TERMINATED && self.frame.get().is_null()
    }

    /// Returns the stack size that the builder was given, in bytes.
    pub(super) fn stack_size(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.stack_kib?.get() as usize * 1024)
    }

    /// Notes the home of a fiber that was spawned on this thread and has to stay here.
    pub(super) fn stays_at(&self, home: &'static Remote) {
        self.home.store(ptr::from_ref(home).cast_mut(), Relaxed);
    }

    /// Gives an unstarted fiber its stack and its carrier.
    ///
    /// # Safety
    ///
    /// Called once, by the carrier that has claimed the fiber's task. From now on the fiber runs on
    /// that carrier only, and the caller keeps an `Arc` of it until it has ended.
    pub(super) unsafe fn begin(&self, stack: CoStack, home: &'static Remote) {
        self.home.store(ptr::from_ref(home).cast_mut(), Relaxed);
        let frame: *mut Frame = stack.reserved().cast();
        let limit = stack.limit().get();
        let this: *const Fiber = self;
        let context = Coroutine::with_stack(stack, move |yielder, ()| {
            // SAFETY: the carrier keeps the fiber alive until it has ended, which is after this.
            let this = unsafe { &*this };
            // SAFETY: `begin` has written the frame before the first run. The frame is the
            // carrier's, and this runs on its thread.
            unsafe { (*this.frame.get()).yielder = yielder };
            unwind::at_base(&|| {
                // SAFETY: the carrier has claimed the task, and a context runs once.
                unsafe { this.job.run() };
                // SAFETY: the frame is there, and this is the coroutine.
                unsafe { this.drop_locals() };
            });
            float::restore_usual();
        });
        let context = ManuallyDrop::new(context);
        self.depth.set(frame.cast());
        // SAFETY: the reserved part of a stack belongs to its owner, now this fiber. It is large
        // and aligned enough for a `Frame` (asserted above).
        unsafe {
            frame.write(Frame {
                context,
                yielder: ptr::null(),
                limit,
                acts_for: self.slot,
                locals: OnceCell::new(),
            });
        }
        self.frame.set(frame);
    }

    /// Ends a fiber that was never begun.
    ///
    /// # Safety
    ///
    /// Called once, in place of [`begin`](Self::begin), by the party that has claimed the fiber's
    /// task.
    pub(super) unsafe fn refuse(&self, reason: String) {
        // SAFETY: the caller's promise.
        unsafe { self.refuse_as(Cause::NotSpawned { reason }) };
    }

    /// Ends a fiber that was never begun, for `cause`.
    ///
    /// # Safety
    ///
    /// See [`refuse`](Self::refuse).
    pub(super) unsafe fn refuse_as(&self, cause: Cause) {
        // SAFETY: the caller's promise.
        unsafe { self.job.refuse(cause) };
    }

    /// Switches to the fiber until it suspends itself (`Some`) or has ended (`None`).
    ///
    /// # Safety
    ///
    /// Called on the fiber's carrier, not from within a fiber. The fiber has begun and not ended.
    #[inline]
    pub(super) unsafe fn resume(&self) -> Option<Suspend> {
        let frame = self.frame.get();
        // SAFETY: the fiber has begun, so the frame is there, and the caller is the one carrier
        // that touches it. The running coroutine leaves this field alone.
        let context = unsafe { &mut (*frame).context };
        context.resume(()).as_yield()
    }

    /// Takes the stack of a fiber that has ended.
    ///
    /// # Safety
    ///
    /// Called on the fiber's carrier, once, after `resume` has returned `None`.
    pub(super) unsafe fn take_stack(&self) -> CoStack {
        let frame = self.frame.replace(ptr::null_mut());
        // SAFETY: the fiber has begun and ended, the caller is its carrier and calls this once. So
        // the context is there, and is moved out permanently.
        let context = unsafe { ManuallyDrop::take(&mut (*frame).context) };
        context.into_stack()
    }

    /// Switches back to the carrier. Returns when the carrier resumes the fiber.
    ///
    /// # Safety
    ///
    /// Called by the fiber itself.
    #[inline]
    pub(super) unsafe fn suspend(&self, why: Suspend) {
        // SAFETY: the caller is the fiber, so the yielder is valid.
        unsafe { (*self.yielder()).suspend(why) };
    }

    /// Returns the yielder of a running fiber, and notes the approximate depth of its stack.
    #[inline(always)]
    pub(super) fn yielder(&self) -> *const Yielder<(), Suspend> {
        let here = 0_u8;
        self.depth.set(&raw const here);
        // SAFETY: for a running fiber: it has begun, so the frame is there, and the yielder, set at
        // the start of the first run, is valid.
        unsafe { (*self.frame.get()).yielder }
    }

    /// Prefetches the lines that a switch to this fiber will touch: its frame, the link to the
    /// carrier's stack below it, and the registers saved at the end of its stack. Only for the
    /// fiber's carrier.
    #[inline(always)]
    pub(super) fn prefetch_stack(&self) {
        let frame = self.frame.get();
        sys::prefetch(frame);
        sys::prefetch(frame.wrapping_byte_sub(64));
        sys::prefetch(self.depth.get());
    }

    /// Returns the lowest and the highest address of a running fiber's stack.
    ///
    /// # Safety
    ///
    /// Called on the fiber's carrier, while the fiber runs.
    pub(super) unsafe fn bounds(&self) -> (usize, usize) {
        let frame = self.frame.get();
        // SAFETY: the caller's promise: the frame is there.
        let limit = unsafe { (*frame).limit };
        (limit, frame as usize)
    }

    /// Returns the task that the coroutine acts for.
    ///
    /// # Safety
    ///
    /// Called on the fiber's carrier. The fiber has begun and not ended.
    #[inline]
    pub(super) unsafe fn acts_for(&self) -> &'static Slot {
        if !self.acts_for_another.get() {
            return self.slot;
        }
        // SAFETY: the caller's promise: the frame is there, and not written to meanwhile.
        unsafe { (*self.frame.get()).acts_for }
    }

    /// Has the coroutine act for the task of `slot`.
    ///
    /// # Safety
    ///
    /// Called by the fiber itself.
    pub(super) unsafe fn act_as(&self, slot: &'static Slot) {
        // SAFETY: the caller is the fiber, so the frame is there. The carrier reads this field only
        // while the fiber does not run.
        unsafe { (*self.frame.get()).acts_for = slot };
        self.acts_for_another.set(!ptr::eq(slot, self.slot));
    }

    /// Returns the values of the fiber's [`Local`](super::Local)s.
    ///
    /// # Safety
    ///
    /// Called by the fiber itself, which stops using the result before it ends.
    #[inline]
    pub(super) unsafe fn locals(&self) -> &OnceCell<Box<Storage>> {
        // SAFETY: the caller is the fiber, so the frame is there; only the fiber touches this
        // field.
        unsafe { &(*self.frame.get()).locals }
    }

    /// Drops the values that are left. The destructor of an unwanted result may have made some
    /// after the others were dropped.
    ///
    /// # Safety
    ///
    /// Called by the fiber itself, at its end.
    #[inline]
    unsafe fn drop_locals(&self) {
        // SAFETY: the caller's promise.
        if let Some(storage) = unsafe { self.locals() }.get() {
            std::mem::forget(storage.drop_values());
            // SAFETY: the fiber's own field, to which no reference is left.
            drop(unsafe { (*self.frame.get()).locals.take() });
        }
    }

    /// Returns the same as [`bounds`](Self::bounds), for the signal handler, which may find a fiber
    /// that has not begun or has ended.
    pub(super) fn bounds_if_begun(&self) -> Option<(usize, usize)> {
        // SAFETY: the frame is there from the beginning to the end, and the handler runs on the
        // carrier's own thread.
        (!self.frame.get().is_null()).then(|| unsafe { self.bounds() })
    }

    /// Takes a stored wake-up. If there is none, sets the state to `PARKED`, and the fiber has to
    /// suspend with [`Suspend::Park`].
    #[must_use = "a fiber that is to park must suspend"]
    pub(super) fn try_park(&self) -> BeforePark {
        let word = &self.slot.state;
        let mut state = RUNNABLE;
        loop {
            let bits = state & !STATE;
            let (next, then) = match state & STATE {
                NOTIFIED => (RUNNABLE, BeforePark::WasNotified),
                _ => (PARKED, BeforePark::Suspend),
            };
            match word.compare_exchange(state, next | bits, AcqRel, Acquire) {
                Ok(_) => return then,
                Err(seen) => state = seen,
            }
        }
    }
}

/// The next step of a fiber that wants to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BeforePark {
    /// Suspend: the next wake-up resumes it.
    Suspend,
    /// Go on: a wake-up was stored already.
    WasNotified,
}

/// The next step of a waker.
#[must_use]
enum Woken {
    /// Enqueue the fiber at its home, with the reference that parking gave up.
    Queue,
    /// Nothing: the fiber is not parked and finds the token, or it has ended.
    Nothing,
}

impl<J: ?Sized> Fiber<J> {
    fn notify(&self) -> Woken {
        let word = &self.slot.state;
        let mut state = word.load(Relaxed);
        loop {
            let (next, woken) = match state & STATE {
                PARKED => (RUNNABLE, Woken::Queue),
                RUNNABLE | NOTIFIED => (NOTIFIED, Woken::Nothing),
                _ => return Woken::Nothing,
            };
            match word.compare_exchange_weak(state, next | state & !STATE, AcqRel, Relaxed) {
                Ok(_) => return woken,
                Err(seen) => state = seen,
            }
        }
    }

    fn home(&self) -> &'static Remote {
        // SAFETY: written before the state left `NEW`, and only a later state leads here; a
        // `Remote` is `'static`.
        unsafe { &*self.home.load(Acquire) }
    }
}

/// Wakes a fiber of an unknown job, as the timers do.
///
/// # Safety
///
/// `fiber` is the pointer of an `Arc` that is alive.
pub(super) unsafe fn wake(fiber: *const Fiber) {
    // SAFETY: the caller's promise.
    if let Woken::Queue = unsafe { (*fiber).notify() } {
        // SAFETY: this call moved the state from `PARKED` to `RUNNABLE`, so it owns the reference
        // that parking gave up.
        let own = unsafe { Arc::from_raw(fiber) };
        own.home().queue(own);
    }
}

impl<J: Run + 'static> Wake for Fiber<J> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Woken::Queue = self.notify() {
            // SAFETY: as in `wake` above.
            let own: Arc<Fiber<J>> = unsafe { Arc::from_raw(Arc::as_ptr(self)) };
            self.home().queue(own);
        }
    }
}

impl<F, T> Backend for Fiber<Job<F, T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Raw = T;
    type Value = T;

    fn core(&self) -> &Core<T> {
        self.job.core()
    }

    fn finish(&self, value: T) -> Result<T, TaskError> {
        Ok(value)
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        match self.slot.request_cancel(reason) {
            // SAFETY: claimed: a carrier that finds the fiber in a queue cannot claim it any more.
            Request::Claimed => unsafe { self.job.refuse(self.slot.cancellation()) },
            Request::Wake => Wake::wake(self),
            Request::Nothing => {}
        }
    }

    fn is_lost_in_copy(&self) -> bool {
        // SAFETY: null, or a `Remote`, which lives as long as the process.
        let home = unsafe { self.home.load(Acquire).as_ref() };
        let is_local = home.is_some_and(|home| home.thread.is_some());
        !is_local && !Ready::is_on_carrier()
    }
}
