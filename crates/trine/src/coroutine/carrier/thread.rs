//! The carrier of a thread that is none of the scheduler's, such as `main`: for its local
//! coroutines.
//!
//! The thread gets a [`Carrier`] of its own that shares nothing with the others. No work is taken
//! from it, and it gets no work but the coroutines that [`spawn_local`] spawns. It has no loop
//! either: each time the thread is about to park, `park` lets the carrier make a turn. Then the
//! thread sleeps, on its own word, until it is woken for either reason or the carrier's next timer
//! is due.
//!
//! ```text
//!   park(deadline) ──► turn: a round of ready tasks ──► more are ready: return, to look again
//!                                                  └──► none: sleep until woken, or a time
//! ```
//!
//! [`spawn_local`]: crate::coroutine::spawn_local()

use crossbeam_deque::Worker;

use super::super::remote::Remote;
use super::super::stack::thread;
use super::{Carrier, host, run};
use crate::sys::signal::fault;
use crate::task::park;

/// Gives the calling thread a carrier.
///
/// The carrier, some two KiB, is leaked, since wakers of its coroutines may come at any time. Its
/// stacks pass to other threads (`stack/thread.rs`).
#[cold]
#[track_caller]
pub(in crate::coroutine) fn start() -> &'static Carrier {
    let Some(stacks) = thread::adopt() else {
        panic!("a local coroutine was spawned at the end of its thread: nothing would run it")
    };
    fault::ensure_signal_stack();
    let remote = Remote::new(usize::MAX, Some(park::thread_waker()));
    let remote = Box::leak(Box::new(remote));
    let carrier = Carrier::new(run::scheduler(), remote, Worker::new_fifo(), stacks, None);
    host::enter(carrier);
    carrier
}
