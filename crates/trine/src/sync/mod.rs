//! Locks, channels and signals between coroutines, threads and `main`, in any mix.
//!
//! The names are std's. What waits here parks the coroutine it is called in, or the thread where there
//! is none, so a guard may be held across any wait.
//!
//! | file | what it holds |
//! |---|---|
//! | `mutex.rs` | [`Mutex`]: one at a time |
//! | `rwlock.rs` | [`RwLock`]: many that read or one that writes |
//! | `condvar.rs` | [`Condvar`]: waits until what a mutex protects has changed |
//! | `semaphore.rs` | [`Semaphore`]: a number of permits |
//! | `barrier.rs` | [`Barrier`]: all arrive before any goes on |
//! | `event.rs` | [`Event`]: a level that many wait for |
//! | `channel/` | [`channel`]: messages, many to many |
//! | `select.rs` | [`select!`]: the first of several things that can happen |
//! | `permits.rs` | the word and the protocol under `Mutex`, `RwLock` and `Semaphore` |
//! | `queue.rs` | those who wait |
//! | `lock.rs` | the lock of channels, for a few instructions |
//! | `owner.rs` | who holds a lock: a task that locks twice is told |
//! | `atomic.rs` | std's atomics, or loom's |
//!
//! # Cancellation
//!
//! A wait that cannot fail ([`Mutex::lock`], [`Event::wait`] …) unwinds a cancelled task from where it
//! waits; guards on its stack are dropped and unlock. So do the waits with a time limit: the limit is
//! the caller's, the cancellation is not. What needs no wait is not interrupted.

pub(crate) mod atomic;
mod barrier;
pub mod channel;
mod condvar;
mod event;
mod lock;
mod mutex;
mod owner;
mod permits;
mod queue;
mod rwlock;
mod select;
mod semaphore;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit};

#[doc(inline)]
pub use super::__select as select;
