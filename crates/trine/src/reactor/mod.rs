//! Waiting for descriptors: who waits where, and what tells it.
//!
//! A [`Source`] is a descriptor that does not block. A call on it is *attempted* first; only if the
//! kernel says `WouldBlock` does the caller wait, and then attempts again. How it waits depends on who
//! it is:
//!
//! ```text
//!   caller                                       waits by
//!   ─────────────────────────────────────────    ─────────────────────────────────────────────────
//!   a plain thread                               poll(2), with a bell that its waker rings
//!   whoever else is on no carrier                an epoll of its own thread, `large.rs`
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `source.rs` | a descriptor, and the calls on it |
//! | `entry.rs` | what is known of a descriptor in an epoll, and who waits for it |
//! | `large.rs` | the epoll of those who are on no carrier |
//! | `files.rs` | calls on files: an attempt that does not sleep, else a thread |
//! | `offload.rs` | a bounded pool of threads for what can only block |
//!
//! # The rules of every back end
//!
//! - **Attempt, then wait, then attempt.** Being told too often costs a call; being told too seldom is a
//!   hang. So whatever is known of a descriptor is a hint, and only `WouldBlock` clears it.
//! - **A wait leaves nothing behind**, whether it ends well, times out, or is interrupted.

mod entry;
pub(crate) mod files;
mod large;
pub(crate) mod offload;
mod source;

pub(crate) use source::{Direction, Source};
