//! Rows of processes.
//!
//! | file | contents |
//! |---|---|
//! | `roundtrip.rs` | `process_roundtrip` |
//! | `fresh.rs` | `process_spawn` |
//! | `throughput.rs` | `process_throughput` |
//! | `argument.rs` | `process_argument` |
//! | `ready.rs` | `process_ready` |
//! | `worker_kill.rs` | `worker_kill` |
//! | `crashes.rs` | `process_crashes` |
//! | `calls.rs` | the smallest task, and calls of it |

pub mod argument;
mod calls;
pub mod crashes;
pub mod fresh;
pub mod ready;
pub mod roundtrip;
pub mod throughput;
pub mod worker_kill;
