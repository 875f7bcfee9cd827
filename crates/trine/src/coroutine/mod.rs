//! Coroutines: functions with a stack of their own, switched in user space, many on one thread.
//!
//! A coroutine is plain blocking-looking code. While it waits in a call of trine, its thread, the
//! *carrier*, runs other coroutines; a switch costs nanoseconds. Once started, a coroutine stays on
//! its carrier, so `Rc`s and thread-locals may live across a wait.
//!
//! ```text
//!  carrier 0 (thread)                       carrier 1 (thread)
//!  ┌──────────────┐  resume   ┌─────────┐   ┌──────────────┐   ┌─────────┐
//!  │ scheduler    │ ────────► │ stack A │   │ scheduler    │ ◄►│ stack D │
//!  │ ready: B C   │ ◄──────── │ running │   │ ready:       │   └─────────┘
//!  │ new:   e f g │  suspend  └─────────┘   │ new:         │ ── steals e, f: not started yet
//!  └──────────────┘  B, C: suspended        └──────────────┘
//! ```
//!
//! # What a coroutine must not do
//!
//! Block its thread. `std::thread::sleep`, a std `Mutex` that is held across a wait, a read from a
//! slow descriptor hold up every coroutine of the carrier. Use the calls of trine instead, or a
//! [thread](crate::thread). [`hogs`] lists the coroutines that held up others.
//!
//! Wait inside the initialiser of std's `LazyLock`, `OnceLock` or `Once`. A neighbour that needs
//! the value then blocks the thread on which the initialiser would have to go on: the carrier
//! stands still. A cancellation there poisons a `LazyLock` for the program. Use those of
//! [`sync`](crate::sync).
//!
//! **Wait in the initialiser of a [`thread_local!`].** The coroutines of a carrier share its
//! thread-locals. While one waits in the initialiser, another may find the value uninitialised and
//! run the initialiser, too. When the first goes on, std drops the value of the other, which may be
//! in use: undefined behaviour, and std gives no way to detect it. Do what waits before, and only
//! then touch the thread-local; or use a [`Local`], of which each coroutine has its own:
//!
//! ```
//! use trine::coroutine::{self, Local};
//!
//! // The function may wait: no other coroutine can use this one's value.
//! static ANSWER: Local<u32> = Local::new(|| coroutine::spawn(|| 42).join().unwrap());
//! let task = coroutine::spawn(|| ANSWER.with(|answer| *answer));
//! assert_eq!(task.join()?, 42);
//! # Ok::<(), trine::TaskError>(())
//! ```
//!
//! # With `panic = "abort"`
//!
//! Cancellation and limits of time unwind a coroutine that is in a wait without a `Result`. A
//! program that cannot unwind is aborted there, with a message. Waits with a `Result` end with
//! their error, as always.

// | file | contents |
// |---|---|
// | `builder.rs` | the settings of a coroutine, and the queue that it goes to |
// | `fiber.rs` | a coroutine: its states, how it suspends and is woken |
// | `carrier/` | the thread that runs coroutines, its turns and its sleep |
// | `remote.rs` | a carrier as others know it: ready queues, inbox, wake-up |
// | `scheduler.rs` | the state that carriers share: unstarted tasks, sleeping carriers |
// | `stack/` | the memory of stacks; overflows |
// | `timers/` | waits for a time |
// | `monitor/` | coroutines that hold their carrier for long |
// | `local/` | values of which each coroutine has its own |
// | `local_task.rs` | coroutines that stay on their thread |
// | `generator.rs` | functions that yield values, and go on where they were |
// | `future/` | the second form: a future as a task, without a stack |
//
// A file imports only files of its own line and of the lines below:
//
// ```text
//   builder  local_task  generator      carrier/run  carrier/thread   first steps; the loop
//   monitor  local/  future/timer       stack/thread  stack/overflow  they ask for the carrier
//   carrier/mod  carrier/turns  carrier/host                          turns and waits
//   scheduler                                                         idle, searching carriers
//   fiber  future/mod  remote                                         tasks and their home
//   timers/  stack/mod  local/storage  future/state                   memory, time
// ```
//
// One circle is left, of `fiber.rs`, `future/mod.rs` and `remote.rs`: a task stores its home,
// whose queues store tasks.

use crate::config;
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
/// Spawned by a coroutine, the new one starts on the same carrier unless another carrier is idle.
/// Spawned by a thread, it starts on any free carrier.
///
/// No order of starts is promised: carriers take unstarted coroutines from each other, and start
/// them at the same time. [`spawn_local`] starts coroutines in the order of its calls.
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

/// Returns the number of carriers that may run coroutines: that of
/// [`Config::carriers`](crate::Config::carriers), else `TRINE_CARRIERS`, else the number of cores
/// that this program may use.
///
/// Carriers start as they are needed, so fewer may be running. The settings are fixed from now on:
/// a later [`configure`](crate::configure) is refused.
///
/// ```
/// let at_once = 4 * trine::coroutine::carriers();
/// assert!(at_once >= 4);
/// ```
pub fn carriers() -> usize {
    config::settings().carriers
}

/// Lets the other coroutines of this carrier run, then goes on. On a plain thread it acts as std's.
///
/// Unlike a wait, it does not put a changed rounding mode (`fesetround` of C) aside: the others
/// would compute with it. Set it back before.
///
/// ```
/// let a = trine::coroutine::spawn(|| for _ in 0..3 { trine::coroutine::yield_now() });
/// let b = trine::coroutine::spawn(|| for _ in 0..3 { trine::coroutine::yield_now() });
/// a.join().and(b.join())?;
/// # Ok::<(), trine::TaskError>(())
/// ```
#[inline]
pub fn yield_now() {
    // Inlined down to the switch: the processor mispredicts a return that crosses a switch.
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

/// Returns the number of stacks in this process, at about this moment. For tests, which prove that
/// no stack is lost.
#[doc(hidden)]
pub fn stack_stats() -> StackStats {
    stack::stats()
}
