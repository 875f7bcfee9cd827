//! Sockets, files, pipes and FIFOs, and the reactor that waits for them.

#[path = "../common/mod.rs"]
mod common;
mod fifo;
mod fs;
mod lanes;
mod looks;
mod net;
mod pipe;
mod reactor;
mod reactor_edges;
mod readiness;
mod terminals;
mod unix;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Makes tests that need hundreds of descriptors take turns, since a program may have a limit of
/// 1024.
fn hundreds_of_descriptors() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
