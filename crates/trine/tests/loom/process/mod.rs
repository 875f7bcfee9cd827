//! The protocols between a master and its worker.

mod pool;
mod ring_model;
mod service;
mod wire;
mod worker;
