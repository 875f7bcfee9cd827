//! The atomics and the internal lock of what stands in this folder, in one place: the models in
//! `tests/loom_sync.rs` put loom's here and run the very same files.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) use std::hint::spin_loop;
