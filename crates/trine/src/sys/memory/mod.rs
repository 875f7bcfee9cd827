//! Mappings: stacks with guard pages, and memory that processes share.
//!
//! | file | contents |
//! |---|---|
//! | `stacks.rs` | address space for stacks, with guard pages |
//! | `mapping.rs` | one mapping of a file, unmapped on drop |
//! | `memfd.rs` | files without a name: making, sealing and checking them |
//! | `racy.rs` | copies to and from memory that other processes may write at the same time |
//! | `shared.rs` | memory of a fixed size that other processes may write to: words and copies |
//! | `sealed.rs` | the memory behind `ipc::Shared`: drafts, frozen and open memory |

pub(super) mod mapping;
pub(crate) mod memfd;
mod racy;
pub(crate) mod sealed;
pub(crate) mod shared;
pub(crate) mod stacks;
