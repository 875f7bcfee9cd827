//! Descriptors, file sizes, core files, niceness and processors of a process task.

use std::fs::File;
use std::io::{ErrorKind, Write};

use rustix::process::Resource;
use trine::Cause;
use trine::process::Builder;

use crate::common::limits::limit;
use crate::common::{child, not_spawned, role, run, this_test, worker_group};

fn limit_of(resource: libc::__rlimit_resource_t) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills `limit`.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

fn reason_of(builder: Builder) -> String {
    let error = builder.spawn((), |()| ()).join().unwrap_err();
    not_spawned(&error).to_owned()
}

#[test]
fn descriptors_are_limited() {
    let task = Builder::new().open_files(32).spawn((), |()| {
        let mut files = Vec::new();
        let error = loop {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(error) => break error,
            }
        };
        (files.len() < 32, error.raw_os_error() == Some(libc::EMFILE))
    });
    assert_eq!(task.join().unwrap(), (true, true));
    let reason = reason_of(Builder::new().open_files(3));
    assert!(reason.contains("3 open files") && reason.contains("allow 16"), "{reason}");
}

/// Makes a file without a name.
fn nameless() -> File {
    // SAFETY: a new descriptor, which nothing else owns.
    unsafe {
        let descriptor = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        std::os::fd::FromRawFd::from_raw_fd(descriptor)
    }
}

#[test]
fn files_are_limited() {
    let write = |()| nameless().write_all(&[7; 5000]).is_ok();
    let error = Builder::new().file_size_limit(4096).spawn((), write).join().unwrap_err();
    let Cause::Signaled { signal: libc::SIGXFSZ, .. } = error.cause() else { panic!("{error:?}") };
    assert!(Builder::new().file_size_limit(5000).spawn((), write).join().unwrap());
    let ignores = Builder::new().file_size_limit(4096).spawn((), |()| {
        // SAFETY: ignoring a signal installs no code.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        nameless().write_all(&[7; 5000]).unwrap_err().kind() == ErrorKind::FileTooLarge
    });
    assert!(ignores.join().unwrap());
    // No file at all: a pipe can still be written.
    let none = Builder::new().file_size_limit(0).spawn((), |()| {
        let (_reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[7; 5000]).is_ok()
    });
    assert!(none.join().unwrap());
}

#[test]
fn core_files_are_written_or_not() {
    let core = |()| limit_of(libc::RLIMIT_CORE);
    let own = limit_of(libc::RLIMIT_CORE);
    assert_eq!(Builder::new().spawn((), core).join().unwrap(), own);
    assert_eq!(Builder::new().core_dumps(false).spawn((), core).join().unwrap(), (0, 0));
    assert_eq!(Builder::new().core_dumps(true).spawn((), core).join().unwrap(), (own.1, own.1));
}

#[test]
fn niceness_is_set_for_all_that_the_task_does() {
    fn nice() -> i32 {
        // SAFETY: only queries.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }
    let task =
        Builder::new().nice(17).spawn((), |()| (nice(), std::thread::spawn(nice).join().unwrap()));
    assert_eq!(task.join().unwrap(), (17, 17));
    for wrong in [-21, 20, i32::MAX] {
        let reason = reason_of(Builder::new().nice(wrong));
        assert!(
            reason.contains(&wrong.to_string()) && reason.contains("from -20 to 19"),
            "{reason}"
        );
    }
}

#[test]
fn a_niceness_and_limits_that_take_a_privilege_are_refused_with_a_remedy() {
    if role().is_none() {
        run(child(&crate::common::copy("privileges").0, &this_test(), "user"));
        return;
    }
    // SAFETY: no memory involved.
    if unsafe { libc::getuid() } == 0 {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setuid(54_321) }, 0);
    }
    limit(Resource::Nofile, 500);
    // SAFETY: no memory involved.
    let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if own > -20 {
        let reason = reason_of(Builder::new().nice(own - 1));
        let named = format!("niceness {}", own - 1);
        assert!(reason.contains(&named) && reason.contains("ulimit -e"), "{reason}");
    }
    let reason = reason_of(Builder::new().open_files(501));
    assert!(reason.contains("cannot allow 501 open files"), "{reason}");
    assert!(reason.contains("may have 500"), "{reason}");
    assert_eq!(Builder::new().open_files(400).spawn(7, |n: u8| n).join().unwrap(), 7);
}

#[test]
fn a_task_runs_where_it_is_told_to() {
    let processors = |()| {
        // SAFETY: the kernel fills the set.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
            (0..libc::CPU_SETSIZE as usize)
                .filter(|n| libc::CPU_ISSET(*n, &set))
                .collect::<Vec<_>>()
        }
    };
    let own = Builder::new().spawn((), processors).join().unwrap();
    for processor in &own {
        let task = Builder::new().affinity([*processor]).spawn((), processors);
        assert_eq!(task.join().unwrap(), [*processor]);
    }
    assert_eq!(Builder::new().affinity(own.clone()).spawn((), processors).join().unwrap(), own);
    let reason = reason_of(Builder::new().affinity([]));
    assert!(reason.contains("no processor"), "{reason}");
    for (wrong, named) in
        [(vec![own[0], 1000], "processor 1000:"), (vec![usize::MAX], &*usize::MAX.to_string())]
    {
        let reason = reason_of(Builder::new().affinity(wrong));
        assert!(reason.contains(named) && reason.contains("may run on"), "{reason}");
    }
}

#[test]
fn limits_hold_for_one_task_and_not_for_the_next() {
    let unlimited = Builder::new().spawn((), |()| limit_of(libc::RLIMIT_DATA)).join().unwrap();
    let task = Builder::new().memory_limit(1 << 30).spawn((), |()| limit_of(libc::RLIMIT_DATA));
    let limit = task.join().unwrap();
    // If there can be a control group, it has the limit in place of the process.
    assert!(limit == (1 << 30, 1 << 30) || worker_group().is_some(), "{limit:?}");
    let after = Builder::new().spawn((), |()| limit_of(libc::RLIMIT_DATA)).join().unwrap();
    assert_eq!(after, unlimited);
}
