//! Waiting for descriptors: who waits where, and what tells it.
//!
//! A [`Source`] is a descriptor that does not block. A call on it is *attempted* first; only if the
//! kernel says `WouldBlock` does the caller wait, and then attempts again. How it waits depends on who
//! it is:
//!
//! ```text
//!   caller                          waits by, with io_uring           with epoll
//!   ─────────────────────────────   ───────────────────────────────   ─────────────────────────────
//!   a coroutine that receives       an operation in its ring          its epoll
//!   from a stream, or with a file   an operation in its ring          a thread that does it
//!   anybody else on a carrier       its epoll, watched by the ring    its epoll
//!   a plain thread                  poll(2), with a bell that its waker rings
//!   whoever else is on no carrier   an epoll with a thread of its own
//! ```
//!
//! Listeners and the like are kept out of the ring on purpose: an operation holds on to its socket, for
//! some milliseconds also after the process has ended, and who starts the server again at once would find its
//! address in use.
//!
//! Of the two back ends one is chosen, for the whole program, at the first wait (`backend.rs`).
//!
//! | file | what it holds |
//! |---|---|
//! | `source.rs` | a descriptor, and the calls on it |
//! | `registration.rs` | what is known of a descriptor in an epoll, and who waits for it |
//! | `backend.rs` | which back end |
//! | `operation.rs` | an operation of a ring, and who waits for it |
//! | `local.rs` | the reactor of a carrier |
//! | `budget.rs` | turns for the others of a carrier |
//! | `global.rs` | the epoll of those who are on no carrier |
//! | `files.rs` | calls on files: an attempt that does not sleep, else a thread |
//! | `blocking.rs` | a bounded pool of threads for what can only block |
//!
//! # The rules of every back end
//!
//! - **Attempt, then wait, then attempt.** Being told too often costs a call; being told too seldom is a
//!   hang. So whatever is known of a descriptor is a hint, and only `WouldBlock` clears it.
//! - **An operation that has begun is waited for**, to its own completion, before its caller goes on: the
//!   kernel works on memory that the caller has borrowed.
//! - **A wait leaves nothing behind**, whether it ends well, times out, or is interrupted.

mod backend;
pub(crate) mod blocking;
mod budget;
pub(crate) mod files;
mod global;
mod local;
mod operation;
mod registration;
mod source;

pub use backend::{ReactorInUse, reactor};
pub(crate) use local::Local;
pub(crate) use source::{Direction, Source};
