//! Mappings: stacks with guard pages, and memory that processes share.

pub(crate) mod sealed;
pub(crate) mod shared_bytes;
pub(crate) mod shared_words;
pub(crate) mod stacks;
