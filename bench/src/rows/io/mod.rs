//! Rows of sockets and files.
//!
//! | file | row |
//! |---|---|
//! | `echo.rs` | `echo` |
//! | `http.rs` | `http` |
//! | `connections.rs` | `connections` |
//! | `files.rs` | `files` |

pub mod connections;
pub mod echo;
pub mod files;
pub mod http;
