//! Local coroutines of a thread that is no carrier, such as `main`.
//!
//! The thread gets a [`Carrier`] of its own that shares nothing with the others: no work is taken from
//! it, none comes to it but what is spawned by [`spawn_local`](super::spawn_local()). It has no loop
//! either: whenever the thread is about to park, `park` lets it make a turn, and the thread sleeps, on
//! its own word, until it is woken for either reason or the carrier's next timer is due.
//!
//! ```text
//!   park(deadline) ──► turn: a round of what is ready ──► more is ready: return, the caller looks again
//!                                                    └──► nothing: sleep until woken, or a time
//! ```

use super::carrier::{self, Carrier};
use super::thread_stacks;
use crate::sys::signal::fault;
use crate::task::park;

/// Gives the calling thread a carrier. That is leaked, some two KiB, as wakers of its coroutines may come
/// at any time; its stacks pass to other threads (`thread_stacks.rs`).
#[cold]
#[track_caller]
pub(super) fn start() -> &'static Carrier {
    let Some(stacks) = thread_stacks::adopt() else {
        panic!("a local coroutine was spawned at the end of its thread: nothing would run it")
    };
    fault::ensure_signal_stack();
    let carrier = Carrier::of_thread(park::thread_waker(), stacks);
    carrier::enter(carrier);
    carrier
}
