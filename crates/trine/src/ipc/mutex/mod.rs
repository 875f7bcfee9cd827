//! A lock that processes share, and that survives the death of its holder.
//!
//! | file | contents |
//! |---|---|
//! | `lock.rs` | [`Mutex`], and sending it to other processes |
//! | `guard.rs` | [`MutexGuard`], [`OwnerDied`] |
//! | `attachment.rs` | liveness of the processes, and waits |
//! | `state.rs` | the memory, and the transitions of the lock |

mod attachment;
mod guard;
mod lock;
mod state;

pub use guard::{LockResult, MutexGuard, OwnerDied};
pub use lock::Mutex;
