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

use std::task::Waker;

use crossbeam_deque::Worker;

use super::super::remote::Remote;
use super::super::stack::{StackCache, thread};
use super::{Carrier, end, host, locals, run};
use crate::sys::signal;
use crate::task::park;

/// Gives the calling thread a carrier.
///
/// The carrier is never freed, since a late wake-up may still be on its way. When the thread has
/// ended, it passes to another one (`end.rs`), and so do its stacks (`stack/thread.rs`).
#[cold]
#[track_caller]
pub(in crate::coroutine) fn start() -> &'static Carrier {
    // Whatever can fail comes before the stacks, which may be in use and so must not be dropped.
    run::scheduler();
    signal::stack::ensure();
    // Before the guard of the thread's end is registered with the stacks: what it ends may wait.
    let waker = park::thread_waker();
    let Some(stacks) = thread::adopt() else { panic!("{}", locals::TOO_LATE) };
    let carrier = end::take(stacks, &waker).unwrap_or_else(|stacks| make(stacks, waker));
    host::enter(carrier);
    carrier
}

fn make(stacks: StackCache, waker: Waker) -> &'static Carrier {
    let remote = Remote::new(usize::MAX, Some(waker));
    let remote = Box::leak(Box::new(remote));
    Carrier::new(run::scheduler(), remote, Worker::new_fifo(), stacks, None)
}
