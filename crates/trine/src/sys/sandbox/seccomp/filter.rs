//! Filters as the kernel runs them, made from lists of denied calls.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// A denied system call, and the arguments for which it is denied.
pub(super) struct Deny {
    call: c_long,
    /// The conditions on its arguments, all of which must hold.
    conditions: Vec<Condition>,
}

/// A condition on an argument, given by its number. Arguments other than pointers are 32 bits wide:
/// the kernel ignores their upper halves too.
#[derive(Clone, Copy)]
pub(super) enum Condition {
    Is(u8, u32),
    Not(u8, u32),
    /// The second number is a mask.
    Bits(u8, u32, u32),
    /// It is not null.
    Pointer(u8),
}

impl Deny {
    pub(super) fn all(call: c_long) -> Deny {
        Deny { call, conditions: Vec::new() }
    }

    pub(super) fn when<const N: usize>(call: c_long, conditions: [Condition; N]) -> Deny {
        Deny { call, conditions: conditions.into() }
    }
}

/// Makes the filter that answers the denied calls with `action`, and allows all others.
pub(super) fn program(denied: Vec<Deny>, action: SeccompAction) -> BpfProgram {
    let mut rules = BTreeMap::<i64, Vec<SeccompRule>>::new();
    let (always, conditional): (Vec<_>, Vec<_>) =
        denied.into_iter().partition(|denied| denied.conditions.is_empty());
    for Deny { call, conditions } in conditional {
        let conditions = conditions.into_iter().map(rule_condition).collect();
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

fn rule_condition(condition: Condition) -> SeccompCondition {
    use SeccompCmpArgLen::{Dword, Qword};
    let (argument, len, operator, value) = match condition {
        Condition::Is(argument, value) => (argument, Dword, SeccompCmpOp::Eq, value),
        Condition::Not(argument, value) => (argument, Dword, SeccompCmpOp::Ne, value),
        Condition::Bits(argument, mask, value) => {
            (argument, Dword, SeccompCmpOp::MaskedEq(mask.into()), value)
        }
        Condition::Pointer(argument) => (argument, Qword, SeccompCmpOp::Ne, 0),
    };
    SeccompCondition::new(argument, len, operator, value.into()).expect("there are six arguments")
}

/// Makes the filter of refusals that never kill: each list of calls fails with its error, and calls
/// with numbers above `last` fail with ENOSYS. On x86-64 the latter include the whole x32 ABI.
///
/// The crate's filters compare numbers for equality only, so this filter is made by hand.
pub(super) fn never_deadly(last: u32, refused: &[(&[c_long], i32)]) -> BpfProgram {
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
    refuse(above, last, libc::ENOSYS);
    for (calls, errno) in refused {
        calls.iter().for_each(|call| refuse(equal, *call as u32, *errno));
    }
    program.push(one(answer, 0, libc::SECCOMP_RET_ALLOW));
    program
}
