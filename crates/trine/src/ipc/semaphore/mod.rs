//! Semaphores that processes share.
//!
//! | waiter | how it waits |
//! |---|---|
//! | a plain thread | on the shared word itself, and on the word that cancels the thread (`task::wait::for_word`) |
//! | a coroutine | a thread sleeps for all coroutines |
//! | a coroutine, before Linux 5.16 or where a sandbox forbids `futex_waitv` | looks again after 1 ms, then less often, up to 16 ms apart |
//!
//! | file | contents |
//! |---|---|
//! | `handle.rs` | [`Semaphore`], [`SemaphorePermit`] |
//! | `options.rs` | opening by a name: [`SemaphoreOptions`] |
//! | `state.rs` | the word in shared memory, and its transitions |
//! | `watch.rs` | the thread that sleeps for coroutines |
//! | `carried.rs` | sending a semaphore to another process |

mod carried;
mod handle;
mod options;
mod state;
mod watch;

pub use handle::{Semaphore, SemaphorePermit};
pub use options::SemaphoreOptions;
