//! Processes: how they start, are watched and killed, and what they share with their parent.
//!
//! | file | contents |
//! |---|---|
//! | `child.rs` | children: watching, killing and reaping them |
//! | `current.rs` | the calling process: its parent, rights, name, threads and end |
//! | `clone.rs` | forking a process with one thread |
//! | `spawn.rs` | running this program a second time |
//! | `descriptors.rs` | the table of open descriptors |
//! | `fork_detect.rs` | detecting that this process is a copy made by `fork` |
//! | `lifeline.rs` | killing a process by the end of a socket, whichever user it runs as |
//! | `image.rs` | the program in memory: its load address, its fingerprint |

pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod current;
pub(crate) mod descriptors;
pub(crate) mod fork_detect;
pub(crate) mod image;
pub(crate) mod lifeline;
pub(crate) mod spawn;
