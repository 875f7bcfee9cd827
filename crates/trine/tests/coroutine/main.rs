//! Coroutines, generators, values of a coroutine, and futures as tasks.

mod basics;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod ends;
mod future;
mod generator;
mod generator_cancel;
mod generator_ends;
mod local;
mod spawn_local;
mod stack;
