//! The rows of the table.
//!
//! | folder | rows of |
//! |---|---|
//! | `task/` | tasks alone: switches, creation, memory, timers |
//! | `sync/` | channels within a process |
//! | `io/` | sockets and files |
//! | `process/` | tasks in processes |
//! | `ipc/` | communication between processes |
//! | `runtimes.rs` | no row: tokio's runtimes, for several of them |

mod io;
mod ipc;
mod process;
mod runtimes;
mod sync;
mod task;

pub use process::roundtrip::answer;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ALL: [&Row; 29] = [
    &task::yielding::ROW,
    &task::crowd::ROW,
    &task::spawn_join::ROW,
    &task::registry::ROW,
    &task::skynet::ROW,
    &sync::ping_pong::ROW,
    &sync::ping_pong::THREADS,
    &sync::channel::ROW,
    &sync::channel::ONE_CORE,
    &sync::channel::THREADS,
    &task::cancel::ROW,
    &task::timers::ROW,
    &task::os_thread::ROW,
    &task::idle::ROW,
    &io::echo::ROW,
    &io::http::ROW,
    &io::connections::ROW,
    &io::files::ROW,
    &process::roundtrip::ROW,
    &process::fresh::ROW,
    &process::throughput::ROW,
    &process::argument::ROW,
    &process::ready::ROW,
    &process::worker_kill::ROW,
    &process::crashes::ROW,
    &ipc::channel::ROW,
    &ipc::channel::POLLING,
    &ipc::bytes::ROW,
    &ipc::mutex::ROW,
];
