//! The rows of the table, one file each.

mod crowd;
mod fresh_process;
mod idle;
mod os_thread;
mod process_roundtrip;
mod process_throughput;
mod registry;
mod spawn_join;
mod worker_kill;
mod yielding;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ALL: [&Row; 10] = [
    &yielding::ROW,
    &crowd::ROW,
    &spawn_join::ROW,
    &registry::ROW,
    &os_thread::ROW,
    &idle::ROW,
    &process_roundtrip::ROW,
    &fresh_process::ROW,
    &process_throughput::ROW,
    &worker_kill::ROW,
];
