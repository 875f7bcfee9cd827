//! Sockets, files, pipes and FIFOs, and what waits for them.

#[path = "../common/mod.rs"]
mod common;
mod fifo;
mod fs;
mod net;
mod pipe;
mod reactor;
mod reactor_edges;
mod readiness;
mod unix;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Taken by each test that needs hundreds of descriptors: a program may have a limit of 1024.
fn hundreds_of_descriptors() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
