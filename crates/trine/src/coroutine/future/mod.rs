//! A future as a task: one allocation, polled on its carrier's own stack.
//!
//! ```text
//!   Task ── Arc ─────────────┐      ┌─────────────────────────── QueuedFuture, in a queue: one pointer
//!                            ▼      ▼
//!   Arc's counts │ Header: calls slot home word │ Core: outcome │ the future │
//!                                   ▲
//!                                   └─────────────────────────── wakers: the same pointer
//! ```
//!
//! All wakers and the queue together own one count of the `Arc`, and share it by the references in the
//! task's [`Word`]; the handle owns the other. Who may touch what:
//!
//! | field | who |
//! |---|---|
//! | `future` | the carrier that has it in a turn, until it is gone |
//! | `home` | that carrier writes it in the first turn; whoever queues the task later reads it |
//! | the outcome | see [`Outcome`](crate::task::outcome::Outcome); its producer is the last turn |
//!
//! Turns are taken on one carrier, the one that had the first. When the last waker of a task without a
//! handle goes, nobody can wake it any more: it gets a last turn that drops the future. So a future
//! is always dropped by its carrier, never by a stranger who lets go of a waker, maybe under a lock
//! that the future's destructor wants.

pub(super) mod state;
pub(crate) mod timer;

use std::cell::UnsafeCell;
use std::mem::{self, ManuallyDrop};
use std::panic::Location;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::remote::Remote;
use crate::task::registry::{PARKED, RUNNABLE, Slot};
use crate::task::{Cause, Core, Handle, Kind, TaskError, failure};
use state::{AfterPoll, AfterRelease, State, Turn};

/// The part of a future task that needs no knowledge of the future's type.
struct Header {
    vtable: &'static Vtable,
    slot: &'static Slot,
    home: AtomicPtr<Remote>,
    state: State,
}

/// What a task does that depends on the future's type. All take a pointer to a task that is alive; `poll`
/// and `close` are for its carrier, in a turn, while the future is there.
struct Vtable {
    /// Polls the future. If it is ready, or panics, drops it and leaves the outcome.
    poll: unsafe fn(NonNull<Header>) -> Poll<()>,
    /// Drops the future and leaves the cause as the outcome.
    close: unsafe fn(NonNull<Header>, Cause),
    /// Gives the count of wakers and queue up.
    free: unsafe fn(NonNull<Header>),
}

/// The future `F` as a task.
#[repr(C)] // The header comes first: a pointer to the one is a pointer to the other.
pub(super) struct FutureTask<F: Future> {
    header: Header,
    core: Core<F::Output>,
    /// Dropped in place once, by the last turn.
    future: UnsafeCell<ManuallyDrop<F>>,
}

// SAFETY: the table at the top: the future is touched by one thread at a time, between two steps of
// the word that order it. `Core` is `Sync` for a `Send` value.
unsafe impl<F: Future<Output: Send> + Send> Sync for FutureTask<F> {}

