//! Tasks of any kind: how they run, are cancelled, and end in scopes. Also bad input to any part.

mod auto_traits;
mod bad_input;
mod cancel;
#[path = "../common/mod.rs"]
mod common;
mod executor;
mod foreign_wakers;
mod no_time;
mod output;
mod scope;
mod thread;
