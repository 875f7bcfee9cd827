//! Values that are made once, at the first use: [`OnceLock`], [`LazyLock`], and [`Once`] below
//! them.
//!
//! | file | contents |
//! |---|---|
//! | `call.rs` | [`Once`]: the word, and the wait for the task that initialises |
//! | `cell.rs` | [`OnceLock`]: a value that is set once |
//! | `lazy.rs` | [`LazyLock`]: a value and the function that makes it |
//!
//! ```text
//!              call: one compare-and-swap            `init` has returned
//!   INCOMPLETE ──────────────────────────► a number ──────────────────────► COMPLETE, the last
//!        ▲                                     │
//!        └─────────────────────────────────────┘
//!          `init` has unwound: a panic, a cancellation
//! ```
//!
//! The number is that of the task or thread that initialises, and is never used again. So the word
//! is state and owner in one, and a task that reads its own number would wait for itself.
//!
//! The word leaves the number under the queue's lock, which also wakes all waiters. A waiter looks
//! at the word under that lock before it joins, so it does not miss the change. Each looks again
//! after it was woken; after an unwinding the first of them initialises.
//!
//! Ordering: the step to `COMPLETE` releases the value, and every look that sees it acquires. The
//! step back to `INCOMPLETE` releases too, and a call acquires: one initialiser sees what the last
//! one did.

mod call;
mod cell;
mod lazy;

pub use call::Once;
pub use cell::OnceLock;
pub use lazy::LazyLock;
