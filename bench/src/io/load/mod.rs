//! The loads.
//!
//! | file | load of the row | what it does |
//! |---|---|---|
//! | `echo.rs` | `echo` | connections that send a message and wait for its echo |
//! | `idle.rs` | `connections` | silent connections, then one message on each |
//! | `wrk.rs` | `http` | runs wrk |
//! | `latency.rs` | | the histogram of `echo.rs` |

pub mod echo;
pub mod idle;
mod latency;
pub mod wrk;
