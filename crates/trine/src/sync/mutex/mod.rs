//! Mutual exclusion.

mod lock;
mod mapped;

pub use lock::{Mutex, MutexGuard};
pub use mapped::MappedMutexGuard;
