//! Rows of communication between processes.
//!
//! | file | rows |
//! |---|---|
//! | `channel.rs` | `ipc_channel`, `ipc_channel_polling` |
//! | `bytes.rs` | `ipc_bytes` |
//! | `mutex.rs` | `ipc_mutex` |

pub mod bytes;
pub mod channel;
pub mod mutex;
