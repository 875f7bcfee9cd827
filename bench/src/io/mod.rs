//! Servers and the load on them: two processes, each with a core of its own.
//!
//! ```text
//!   core 0                                         core 1
//!   ┌───────────────────────────┐      TCP         ┌─────────────────────────────┐
//!   │ the server                │ ◄──────────────► │ the measurement: the load   │
//!   │ `trine-bench serve NAME`, │   127.0.0.1      │ (echo, idle), or wrk,       │
//!   │ Go, nginx, an example     │                  │ started by the measurement  │
//!   └───────────────────────────┘                  └─────────────────────────────┘
//!        prints its address, serves until it is killed
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `server.rs` | a server's process: its start, its memory and processor time, its end |
//! | `nginx.rs` | nginx as a server |
//! | `serve/` | the servers that are functions of this program |
//! | `load/` | the three loads: `echo`, `idle`, `wrk` |
//! | `cores.rs` | the core of each side |
//! | `descriptors.rs` | the limit on descriptors |

pub mod cores;
pub mod descriptors;
pub mod load;
pub mod nginx;
pub mod serve;
pub mod server;
