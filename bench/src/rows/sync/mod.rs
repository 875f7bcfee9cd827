//! Rows of channels within a process.
//!
//! | file | contents |
//! |---|---|
//! | `channel.rs` | `channel`, `channel_1_core`, `channel_threads` |
//! | `ping_pong.rs` | `ping_pong`, `ping_pong_threads` |
//! | `ends.rs` | the ends of every peer's channel |
//! | `runners.rs` | the threads, coroutines and tasks that work at the ends |
//! | `portions.rs` | how both measure: in portions, each with fresh tasks |

pub mod channel;
mod ends;
pub mod ping_pong;
mod portions;
mod runners;
