//! The atomics of memory that is shared with other processes, and the lock of the threads of this
//! process that access it. They are in one file because the models in `tests/loom` replace it by
//! loom's and check the library's own files.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};