impl<F> FutureTask<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    const VTABLE: Vtable = Vtable { poll: Self::poll, close: Self::close, free: Self::free };

    /// Enters the task in the registry: what a handle holds, and what is to be queued.
    pub(super) fn new(
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
        future: F,
    ) -> (Arc<FutureTask<F>>, QueuedFuture) {
        failure::install_hook();
        let core = Core::new(Kind::Coroutine, name, location);
        let header = Header {
            vtable: &Self::VTABLE,
            slot: core.entry.slot,
            home: AtomicPtr::new(ptr::null_mut()),
            state: State::new(),
        };
        let future = UnsafeCell::new(ManuallyDrop::new(future));
        let task = Arc::new(FutureTask { header, core, future });
        let shared = Arc::into_raw(Arc::clone(&task));
        // `detached` makes the pointer anew.
        shared.expose_provenance();
        (task, QueuedFuture(NonNull::new(shared.cast_mut().cast()).expect("an Arc is not null")))
    }

    unsafe fn poll(task: NonNull<Header>) -> Poll<()> {
        // SAFETY: the caller's pointer is that of the `Arc` made in `new`, and alive.
        let this = unsafe { task.cast::<Self>().as_ref() };
        // No reference of its own: the turn's outlives it.
        // SAFETY: what the calls of `WAKER` ask for.
        let waker = unsafe { Waker::from_raw(RawWaker::new(task.as_ptr().cast(), &WAKER)) };
        let waker = ManuallyDrop::new(waker);
        let polled = failure::catch(
            || Some(this.core.entry.info()),
            || {
                // SAFETY: the future is the turn's alone. It is pinned: it stays where it is until it
                // is dropped there.
                let future = unsafe { Pin::new_unchecked(&mut **this.future.get()) };
                future.poll(&mut Context::from_waker(&waker))
            },
        );
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(error) => Err(error),
        };
        // SAFETY: in the turn, and the last.
        let result = match unsafe { this.drop_future() } {
            Ok(()) => result,
            Err(panic) => Err(this.earlier(result, panic)),
        };
        // SAFETY: once: the last turn.
        unsafe { this.core.complete(result) };
        Poll::Ready(())
    }

    unsafe fn close(task: NonNull<Header>, cause: Cause) {
        // SAFETY: as in `poll`.
        let this = unsafe { task.cast::<Self>().as_ref() };
        // SAFETY: in the turn, and the last.
        let dropped = unsafe { this.drop_future() };
        let error = TaskError::new(cause, Some(this.core.entry.info()));
        // SAFETY: once: the last turn.
        unsafe { this.core.complete(Err(dropped.err().unwrap_or(error))) };
    }

    unsafe fn free(task: NonNull<Header>) {
        // SAFETY: the pointer is that of `Arc::into_raw` in `new`, and given up once, with the last
        // reference.
        drop(unsafe { Arc::from_raw(task.cast::<Self>().as_ptr().cast_const()) });
    }

    /// Drops the future where it is; the error is that of a panic in a destructor.
    ///
    /// # Safety
    ///
    /// In a turn, once.
    unsafe fn drop_future(&self) -> Result<(), TaskError> {
        failure::catch(
            || Some(self.core.entry.info()),
            // SAFETY: the caller's promise; nobody touches it afterwards.
            || unsafe { ManuallyDrop::drop(&mut *self.future.get()) },
        )
    }

    /// The error of a task whose future has panicked while it was dropped: the earlier one, if there
    /// were two. What is not wanted may panic in turn, which the hook has reported; and so may the
    /// payload of that, so it is left alone.
    #[cold]
    fn earlier(&self, result: Result<F::Output, TaskError>, panic: TaskError) -> TaskError {
        match result {
            Ok(value) => {
                mem::forget(failure::catch(|| None, || drop(value)));
                panic
            }
            Err(error) => {
                mem::forget(panic);
                error
            }
        }
    }
}

impl<F> Handle for FutureTask<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Raw = F::Output;
    type Value = F::Output;

    fn core(&self) -> &Core<F::Output> {
        &self.core
    }

    fn finish(&self, value: F::Output) -> Result<F::Output, TaskError> {
        Ok(value)
    }

    fn detached(&self) {
        if self.header.state.detach() == AfterRelease::Queue {
            // SAFETY: the word has made a reference for the queue, and was at rest.
            unsafe { self.queue() };
        }
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.header.slot.set_reason(reason);
        if self.header.state.close() {
            self.header.state.add_reference();
            // SAFETY: just made, by order of the word, which says that a turn has ended.
            unsafe { self.queue() };
        }
    }
}

impl<F> FutureTask<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Queues the task at its home.
    ///
    /// # Safety
    ///
    /// The word has said that the caller has to, after a turn; a reference is the queue's.
    unsafe fn queue(&self) {
        // The reference is to the task alone, the pointer that was exposed to the whole `Arc`.
        let task = ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr());
        // SAFETY: the address of a reference; the rest is the caller's promise.
        unsafe { queue(NonNull::new_unchecked(task)) };
    }
}

/// A future task in a queue: `QUEUED` is set in its word, and a reference is the queue's.
pub(super) struct QueuedFuture(NonNull<Header>);

// SAFETY: a task is `Sync`, its future `Send`.
unsafe impl Send for QueuedFuture {}

