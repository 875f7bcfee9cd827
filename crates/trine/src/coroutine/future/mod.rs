//! A future as a task: one allocation, polled on its carrier's own stack.
//!
//! ```text
//!   Task ── Arc ─────────────┐      ┌─────────────────────────── QueuedFuture: one pointer
//!                            ▼      ▼
//!   Arc's counts │ Header: vtable slot home state │ Core: outcome │ the future │
//!                                   ▲
//!                                   └─────────────────────────── wakers: the same pointer
//! ```
//!
//! All wakers and the queue together own one count of the `Arc`, and share it by the references in
//! the task's [`State`]. The handle owns the other count. The parties that may touch each field:
//!
//! | field | touched by |
//! |---|---|
//! | `future` | the carrier that has it in a turn, until it is dropped |
//! | `home` | written by that carrier in the first turn; read by later queuers |
//! | the outcome | see [`Outcome`](crate::task::outcome::Outcome); its producer is the last turn |
//!
//! Turns are taken on one carrier, the one that had the first. When the last waker of a task
//! without a handle is dropped, no party can wake the task any more: it gets a last turn that drops
//! the future. So the carrier always drops the future, never a foreign thread that drops a waker,
//! perhaps under a lock that the future's destructor wants.
//!
//! This file and `remote.rs` import each other; the header of `remote.rs` says why.
//!
//! | file | contents |
//! |---|---|
//! | `state.rs` | the word at which turns, wake-ups and references meet |
//! | `timer.rs` | a future's wait for a moment |

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

use super::remote::{Ready, Remote};
use crate::task::slot::{PARKED, RUNNABLE, Slot};
use crate::task::{Backend, Cause, Core, Kind, TaskError, failure};
use state::{AfterPoll, AfterRelease, State, Turn};

/// The part of a future task that is the same for all types of futures.
struct Header {
    vtable: &'static Vtable,
    slot: &'static Slot,
    home: AtomicPtr<Remote>,
    state: State,
}

/// The operations of a task that depend on the future's type. All take a pointer to a task that is
/// alive. `poll` and `close` are for its carrier, in a turn, while the future is there.
struct Vtable {
    /// Polls the future. If it is ready, or panics, drops it and leaves the outcome.
    poll: unsafe fn(NonNull<Header>) -> Poll<()>,
    /// Drops the future and leaves the cause as the outcome.
    close: unsafe fn(NonNull<Header>, Cause),
    /// Gives up the count of the wakers and the queue.
    free: unsafe fn(NonNull<Header>),
}

/// The future `F` as a task.
#[repr(C)] // The header comes first: a pointer to the task is a pointer to the header.
pub(super) struct FutureTask<F: Future> {
    header: Header,
    core: Core<F::Output>,
    /// Dropped in place once, by the last turn.
    future: UnsafeCell<ManuallyDrop<F>>,
}

// SAFETY: the table at the top: one thread at a time touches the future, between two steps of the
// state that order it. `Core` is `Sync` for a `Send` value.
unsafe impl<F: Future<Output: Send> + Send> Sync for FutureTask<F> {}

impl<F> FutureTask<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    const VTABLE: Vtable = Vtable { poll: Self::poll, close: Self::close, free: Self::free };

    /// Enters the task in the registry. Returns the part for its handle, and the part for a queue.
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
        // `queue` restores the pointer from its address.
        shared.expose_provenance();
        (task, QueuedFuture(NonNull::new(shared.cast_mut().cast()).expect("an Arc is not null")))
    }

    unsafe fn poll(task: NonNull<Header>) -> Poll<()> {
        // SAFETY: the caller's pointer is that of the `Arc` made in `new`, and alive.
        let this = unsafe { task.cast::<Self>().as_ref() };
        // The waker holds no reference: the turn's own reference outlives it.
        // SAFETY: the data is as the calls of `WAKER` require.
        let waker = unsafe { Waker::from_raw(RawWaker::new(task.as_ptr().cast(), &WAKER)) };
        let waker = ManuallyDrop::new(waker);
        let polled = failure::catch(
            || Some(this.core.entry.info()),
            || {
                // SAFETY: only the turn touches the future. It is pinned: it stays in place until
                // it is dropped there.
                let future = unsafe { Pin::new_unchecked(&mut **this.future.get()) };
                future.poll(&mut Context::from_waker(&waker))
            },
        );
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(error) => Err(error),
        };
        // SAFETY: in the turn, which is the last.
        let result = match unsafe { this.drop_future() } {
            Ok(()) => result,
            Err(panic) => Err(this.earlier(result, panic)),
        };
        // SAFETY: called once: this is the last turn.
        unsafe { this.core.complete(result) };
        Poll::Ready(())
    }

    unsafe fn close(task: NonNull<Header>, cause: Cause) {
        // SAFETY: as in `poll`.
        let this = unsafe { task.cast::<Self>().as_ref() };
        // SAFETY: in the turn, which is the last.
        let dropped = unsafe { this.drop_future() };
        let error = TaskError::new(cause, Some(this.core.entry.info()));
        // SAFETY: called once: this is the last turn.
        unsafe { this.core.complete(Err(dropped.err().unwrap_or(error))) };
    }

    unsafe fn free(task: NonNull<Header>) {
        // SAFETY: the pointer is that of `Arc::into_raw` in `new`, and given up once, with the last
        // reference.
        drop(unsafe { Arc::from_raw(task.cast::<Self>().as_ptr().cast_const()) });
    }

    /// Drops the future in place. The error is that of a panic in a destructor.
    ///
    /// # Safety
    ///
    /// Called in a turn, once.
    unsafe fn drop_future(&self) -> Result<(), TaskError> {
        failure::catch(
            || Some(self.core.entry.info()),
            // SAFETY: the caller's promise; the future is not touched afterwards.
            || unsafe { ManuallyDrop::drop(&mut *self.future.get()) },
        )
    }

    /// Returns the error of a task whose future has panicked while it was dropped: the earlier one,
    /// if there were two. The unwanted value may panic in turn, which the hook reports. The payload
    /// of that panic may panic as well, so it is leaked.
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

