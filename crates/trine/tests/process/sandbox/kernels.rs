//! Kernels that cannot enforce everything. A filter that refuses a call stands in for a kernel that
//! lacks it.

use std::fs;
use std::time::Duration;

use trine::process::{Builder, Part, Sandbox};
use trine::{Cause, coroutine, time};

use super::calls::attempts_are_refused;
use super::{call, error_of, landlock, run_in, tight};
use crate::common::{again, not_spawned, role, run};

#[test]
fn what_the_kernel_cannot_enforce_is_told() {
    let all = tight().check();
    let parts: Vec<_> = all.missing().iter().map(|missing| missing.part()).collect();
    match landlock() {
        0 => assert_eq!(parts, [Part::Files, Part::OtherProcesses], "{all}"),
        1..5 => assert_eq!(parts, [Part::Files], "{all}"),
        _ => assert!(all.is_complete(), "{all}"),
    }
    let required = run_in(tight().require_all(), (), |()| ());
    assert_eq!(required.is_ok(), all.is_complete());
    // Unix sockets in the file system, which are not completely covered before Linux 7.1.
    let files = Sandbox::new().no_files();
    let required = run_in(files.clone().require_all(), (), |()| ());
    if landlock() >= 9 {
        required.unwrap();
    } else {
        assert!(!files.check().is_complete());
        let error = required.unwrap_err();
        let reason = not_spawned(&error);
        assert!(reason.contains("require_all") && reason.contains("no_network"), "{reason}");
    }
}

/// Makes the kernel answer `call` with `error` from now on, in this process and its children.
fn take_away(call: libc::c_long, error: i32) {
    let action = seccompiler::SeccompAction::Errno(error.cast_unsigned());
    let here = std::env::consts::ARCH.try_into().unwrap();
    let allow = seccompiler::SeccompAction::Allow;
    let rules = [(call, Vec::new())].into();
    let filter = seccompiler::SeccompFilter::new(rules, allow, action, here).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter_all_threads(&program).unwrap();
}

#[test]
fn a_kernel_without_landlock_is_told_and_the_rest_is_enforced() {
    if role().is_none() {
        return drop(run(again("master")));
    }
    take_away(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP);
    let report = tight().check();
    let parts: Vec<_> = report.missing().iter().map(|missing| missing.part()).collect();
    assert_eq!(parts, [Part::Files, Part::OtherProcesses]);
    assert!(report.landlock().is_none() && report.seccomp());
    assert!(report.to_string().contains("`lsm=` list"), "{report}");
    let error = run_in(tight().require_all(), (), |()| ()).unwrap_err();
    let reason = not_spawned(&error);
    assert!(reason.contains("`lsm=` list") && reason.contains("files"), "{reason}");
    // Everything else is denied as before; signals by the filter now.
    attempts_are_refused();
    // A task may still end itself, be cancelled, and use threads.
    let abort = run_in(tight(), (), |()| -> () { std::process::abort() }).unwrap_err();
    assert!(matches!(abort.cause(), Cause::Signaled { signal, .. } if *signal == libc::SIGABRT));
    let sleeper = Builder::new().sandbox(tight()).spawn((), |()| {
        let _other = coroutine::spawn(|| time::sleep(Duration::MAX));
        time::sleep(Duration::MAX);
    });
    sleeper.cancel();
    assert!(sleeper.join().unwrap_err().is_cancelled());
}

#[test]
fn a_kernel_without_filters_is_told_and_the_rest_is_enforced() {
    if role().is_none() {
        return drop(run(again("master")));
    }
    take_away(libc::SYS_seccomp, libc::ENOSYS);
    let report = tight().check();
    assert!(!report.seccomp());
    assert!(report.missing().iter().any(|missing| missing.part() == Part::Network), "{report}");
    let error = run_in(tight().require_all(), (), |()| ()).unwrap_err();
    assert!(not_spawned(&error).contains("CONFIG_SECCOMP_FILTER"), "{error}");
    if landlock() >= 6 {
        let refused = run_in(tight(), (), |()| {
            let master = std::os::unix::process::parent_id() as usize;
            [
                error_of(fs::read("/etc/passwd")),
                error_of(std::net::TcpListener::bind("127.0.0.1:0")),
                call(libc::SYS_kill, [master, 0, 0, 0, 0]),
                call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, master, 0, 0, 0]),
            ]
        });
        let refused = refused.unwrap();
        assert_eq!(refused, [libc::EACCES, libc::EACCES, libc::EPERM, libc::EPERM]);
    }
}
