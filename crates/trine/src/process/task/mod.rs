//! One process task: its function, its encoded argument, its record, and how it ends.
//!
//! | file | contents |
//! |---|---|
//! | `function.rs` | a function as an offset in the program's image; why that is sound |
//! | `pointer.rs` | a function that crosses inside of an argument |
//! | `value.rs` | an argument or a result as encoded bytes and descriptors |
//! | `hook.rs` | the user's functions that run in a template or worker before its tasks |
//! | `encode.rs` | a call from its function and argument |
//! | `job.rs` | the task as the pool sees it, whatever its types |
//! | `record.rs` | the typeless part of the task's handle: registry entry and outcome |
//! | `gather.rs` | the replies to a task of many arguments |

pub(super) mod encode;
pub(super) mod function;
pub(super) mod gather;
pub(super) mod hook;
pub(super) mod job;
pub(super) mod pointer;
pub(super) mod record;
pub(super) mod value;
