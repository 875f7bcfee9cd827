//! IPC: shared memory, channels, locks, semaphores and message queues.

mod channel;
#[path = "../common/mod.rs"]
mod common;
mod inherited;
mod limits;
mod message_queue;
mod mutex;
mod owners;
mod semaphore;
mod shared;
