//! Threads for calls that can only block: file systems, name resolution.
//!
//! ```text
//!   caller, parked ──► queue of a lane, in order ──► threads, started one by one up to the
//!         ▲                                            │        lane's limit, ending after 10 s
//!         └────────────── value, wake-up ──────────────┘        without work
//! ```
//!
//! Each [`Lane`] has a queue and threads of its own. Calls of one kind take about as long as each
//! other, and a lane whose threads all sleep keeps no other waiting: look-ups at a silent name
//! server take many seconds each, a write to a file takes microseconds. A [`Place`], where calls
//! may sleep without end, has a queue and one thread of its own, which no other place waits for.
//!
//! The effect of interrupting a caller depends on the state of its work:
//!
//! | | in the queue | begun |
//! |---|---|---|
//! | [`run`], whose work may borrow | withdrawn, `Interrupted` | waited for; its value counts |
//! | [`detached`], whose work owns its data | withdrawn, `Interrupted` | left, `Interrupted` |
//!
//! A plain thread calls the work in place, as no other task waits for that thread.
//!
//! # Borrowed work
//!
//! It lies in the frame of `run`, and the queue holds a pointer to it. The word `ended` tells its
//! owner:
//!
//! | `ended` | pointer in the queue | the fields belong to |
//! |---|---|---|
//! | `false` | yes | none: the queue's lock decides which thread takes it out |
//! | `false` | no | the thread that took it, or the caller that withdrew it |
//! | `true` | no | the caller; the thread does not touch them any more |
//!
//! So `run` may leave its frame in the last row, or after withdrawing. [`Queued`] ensures this,
//! also when the frame is unwound.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use crate::sys::process::fork_detect;
use crate::sys::{limits, signal};
use crate::task::outcome::Outcome;
use crate::task::{Interrupted, cancel, park, wait};

/// A kind of blocking call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Calls on files and directories.
    Files,
    /// Look-ups of names: seconds, if a server does not answer.
    Names,
    /// Opening files that another program has leased, which the kernel revokes in a minute.
    Leases,
}

impl Lane {
    /// Returns the most threads of the lane.
    fn max_threads(self) -> usize {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        match self {
            Lane::Files | Lane::Leases => (4 * cores).max(16),
            // They sleep for a server, and take no processor.
            Lane::Names => (4 * cores).max(64),
        }
    }
}

/// A device, or another file whose calls may sleep until another program acts, in one direction.
///
/// Its calls run one at a time, in order. So however many tasks use one terminal, they occupy one
/// thread, and a call that first looks whether the terminal is ready loses the race to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file system and inode of the file's name, and the device.
    pub(crate) file: [u64; 3],
    /// True for writing.
    pub(crate) writes: bool,
}

/// The time that a thread of the program's pools waits for more work.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The result of work: its value or its panic, or the reason why no thread could be started.
type End<T> = io::Result<thread::Result<T>>;

/// Calls `work`, which may borrow, on a thread of `lane`, and parks the caller meanwhile. On a
/// plain thread, calls it in place. A panic of `work` continues in the caller.
///
/// # Errors
///
/// An interruption of the caller before `work` has begun; once begun, it is waited for. No thread
/// can be started.
pub(crate) fn run<T: Send>(lane: Lane, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    run_on(|| Arc::clone(pool(lane)), work)
}

/// Like [`run`], on the one thread of `place`.
///
/// # Errors
///
/// The same as for `run`.
pub(crate) fn run_at<T: Send>(place: Place, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    run_on(|| pool_at(place), work)
}

fn run_on<T: Send>(
    pool: impl FnOnce() -> Arc<Pool>,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    if park::is_plain_thread() {
        return Ok(work());
    }
    cancel::checkpoint()?;
    let job = Borrowed {
        work: UnsafeCell::new(Some(work)),
        end: UnsafeCell::new(None),
        waker: UnsafeCell::new(Some(park::waker())),
        ended: AtomicBool::new(false),
    };
    let parked = job.wait(&pool());
    match job.end.into_inner() {
        Some(end) => finish(end),
        None => Err(parked.expect_err("only what was interrupted is withdrawn").into()),
    }
}

/// Like [`run`], for work that owns its data: an interrupted caller leaves at once, and the pool
/// drops the value of work that had begun.
///
/// # Errors
///
/// An interruption of the caller before `work` has ended. No thread can be started.
pub(crate) fn detached<T: Send + 'static>(
    lane: Lane,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if park::is_plain_thread() {
        return Ok(work());
    }
    cancel::checkpoint()?;
    let job = Arc::new(Detached { work: UnsafeCell::new(Some(work)), outcome: Outcome::new() });
    let pool = pool(lane);
    let number = pool.submit(Detached::entry(Arc::clone(&job)));
    // SAFETY: the caller is the one consumer of the outcome, in all of the following.
    match unsafe { job.outcome.wait(None, wait::for_wake) } {
        Ok(_) => {
            // SAFETY: as above; a wait without a deadline ends when the outcome is there.
            let outcome = unsafe { job.outcome.take() };
            let end = outcome.and_then(Result::ok).expect("it ends once, with no task's error");
            finish(end)
        }
        Err(interrupted) => {
            if pool.withdraw(number) {
                // SAFETY: the queue's own reference, which came with the entry.
                unsafe { Arc::decrement_strong_count(Arc::as_ptr(&job)) };
            } else {
                // SAFETY: the caller is the consumer, and does not touch the outcome again.
                unsafe { job.outcome.detach() };
            }
            Err(interrupted.into())
        }
    }
}

