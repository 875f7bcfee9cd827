//! Processes: start, fork, wait for and kill them, and what a fork shares.

pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod descriptors;
pub(crate) mod fork_detect;
pub(crate) mod image;
pub(crate) mod lineage;
pub(crate) mod spawn;
