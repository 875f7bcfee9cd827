//! Rights that a process gives up: Landlock, seccomp, `no_new_privs`.

pub(crate) mod landlock;
pub(crate) mod no_new_privs;
pub(crate) mod seccomp;
