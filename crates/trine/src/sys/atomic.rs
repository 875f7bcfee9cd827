//! The atomics of what is shared with other processes, and the lock of those of this one who look at it: in one place,
//! since the models in `tests/loom` put loom's here and check the very same files.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};
