//! Sockets, files, pipes and FIFOs, and what waits for them.

#[path = "../common/mod.rs"]
mod common;
mod fifo;
mod fs;
mod net;
mod pipe;
mod reactor;
mod reactor_edges;
mod readiness;
mod unix;
