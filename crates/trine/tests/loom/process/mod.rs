//! What a master and its worker share, and what stands around it.

mod pool;
mod ring_model;
mod service;
mod wire;
mod worker;
