//! A lock for many readers or one writer.

mod lock;
mod mapped;

pub use lock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use mapped::{MappedRwLockReadGuard, MappedRwLockWriteGuard};
