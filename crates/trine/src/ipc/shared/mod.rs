//! Memory that travels as a descriptor, not as a copy.
//!
//! | file | contents |
//! |---|---|
//! | `frozen.rs` | [`Shared`]: immutable |
//! | `atomics.rs` | [`SharedMut`]: written by all, through atomics |
//! | `content.rs` | [`Content`]: the types that a [`Shared`] holds |
//! | `wire.rs` | sending both to another process |
//! | `error.rs` | [`SharedError`] |

mod atomics;
pub(super) mod content;
mod error;
mod frozen;
mod wire;

pub use atomics::{Atomics, SharedMut};
pub use content::Content;
pub use error::SharedError;
pub use frozen::Shared;