fn finish<T>(end: End<T>) -> io::Result<T> {
    end.map(|called| called.unwrap_or_else(|payload| panic::resume_unwind(payload)))
}

/// Calls `work`, unless no thread could be started for it.
fn call<T>(work: Option<impl FnOnce() -> T>, refused: Option<&io::Error>) -> End<T> {
    if let Some(error) = refused {
        let reason = limits::explain_refused_task("thread", error);
        return Err(io::Error::new(error.kind(), reason));
    }
    let work = work.expect("work is called once");
    // A panic may leave state that the work shares with other code half changed. That code must
    // check it; the panic continues in the caller.
    Ok(panic::catch_unwind(AssertUnwindSafe(work)))
}

/// Work in the frame of its caller; the table above says which thread may touch it.
struct Borrowed<F, T> {
    work: UnsafeCell<Option<F>>,
    end: UnsafeCell<Option<End<T>>>,
    waker: UnsafeCell<Option<Waker>>,
    ended: AtomicBool,
}

impl<F: FnOnce() -> T + Send, T: Send> Borrowed<F, T> {
    /// Has the work called, and returns when no thread knows of it any more. An error has ended the
    /// wait, perhaps too late to withdraw the work.
    fn wait(&self, pool: &Arc<Pool>) -> Result<(), Interrupted> {
        let entry = Entry { job: (&raw const *self).cast(), settle: Self::settle };
        let queued = Queued { ended: &self.ended, pool, number: pool.submit(entry) };
        let mut parked = Ok(());
        while parked.is_ok() && !self.ended.load(Acquire) {
            parked = wait::for_wake(None);
        }
        drop(queued);
        parked
    }

    /// # Safety
    ///
    /// `job` points to a `Self` that stays until it has `ended`, and was taken out of the queue.
    unsafe fn settle(job: *const (), refused: Option<&io::Error>) {
        // SAFETY: the caller's promise, up to the store below.
        let this = unsafe { &*job.cast::<Self>() };
        // SAFETY: not ended, and not in the queue: the fields belong to the thread.
        let waker = unsafe {
            let work = if refused.is_none() { (*this.work.get()).take() } else { None };
            *this.end.get() = Some(call(work, refused));
            (*this.waker.get()).take()
        };
        this.ended.store(true, Release);
        // The caller's frame may be freed from here on.
        waker.into_iter().for_each(park::wake);
    }
}

/// Work that is in the queue or runs. After the drop it is neither.
struct Queued<'a> {
    ended: &'a AtomicBool,
    pool: &'a Arc<Pool>,
    number: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.ended.load(Acquire) || self.pool.withdraw(self.number) {
            return;
        }
        while !self.ended.load(Acquire) {
            park::park(None);
        }
    }
}

/// Work that belongs to its caller and its thread, and is freed by the last of them.
struct Detached<F, T> {
    /// Belongs to the thread that takes the entry out of the queue, or to the last reference.
    work: UnsafeCell<Option<F>>,
    outcome: Outcome<End<T>>,
}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> Detached<F, T> {
    fn entry(self: Arc<Self>) -> Entry {
        Entry { job: Arc::into_raw(self).cast(), settle: Self::settle }
    }

    /// # Safety
    ///
    /// `job` is that of an entry of `entry`, which was taken out of the queue.
    unsafe fn settle(job: *const (), refused: Option<&io::Error>) {
        // SAFETY: the reference that the entry was made of.
        let this = unsafe { Arc::from_raw(job.cast::<Self>()) };
        // SAFETY: the entry is out of the queue: the field belongs to the thread.
        let work = unsafe { (*this.work.get()).take() };
        let end = call(work, refused);
        // SAFETY: an entry leaves the queue once, so this is the one producer's one call.
        unsafe { this.outcome.complete(Ok(end)) };
    }
}

// SAFETY: the work moves to the one thread that takes the entry; the outcome has rules of its own.
unsafe impl<F: Send, T: Send> Sync for Detached<F, T> {}

/// Work in the queue, with its types erased.
struct Entry {
    job: *const (),
    /// Calls the work, or stores why there is no thread for it; called once.
    settle: unsafe fn(*const (), Option<&io::Error>),
}

