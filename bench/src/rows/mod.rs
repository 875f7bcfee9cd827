//! The rows of the table, one file each. What those of channels share: `ends.rs`, the ends of every
//! peer's channel, and `crews.rs`, who works at them.

mod cancel;
mod channel;
mod connections;
mod crews;
mod crowd;
mod echo;
mod ends;
mod files;
mod fresh_process;
mod http;
mod idle;
mod ipc_bytes;
mod ipc_channel;
mod ipc_mutex;
mod os_thread;
mod ping_pong;
mod process_argument;
mod process_crashes;
mod process_ready;
mod process_roundtrip;
mod process_throughput;
mod registry;
mod skynet;
mod spawn_join;
mod timers;
mod worker_kill;
mod yielding;

pub use process_roundtrip::answer;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ALL: [&Row; 29] = [
    &yielding::ROW,
    &crowd::ROW,
    &spawn_join::ROW,
    &registry::ROW,
    &skynet::ROW,
    &ping_pong::ROW,
    &ping_pong::THREADS,
    &channel::ROW,
    &channel::ONE_CORE,
    &channel::THREADS,
    &cancel::ROW,
    &timers::ROW,
    &os_thread::ROW,
    &idle::ROW,
    &echo::ROW,
    &http::ROW,
    &connections::ROW,
    &files::ROW,
    &process_roundtrip::ROW,
    &fresh_process::ROW,
    &process_throughput::ROW,
    &process_argument::ROW,
    &process_ready::ROW,
    &worker_kill::ROW,
    &process_crashes::ROW,
    &ipc_channel::ROW,
    &ipc_channel::POLLING,
    &ipc_bytes::ROW,
    &ipc_mutex::ROW,
];
