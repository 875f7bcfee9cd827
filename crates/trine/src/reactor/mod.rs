//! Waiting for descriptors: who waits where, and what tells it.
//!
//! A [`Source`] is a descriptor that does not block. A call on it is *attempted* first; only if the
//! kernel says `WouldBlock` does the caller wait, and then attempts again. How it waits depends on who
//! it is:
//!
//! ```text
//!   caller                                       waits by
//!   ─────────────────────────────────────────    ─────────────────────────────────────────────────
//!   a coroutine or future on a carrier           the carrier's own epoll, `local.rs`
//!   a plain thread                               poll(2), with a bell that its waker rings
//!   whoever else is on no carrier                an epoll with a thread of its own, `large.rs`
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `source.rs` | a descriptor, and the calls on it |
//! | `entry.rs` | what is known of a descriptor in an epoll, and who waits for it |
//! | `local.rs` | the reactor of a carrier |
//! | `large.rs` | the epoll of those who are on no carrier |
//!
//! # The rules of every back end
//!
//! - **Attempt, then wait, then attempt.** Being told too often costs a call; being told too seldom is a
//!   hang. So whatever is known of a descriptor is a hint, and only `WouldBlock` clears it.
//! - **A wait leaves nothing behind**, whether it ends well, times out, or is interrupted.

mod entry;
mod large;
mod local;
mod source;

pub(crate) use local::Local;
pub(crate) use source::{Direction, Source};
