//! Rows of tasks: their switches, their creation and end, their memory, their timers.
//!
//! | file | rows |
//! |---|---|
//! | `yielding.rs` | `yield` |
//! | `crowd.rs` | `yield_crowd` |
//! | `spawn_join.rs` | `spawn_join` |
//! | `registry.rs` | `registry` |
//! | `skynet.rs` | `skynet` |
//! | `cancel.rs` | `cancel` |
//! | `timers.rs` | `timers` |
//! | `os_thread.rs` | `os_thread` |
//! | `idle.rs` | `idle` |

pub mod cancel;
pub mod crowd;
pub mod idle;
pub mod os_thread;
pub mod registry;
pub mod skynet;
pub mod spawn_join;
pub mod timers;
pub mod yielding;