impl<F> Backend for FutureTask<F>
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
            // SAFETY: the state has made a reference for the queue, and was at rest.
            unsafe { self.queue() };
        }
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.header.slot.set_reason(reason);
        if self.header.state.close() {
            self.header.state.add_reference();
            // SAFETY: the reference was just made, as the state requested, and a turn has ended.
            unsafe { self.queue() };
        }
    }

    fn is_lost_in_copy(&self) -> bool {
        !Ready::is_on_carrier()
    }
}

impl<F> FutureTask<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Enqueues the task at its home.
    ///
    /// # Safety
    ///
    /// The state has requested it, after a turn; the queue owns a reference.
    unsafe fn queue(&self) {
        // The reference is to the task alone, the exposed pointer to the whole `Arc`.
        let task = ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr());
        // SAFETY: the address of a reference; the rest is the caller's promise.
        unsafe { queue(NonNull::new_unchecked(task)) };
    }
}

/// A future task in a queue: `QUEUED` is set in its state, and the queue owns a reference.
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

    /// Gives the task a turn. Returns the task if it is to be queued again.
    ///
    /// # Safety
    ///
    /// Called on the carrier of `home`, always the same for one task, and not within another task's
    /// turn.
    pub(super) unsafe fn turn(self, home: &'static Remote) -> Option<QueuedFuture> {
        let header = self.header();
        header.home.store(ptr::from_ref(home).cast_mut(), Relaxed);
        match header.state.begin_turn() {
            Turn::Poll => {
                header.slot.set_state(RUNNABLE);
                // SAFETY: the task's turn, on its carrier; the future is dropped only in the last
                // one.
                if unsafe { (header.vtable.poll)(self.0) }.is_pending() {
                    // Set before the state changes: afterwards another thread may own the task.
                    header.slot.set_state(PARKED);
                    match header.state.end_poll() {
                        AfterPoll::Rest => return None,
                        AfterPoll::Queue => {
                            header.slot.set_state(RUNNABLE);
                            return Some(self);
                        }
                        // SAFETY: still the task's turn.
                        AfterPoll::Close => unsafe { (header.vtable.close)(self.0, abandoned()) },
                    }
                }
            }
            // The task was cancelled; or it is abandoned, and then nothing reads the cause. SAFETY:
            // as above.
            Turn::Close => unsafe { (header.vtable.close)(self.0, header.slot.cancellation()) },
        }
        self.end();
        None
    }

    /// Ends a task that has not had a turn, in place of the first.
    pub(super) fn refuse(self, reason: String) {
        let _turn = self.header().state.begin_turn();
        // SAFETY: this is the turn: the task came out of a queue, so the caller owns it.
        unsafe { (self.header().vtable.close)(self.0, Cause::NotSpawned { reason }) };
        self.end();
    }

    /// Ends the last turn: the future was dropped, and the reference is given up.
    fn end(self) {
        if self.header().state.end() == AfterRelease::Free {
            // SAFETY: the last reference.
            unsafe { (self.header().vtable.free)(self.0) };
        }
    }
}

/// Returns the cause for a task without wakers and handle, which nothing reads.
fn abandoned() -> Cause {
    Cause::Lost { reason: "no waker of it was left".into() }
}

/// Enqueues a task at its home.
///
/// # Safety
///
/// The state has requested it. The task has had a turn, is alive, and has a reference for the
/// queue.
unsafe fn queue(task: NonNull<Header>) {
    let queued = QueuedFuture(task);
    queued.slot().set_state(RUNNABLE);
    let home = queued.header().home.load(Relaxed);
    // SAFETY: written in the first turn, whose end in the state is before this; a `Remote` is
    // `'static`.
    unsafe { &*home }.queue_future(queued);
}

/// The calls of a waker. Its data is a pointer to the header of a task, with a reference.
static WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, release);

/// # Safety
///
/// `data` is that of a waker that is alive.
/// The data of a waker that is alive.
unsafe fn of_waker<'a>(data: *const ()) -> (&'a Header, NonNull<Header>) {
    // SAFETY: the data is a pointer to a task, which the waker's reference keeps alive.
    unsafe {
        let task = NonNull::new_unchecked(data.cast_mut().cast::<Header>());
        (task.as_ref(), task)
    }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: std's promise for the calls of a waker.
    let (header, _) = unsafe { of_waker(data) };
    header.state.add_reference();
    RawWaker::new(data, &WAKER)
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: std's promise for the calls of a waker.
    let (header, task) = unsafe { of_waker(data) };
    if header.state.wake() {
        header.state.add_reference();
        // SAFETY: the reference was just made, as the state requested, and a turn has ended.
        unsafe { queue(task) };
    }
}

unsafe fn wake(data: *const ()) {
    // SAFETY: std's promise for the calls of a waker.
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
    // SAFETY: std's promise for the calls of a waker.
    let (header, task) = unsafe { of_waker(data) };
    let vtable = header.vtable;
    match header.state.release() {
        AfterRelease::Nothing => {}
        // SAFETY: the state has made a reference for the queue; it was at rest, so the task has had
        // a turn.
        AfterRelease::Queue => unsafe { queue(task) },
        // SAFETY: the last reference.
        AfterRelease::Free => unsafe { (vtable.free)(task) },
    }
}