impl QueuedFuture {
    pub(super) fn slot(&self) -> &'static Slot {
        self.header().slot
    }

    fn header(&self) -> &Header {
        // SAFETY: the queue's reference keeps it alive.
        unsafe { self.0.as_ref() }
    }

    /// Gives the task a turn; `Some` if it is to be queued again.
    ///
    /// # Safety
    ///
    /// On the carrier of `home`, always the same for one task, and not from within another's turn.
    pub(super) unsafe fn turn(self, home: &'static Remote) -> Option<QueuedFuture> {
        let header = self.header();
        header.home.store(ptr::from_ref(home).cast_mut(), Relaxed);
        match header.state.begin_turn() {
            Turn::Poll => {
                header.slot.set_state(RUNNABLE);
                // SAFETY: its turn, on its carrier; the future is gone only after the last one.
                if unsafe { (header.vtable.poll)(self.0) }.is_pending() {
                    // Before the word says so: then it may be another's.
                    header.slot.set_state(PARKED);
                    match header.state.end_poll() {
                        AfterPoll::Rest => return None,
                        AfterPoll::Queue => {
                            header.slot.set_state(RUNNABLE);
                            return Some(self);
                        }
                        // SAFETY: still its turn.
                        AfterPoll::Close => unsafe { (header.vtable.close)(self.0, abandoned()) },
                    }
                }
            }
            // Cancelled; or abandoned, and then nobody reads the cause.
            // SAFETY: as above.
            Turn::Close => unsafe { (header.vtable.close)(self.0, header.slot.cancellation()) },
        }
        self.end();
        None
    }

    /// Ends a task that has not had a turn, in place of the first.
    pub(super) fn refuse(self, reason: String) {
        let _turn = self.header().state.begin_turn();
        // SAFETY: this is the turn: it came out of a queue, so it is the caller's.
        unsafe { (self.header().vtable.close)(self.0, Cause::NotSpawned { reason }) };
        self.end();
    }

    /// The future is gone, and with it the reference.
    fn end(self) {
        if self.header().state.end() == AfterRelease::Free {
            // SAFETY: the last reference.
            unsafe { (self.header().vtable.free)(self.0) };
        }
    }
}

/// What a task without wakers and handle ends with, for nobody to read.
fn abandoned() -> Cause {
    Cause::Lost { reason: "nobody could wake it any more".into() }
}

/// Queues a task at its home.
///
/// # Safety
///
/// The word has said that the caller has to; the task has had a turn, is alive, and has a reference
/// for the queue.
unsafe fn queue(task: NonNull<Header>) {
    let queued = QueuedFuture(task);
    queued.slot().set_state(RUNNABLE);
    let home = queued.header().home.load(Relaxed);
    // SAFETY: written in the first turn, whose end in the word is before this; a `Remote` is `'static`.
    unsafe { &*home }.queue_future(queued);
}

/// The calls of a waker, whose data is a pointer to the header of a task, with a reference.
static WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, release);

/// # Safety
///
/// The data of a waker that is alive.
unsafe fn of_waker<'a>(data: *const ()) -> (&'a Header, NonNull<Header>) {
    // SAFETY: the data is a pointer to a task, which the waker's reference keeps alive.
    unsafe {
        let task = NonNull::new_unchecked(data.cast_mut().cast::<Header>());
        (task.as_ref(), task)
    }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: what std promises of the calls of a waker.
    let (header, _) = unsafe { of_waker(data) };
    header.state.add_reference();
    RawWaker::new(data, &WAKER)
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: what std promises of the calls of a waker.
    let (header, task) = unsafe { of_waker(data) };
    if header.state.wake() {
        header.state.add_reference();
        // SAFETY: just made, by order of the word, which says that a turn has ended.
        unsafe { queue(task) };
    }
}

unsafe fn wake(data: *const ()) {
    // SAFETY: what std promises of the calls of a waker.
    let (header, task) = unsafe { of_waker(data) };
    if header.state.wake() {
        // SAFETY: the waker's own reference becomes the queue's.
        unsafe { queue(task) };
    } else {
        // SAFETY: the waker ends here.
        unsafe { release(data) };
    }
}

unsafe fn release(data: *const ()) {
    // SAFETY: what std promises of the calls of a waker.
    let (header, task) = unsafe { of_waker(data) };
    let vtable = header.vtable;
    match header.state.release() {
        AfterRelease::Nothing => {}
        // SAFETY: the word has made a reference for the queue; it was at rest, so it has had a turn.
        AfterRelease::Queue => unsafe { queue(task) },
        // SAFETY: the last reference.
        AfterRelease::Free => unsafe { (vtable.free)(task) },
    }
}
