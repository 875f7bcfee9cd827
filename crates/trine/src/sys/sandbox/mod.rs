//! Rights that a process gives up permanently.
//!
//! | file | contents |
//! |---|---|
//! | `landlock.rs` | access to files, TCP and other processes by name |
//! | `seccomp/` | system calls |
//! | `no_new_privs.rs` | new rights by `exec`, and capabilities |

pub(crate) mod landlock;
pub(crate) mod no_new_privs;
pub(crate) mod seccomp;
