//! The protocols between a master and its worker.

mod pool;
mod ring_model;
mod service;
mod wire;
mod worker;

/// No function crosses in a model.
mod task {
    pub(super) mod function {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        pub(in crate::process) struct Function;
    }
}
