//! seccomp: filters that the kernel consults before every system call, permanently.
//!
//! ```text
//!   system call ─► io_uring_…                                ─► EPERM
//!                  clone3; number too new, or of another ABI ─► ENOSYS
//!                  denied by the policy                      ─► EPERM, or the process is killed
//!                  otherwise                                 ─► the kernel
//! ```
//!
//! There are two filters, as a filter of the crate knows one refusal. The kernel consults both, and
//! the strictest answer counts. A call of a 32-bit ABI kills the process (`seccompiler` checks the
//! architecture).
//!
//! `calls.rs` lists the denied calls, `filter.rs` makes the filters.

mod calls;
mod filter;

use std::io;

use libc::c_long;
use seccompiler::SeccompAction;

use filter::Deny;

/// The rights to deny beyond those that every sandbox denies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// Sockets.
    pub(crate) network: bool,
    /// Running programs.
    pub(crate) programs: bool,
    /// New processes.
    pub(crate) processes: bool,
    /// Signals to other processes.
    pub(crate) signals: bool,
    /// Changing attributes of files by name, and changes of content that Landlock does not check.
    pub(crate) attributes_by_name: bool,
    /// Changing attributes of open files.
    pub(crate) attributes_by_descriptor: bool,
    /// Truncating files by name.
    pub(crate) truncate: bool,
    /// True if a denied call kills the process.
    pub(crate) kills: bool,
}

/// Checks that the kernel has filters.
///
/// # Errors
///
/// The reason why it has none.
pub(crate) fn check() -> Result<(), String> {
    for action in [libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_KILL_PROCESS] {
        let (operation, flags) = (libc::SECCOMP_GET_ACTION_AVAIL, 0);
        // SAFETY: the kernel reads the one number.
        let answer =
            unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const action) };
        if answer != 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => {
                    "the kernel has no seccomp filters: it is built without CONFIG_SECCOMP_FILTER"
                        .into()
                }
                _ => format!("seccomp is refused by what this program runs in: {error}"),
            });
        }
    }
    Ok(())
}

/// Puts `policy` into force for the calling thread and all that it starts.
///
/// # Errors
///
/// The kernel's refusal.
pub(crate) fn enforce(policy: &Policy) -> Result<(), String> {
    let refused =
        |error: seccompiler::Error| format!("the kernel refused a seccomp filter: {error}");
    let denied = match policy.kills {
        true => SeccompAction::KillProcess,
        false => SeccompAction::Errno(libc::EPERM.cast_unsigned()),
    };
    let missing_or_probed = [(calls::MISSING, libc::ENOSYS), (calls::PROBED, libc::EPERM)];
    for filter in [
        filter::never_deadly(calls::LAST, &missing_or_probed),
        filter::program(policy.denied(std::process::id()), denied),
    ] {
        seccompiler::apply_filter(&filter).map_err(refused)?;
    }
    Ok(())
}

impl Policy {
    fn denied(&self, own: u32) -> Vec<Deny> {
        let lists: [(bool, &[c_long]); 9] = [
            (true, calls::ALWAYS),
            (true, calls::old::ALWAYS),
            (self.programs, calls::PROGRAMS),
            (self.processes, calls::old::PROCESSES),
            (self.attributes_by_name, calls::ATTRIBUTES_BY_NAME),
            (self.attributes_by_name, calls::old::ATTRIBUTES_BY_NAME),
            (self.attributes_by_descriptor, calls::ATTRIBUTES_BY_DESCRIPTOR),
            (self.attributes_by_descriptor, &[libc::SYS_utimensat]),
            (self.truncate, &[libc::SYS_truncate]),
        ];
        let wanted = lists.into_iter().filter(|(wanted, _)| *wanted);
        let mut denied: Vec<_> =
            wanted.flat_map(|(_, calls)| calls.iter().map(|call| Deny::all(*call))).collect();
        denied.extend(calls::deny_always(own));
        if self.processes {
            denied.extend(calls::deny_processes());
        }
        if self.network {
            denied.extend(calls::deny_network());
        }
        if self.signals {
            denied.extend(calls::deny_signals(own));
        }
        if self.attributes_by_name {
            denied.extend(calls::deny_content());
        }
        if self.attributes_by_descriptor {
            denied.extend(calls::deny_attributes());
        } else if self.attributes_by_name {
            denied.extend(calls::deny_times());
        }
        denied
    }
}
