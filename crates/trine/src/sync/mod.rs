//! Locks, channels and signals between coroutines, threads and `main`, in any mix.
//!
//! The names are std's. A wait here parks the coroutine it is called in, or the thread if there is
//! none, so a guard may be held across any wait.
//!
//! # Turns
//!
//! An operation that need not wait goes on at once, but the 129th of them in one turn of a
//! coroutine first lets the others of its carrier run. So a loop around [`Mutex::try_lock`] or
//! [`try_recv`](channel::Receiver::try_recv) finds at last what another coroutine is to bring. Such
//! a loop is a wait: hold no lock of std across it.
//!
//! # Cancellation
//!
//! A wait that cannot fail ([`Mutex::lock`], [`Event::wait`] …) unwinds a cancelled task from the
//! place of the wait; the guards on its stack are dropped and unlock. So do waits with a time
//! limit: the limit is the caller's, the cancellation is not. An operation that needs no wait is
//! not interrupted.

// | file | contents |
// |---|---|
// | `mutex/` | `Mutex`: one task at a time |
// | `rwlock/` | `RwLock`: many readers or one writer |
// | `condvar.rs` | `Condvar`: waits for a change of a mutex's value |
// | `semaphore/` | `Semaphore`: a number of permits |
// | `barrier.rs` | `Barrier`: all arrive before any goes on |
// | `event.rs` | `Event`: a level that many wait for |
// | `notify.rs` | `Notify`: wake-ups of one or all, one kept for later |
// | `once/` | `OnceLock`, `LazyLock`, `Once`: values that are made once |
// | `channel/` | `channel`: messages, many to many |
// | `select.rs` | `select!`: the first of several operations that can go on |
// | `permits.rs` | the word and the protocol under `Mutex`, `RwLock` and `Semaphore` |
// | `queue.rs` | the queue of waiters under all but the channels |
// | `lock.rs` | the lock of channels, for a few instructions |
// | `owner.rs` | the holder of a lock, which detects a task that locks twice |
// | `hold.rs` | a lock that a mapped guard holds |
// | `atomic.rs` | std's atomics, or loom's |

pub(crate) mod atomic;
mod barrier;
pub mod channel;
mod condvar;
mod event;
mod hold;
mod lock;
mod mutex;
mod notify;
mod once;
mod owner;
mod permits;
mod queue;
mod rwlock;
mod select;
mod semaphore;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
pub use notify::Notify;
pub use once::{LazyLock, Once, OnceLock};
pub use rwlock::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub use semaphore::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

#[doc(inline)]
pub use super::__select as select;
#[doc(inline)]
pub use super::__select_biased as select_biased;
