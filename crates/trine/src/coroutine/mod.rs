//! Coroutines: functions with a stack of their own, switched in user space, many on one thread.
//!
//! A coroutine is plain blocking-looking code. Where it waits in a call of trine, its thread, the
//! *carrier*, goes on with another one; a switch costs nanoseconds. Once started, a coroutine stays
//! on its carrier, so `Rc`s and thread-locals may live across a wait.
//!
//! ```text
//!  carrier 0 (thread)                       carrier 1 (thread)
//!  ┌──────────────┐  resume   ┌─────────┐   ┌──────────────┐   ┌─────────┐
//!  │ scheduler    │ ────────► │ stack A │   │ scheduler    │ ◄►│ stack D │
//!  │ ready: B C   │ ◄──────── │ running │   │ ready:       │   └─────────┘
//!  │ fresh: e f g │  suspend  └─────────┘   │ fresh:       │ ── steals e, f: not started yet
//!  └──────────────┘  B, C: suspended        └──────────────┘
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `fiber.rs` | a coroutine: its states, how it suspends and is woken |
//! | `carrier.rs` | the thread that runs them, and its queues |
//! | `remote.rs`, `host.rs` | what others touch of it; how its coroutines wait |
//! | `scheduler.rs` | what carriers share: work that was not started, who sleeps |
//! | `stack.rs` | where stacks come from and go |
//! | `timers.rs`, `timer_slab.rs` | waiting for a time; where the waits stand |
//! | `monitor.rs` | coroutines that hold their carrier for long |
//! | `overflow.rs` | running off the end of a stack |
//! | `local.rs` | values of which each coroutine has its own |
//! | `local_task.rs`, `thread_host.rs` | coroutines that stay on their thread; those of `main` and the like |
//! | `generator.rs`, `thread_stacks.rs` | functions that hand out values on the way; the stacks of any thread |
//! | `future/` | the second form: a future as a task, without a stack |
//!
//! # What a coroutine must not do
//!
//! Block its thread: `std::thread::sleep`, a std `Mutex` that is held across a wait, a read from a
//! slow descriptor hold up every coroutine of the carrier. Use what trine has instead, or a
//! [thread](crate::thread). [`hogs`] says which ones did.

use crate::task::{Task, park};

mod builder;
mod carrier;
mod fiber;
pub(crate) mod future;
mod generator;
mod local;
mod local_task;
mod monitor;
mod remote;
mod scheduler;
mod stack;
mod timers;

pub use builder::Builder;
pub(crate) use builder::spawn_future;
pub use generator::{Generator, Step, Yielder};
pub use local::{AccessError, Local};
pub use local_task::{LocalTask, spawn_local};
pub use monitor::{Hog, Hogs, hogs};
#[doc(hidden)]
pub use stack::StackStats;

/// Runs `f` as a coroutine.
///
/// Called from a coroutine, the new one starts on the same carrier unless another has nothing to
/// do; from a thread, on whichever carrier is free.
///
/// ```
/// use std::time::Duration;
///
/// let sleepers: Vec<_> = (0..1000)
///     .map(|n| {
///         trine::coroutine::spawn(move || {
///             trine::time::sleep(Duration::from_millis(5));
///             n
///         })
///     })
///     .collect();
/// let sum: u32 = sleepers.into_iter().map(|task| task.join().unwrap()).sum();
/// assert_eq!(sum, 499_500);
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f)
}

/// Lets the other coroutines of this carrier run, then goes on. On a plain thread, as std's.
///
/// ```
/// let a = trine::coroutine::spawn(|| for _ in 0..3 { trine::coroutine::yield_now() });
/// let b = trine::coroutine::spawn(|| for _ in 0..3 { trine::coroutine::yield_now() });
/// a.join().and(b.join())?;
/// # Ok::<(), trine::TaskError>(())
/// ```
#[inline]
pub fn yield_now() {
    // Inlined down to the switch: a return that crosses a switch is one that the processor
    // predicts wrongly.
    match carrier::current().and_then(carrier::Carrier::running) {
        // SAFETY: the fiber that runs on this carrier is the caller.
        Some(fiber) => unsafe { fiber.suspend(fiber::Suspend::Yield) },
        None => yield_thread(),
    }
}

#[cold]
fn yield_thread() {
    if let Some(carrier) = carrier::current() {
        park::Host::turn(carrier, None);
    }
    std::thread::yield_now();
}

/// How many stacks there are in this process, at about this moment: for tests, which show that none is lost.
#[doc(hidden)]
pub fn stack_stats() -> StackStats {
    stack::stats()
}
