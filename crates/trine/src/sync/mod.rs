//! Locks and channels between tasks of any kind that share this process's memory.

pub mod channel;
mod select;

#[doc(inline)]
pub use super::__select as select;
