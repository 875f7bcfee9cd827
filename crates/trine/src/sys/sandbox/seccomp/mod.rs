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
//! `calls.rs` lists the denied calls.

mod calls;

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

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

/// A denied system call, and the arguments for which it is denied.
struct Deny {
    call: c_long,
    /// The conditions on its arguments, all of which must hold.
    given: Vec<Given>,
}

/// A condition on an argument, given by its number. Arguments other than pointers are 32 bits wide:
/// the kernel ignores their upper halves too.
#[derive(Clone, Copy)]
enum Given {
    Is(u8, u32),
    Not(u8, u32),
    /// The second number is a mask.
    Bits(u8, u32, u32),
    /// It is not null.
    Pointer(u8),
}

impl Deny {
    fn all(call: c_long) -> Deny {
        Deny { call, given: Vec::new() }
    }

    fn when<const N: usize>(call: c_long, given: [Given; N]) -> Deny {
        Deny { call, given: given.into() }
    }
}

/// Checks that the kernel has filters.
///
/// # Errors
///
/// The reason why it has none.
pub(crate) fn look() -> Result<(), String> {
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
    for filter in [refused_softly(), program(policy.denied(std::process::id()), denied)] {
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
        denied.extend(calls::always_given(own));
        if self.processes {
            denied.extend(calls::processes_given());
        }
        if self.network {
            denied.extend(calls::network_given());
        }
        if self.signals {
            denied.extend(calls::signals_given(own));
        }
        if self.attributes_by_name {
            denied.extend(calls::content_given());
        }
        if self.attributes_by_descriptor {
            denied.extend(calls::attributes_given());
        } else if self.attributes_by_name {
            denied.extend(calls::times_given());
        }
        denied
    }
}

fn program(denied: Vec<Deny>, action: SeccompAction) -> BpfProgram {
    let mut rules = BTreeMap::<i64, Vec<SeccompRule>>::new();
    let (always, given): (Vec<_>, Vec<_>) = denied.into_iter().partition(|d| d.given.is_empty());
    for Deny { call, given } in given {
        let conditions = given.into_iter().map(condition).collect();
        let rule = SeccompRule::new(conditions).expect("there is a condition");
        rules.entry(call).or_default().push(rule);
    }
    // An empty list of rules denies every use of the call.
    rules.extend(always.into_iter().map(|denied| (denied.call, Vec::new())));
    let here = std::env::consts::ARCH.try_into().expect("x86-64 or aarch64");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, here);
    let program = filter.and_then(TryInto::try_into);
    program.expect("two actions, and fewer rules than a filter has room for")
}

fn condition(given: Given) -> SeccompCondition {
    use SeccompCmpArgLen::{Dword, Qword};
    let (argument, len, operator, value) = match given {
        Given::Is(argument, value) => (argument, Dword, SeccompCmpOp::Eq, value),
        Given::Not(argument, value) => (argument, Dword, SeccompCmpOp::Ne, value),
        Given::Bits(argument, mask, value) => {
            (argument, Dword, SeccompCmpOp::MaskedEq(mask.into()), value)
        }
        Given::Pointer(argument) => (argument, Qword, SeccompCmpOp::Ne, 0),
    };
    SeccompCondition::new(argument, len, operator, value.into()).expect("there are six arguments")
}

/// Makes the filter of refusals that never kill. They include numbers above the last known one, and
/// on x86-64 thereby the whole x32 ABI: the crate's filters compare numbers for equality only.
fn refused_softly() -> BpfProgram {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let (equal, above) = (libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_JMP | libc::BPF_JGT);
    let answer = libc::BPF_RET;
    let one = |code: u32, jf, k| sock_filter { code: code as u16, jt: 0, jf, k };
    let refusal = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    // The number is the first field of the data that the kernel passes to a filter.
    let mut program = vec![one(load, 0, 0)];
    let mut refuse = |when, number, errno| {
        program.extend([one(when, 1, number), one(answer, 0, refusal(errno))]);
    };
    refuse(above, calls::LAST, libc::ENOSYS);
    for (calls, errno) in [(calls::MISSING, libc::ENOSYS), (calls::PROBED, libc::EPERM)] {
        calls.iter().for_each(|call| refuse(equal, *call as u32, errno));
    }
    program.push(one(answer, 0, libc::SECCOMP_RET_ALLOW));
    program
}