// SAFETY: an entry is made of work that is `Send`, with a value that is. Only the thread that takes
// it out of the queue uses it.
unsafe impl Send for Entry {}

/// The threads of a lane and their queue.
struct Pool {
    max_threads: usize,
    /// The time that a thread waits for more work before it ends.
    keep_alive: Duration,
    state: Mutex<State>,
    /// Notified when work comes.
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Withdrawn work leaves a gap, unless it is at an end.
    queue: VecDeque<Option<Entry>>,
    /// The number of the first entry; the others count on from there.
    first: u64,
    /// The number of entries that are not gaps.
    waiting: usize,
    threads: usize,
    idle: usize,
}

fn pool(lane: Lane) -> &'static Arc<Pool> {
    static POOLS: [OnceLock<Arc<Pool>>; 3] = [const { OnceLock::new() }; 3];
    POOLS[lane as usize].get_or_init(|| Pool::new(lane.max_threads(), KEEP_ALIVE))
}

/// Returns the pool of a place: that of its callers and its thread, or a new one.
fn pool_at(place: Place) -> Arc<Pool> {
    static PLACES: Mutex<Vec<(Place, Weak<Pool>)>> = Mutex::new(Vec::new());
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = places.iter().find(|(known, _)| *known == place);
    if let Some(pool) = known.and_then(|(_, pool)| pool.upgrade()) {
        return pool;
    }
    places.retain(|(_, pool)| pool.strong_count() > 0);
    let pool = Pool::new(1, KEEP_ALIVE);
    places.push((place, Arc::downgrade(&pool)));
    pool
}

impl Pool {
    fn new(max_threads: usize, keep_alive: Duration) -> Arc<Pool> {
        let (state, work) = (Mutex::default(), Condvar::new());
        Arc::new(Pool { max_threads, keep_alive, state, work })
    }

    /// Locks the state. No work runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `entry` and returns its number. The entry is then run, or settled at once if no
    /// thread can be started, or withdrawn.
    fn submit(self: &Arc<Pool>, entry: Entry) -> u64 {
        if fork_detect::lacks_threads() {
            let error = io::Error::other(fork_detect::explain("threads for such calls exist"));
            // SAFETY: in no queue, so no other thread settles it.
            unsafe { (entry.settle)(entry.job, Some(&error)) };
            return u64::MAX;
        }
        let mut state = self.lock();
        let number = state.push(entry);
        if state.idle >= state.waiting {
            drop(state);
            self.work.notify_one();
        } else if state.threads < self.max_threads {
            state.threads += 1;
            drop(state);
            let thread = thread::Builder::new().name("trine-offload".into());
            let pool = Arc::clone(self);
            let serve = move || {
                signal::stack::ensure();
                pool.serve();
            };
            match thread.spawn(serve) {
                Ok(_) => fork_detect::note_thread(),
                Err(error) => self.refuse_without_threads(&error),
            }
        }
        number
    }

    /// Takes work out of the queue; returns false if it has begun or ended.
    ///
    /// Called at most once for a number, as the queue may reuse it.
    fn withdraw(&self, number: u64) -> bool {
        self.lock().remove(number)
    }

    /// Notes that a thread could not be started. Other threads of the pool continue with the queue;
    /// if there are none, all of its work is refused.
    #[cold]
    fn refuse_without_threads(&self, error: &io::Error) {
        let mut state = self.lock();
        state.threads -= 1;
        while state.threads == 0
            && let Some(entry) = state.pop()
        {
            drop(state);
            // SAFETY: out of the queue, so no other thread settles it.
            unsafe { (entry.settle)(entry.job, Some(error)) };
            state = self.lock();
        }
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.pop() {
                drop(state);
                // SAFETY: out of the queue, so no other thread settles it.
                unsafe { (entry.settle)(entry.job, None) };
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.keep_alive);
            let timed_out;
            (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if timed_out.timed_out() && state.waiting == 0 {
                state.threads -= 1;
                return;
            }
        }
    }
}

impl State {
    fn push(&mut self, entry: Entry) -> u64 {
        self.queue.push_back(Some(entry));
        self.waiting += 1;
        self.first + self.queue.len() as u64 - 1
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.first += 1;
        self.waiting -= 1;
        self.trim();
        entry
    }

    fn remove(&mut self, number: u64) -> bool {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let entry = index.and_then(|index| self.queue.get_mut(index)).and_then(Option::take);
        if entry.is_some() {
            self.waiting -= 1;
            self.trim();
        }
        entry.is_some()
    }

    /// Removes gaps at both ends, so that the first in the queue is never one.
    fn trim(&mut self) {
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
        }
        while let Some(None) = self.queue.back() {
            self.queue.pop_back();
        }
    }
}

#[cfg(test)]
#[path = "../../tests/unit/blocking.rs"]
mod tests;
