//! Tasks of any kind: how they are run, cancelled and kept in scopes, and what they do with bad input.

mod bad_input;
mod cancel;
#[path = "../common/mod.rs"]
mod common;
mod executor;
mod scope;
mod thread;
