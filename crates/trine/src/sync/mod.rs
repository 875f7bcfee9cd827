//! Locks and channels between tasks of any kind that share this process's memory.

pub mod channel;

#[doc(inline)]
pub use crate::__select as select;
