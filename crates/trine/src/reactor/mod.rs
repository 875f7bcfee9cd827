//! Waiting for descriptors: how each kind of caller waits, and what wakes it.
//!
//! A [`Source`] is a descriptor that does not block. A call on it is *attempted* first. Only if the
//! kernel returns `WouldBlock` does the caller wait, and then it attempts again. The way it waits
//! depends on the caller:
//!
//! ```text
//!   caller                          waits by, with io_uring           with epoll
//!   ─────────────────────────────   ───────────────────────────────   ──────────────────────
//!   a coroutine that receives       an operation in its ring          its epoll
//!   from a stream, or with a file   an operation in its ring          a thread that does it
//!   any other caller on a carrier   its epoll, watched by the ring    its epoll
//!   a plain thread                  poll(2), with a bell that its waker rings
//!   any other caller                an epoll with a thread of its own
//! ```
//!
//! Listeners and the like deliberately do not use the ring. An operation keeps its socket open, for
//! some milliseconds even after the process has ended: a server that restarts at once would find
//! its address in use.
//!
//! One of the two back ends is chosen, for the whole program, at the first wait (`backend.rs`).
//!
//! | file | contents |
//! |---|---|
//! | `source.rs` | a descriptor, and the calls on it |
//! | `ready.rs` | waits for readiness alone, in a call and as a future |
//! | `registration.rs` | the known readiness of a descriptor in an epoll, and its waiters |
//! | `backend.rs` | the choice of the back end |
//! | `backoff.rs` | pauses between attempts, for changes that the kernel does not report |
//! | `operation.rs` | operations of a ring, made by the coroutine that waits for them |
//! | `in_flight.rs` | an operation whose completions are outstanding |
//! | `local.rs` | the reactor of a carrier |
//! | `budget.rs` | yields to the other coroutines of a carrier |
//! | `global.rs` | the epoll of callers outside carriers |
//! | `files.rs` | calls on files: an attempt that does not sleep, else a thread |
//! | `blocking.rs` | bounded pools of threads for calls that can only block, one for each kind |
//!
//! # The rules of every back end
//!
//! - **Attempt, then wait, then attempt.** A superfluous wake-up costs a call; a missing wake-up
//!   is a hang. So the known readiness of a descriptor is a hint, and only `WouldBlock` clears it.
//! - **An operation that has begun is waited for**, to its own completion, before its caller goes
//!   on: the kernel works on memory that the caller has borrowed.
//! - **A wait leaves nothing behind**, whether it ends well, times out, or is interrupted.

mod backend;
mod backoff;
pub(crate) mod blocking;
mod budget;
pub(crate) mod files;
mod global;
mod in_flight;
mod local;
mod operation;
mod ready;
mod registration;
mod source;

pub use backend::{ReactorInUse, reactor};
pub(crate) use backoff::Backoff;
pub(crate) use local::Local;
pub(crate) use registration::Direction;
pub(crate) use source::{Limit, Source};
