//! Process tasks under limits of the system: the error names the limit, and the program goes on.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Resource;
use trine::ipc::Shared;
use trine::ipc::channel::{Receiver, channel};
use trine::process;

use crate::common::limits::limit;
use crate::common::waiting::until;
use crate::common::{
    again, child, children_of_all_threads, copy, not_spawned, role, run, this_test,
};

#[test]
fn two_thousand_processes_share_a_limit_of_a_thousand_descriptors() {
    if role().is_some() {
        let most = std::sync::atomic::AtomicUsize::new(0);
        let tasks: Vec<_> = (0..2_000_u64).map(|n| process::spawn(n, |n| n + 1)).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join().unwrap(), n + 1);
            let open = fs::read_dir("/proc/self/fd").unwrap().count();
            most.fetch_max(open, std::sync::atomic::Ordering::Relaxed);
        }
        let most = most.into_inner();
        assert!(most < 700, "{most} descriptors were open at once");
        return;
    }
    run(limited(again("master"), libc::RLIMIT_NOFILE, 1000));
}

/// Makes the child start with a lower limit.
fn limited(mut command: Command, resource: libc::__rlimit_resource_t, most: u64) -> Command {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: setrlimit may be called between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(resource, &raw const limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    command
}

#[test]
fn no_more_descriptors_is_an_error_that_names_the_limit() {
    if role().is_some() {
        let pool = process::Pool::new(1);
        assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
        let mut hoard = Vec::new();
        let error = loop {
            while let Ok(file) = fs::File::open("/dev/null") {
                hoard.push(file);
            }
            // The descriptors that are kept for the next worker are used for it, and are free after
            // it.
            match process::spawn(1, |n: u8| n).join() {
                Ok(value) => assert_eq!(value, 1),
                Err(error) => break error,
            }
        };
        let reason = not_spawned(&error);
        assert!(reason.contains("RLIMIT_NOFILE") && reason.contains("ulimit -n"), "{reason}");
        // Running workers go on, also when a pool's worker dies and cannot be replaced.
        assert_eq!(pool.spawn(2, |n: u8| n).join().unwrap(), 2);
        // One or two descriptors are enough for a part of a worker's needs, never for more.
        for spare in 1..=3 {
            hoard.pop();
            let error = process::spawn(1, |n: u8| n).join();
            if let Err(error) = error {
                let reason = not_spawned(&error);
                assert!(reason.contains("RLIMIT_NOFILE"), "with {spare} spare: {reason}");
            }
        }
        drop(hoard);
        assert_eq!(process::spawn(3, |n: u8| n).join().unwrap(), 3);
        pool.shutdown();
        return;
    }
    run(limited(again("master"), libc::RLIMIT_NOFILE, 100));
}

/// Makes the kernel look older than 6.4, where the auxiliary vector is in a file only. The page
/// size is known without it.
fn take_auxiliary_vector_away() {
    use seccompiler::{SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, *};
    const PR_GET_AUXV: u64 = 0x4155_5856;
    let asks = SeccompCondition::new(0, Qword, Eq, PR_GET_AUXV).unwrap();
    let rules = [(libc::SYS_prctl, vec![SeccompRule::new(vec![asks]).unwrap()])].into();
    let here = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(libc::EINVAL.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, here).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter_all_threads(&program).unwrap();
}

#[test]
fn no_descriptors_at_the_start_is_an_error_and_passes() {
    if role().is_some() {
        take_auxiliary_vector_away();
        let mut hoard = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            hoard.push(file);
        }
        for _ in 0..8 {
            // At each number of spare descriptors another step fails first.
            let error = process::spawn(1, |n: u8| n).join();
            match error {
                Ok(value) => assert_eq!(value, 1),
                Err(error) => {
                    assert!(not_spawned(&error).contains("RLIMIT_NOFILE"), "{error}");
                }
            }
            hoard.pop();
        }
        drop(hoard);
        assert_eq!(process::spawn(3, |n: u8| n).join().unwrap(), 3);
        return;
    }
    run(limited(again("master"), libc::RLIMIT_NOFILE, 100));
}

#[test]
fn no_more_processes_is_an_error_that_names_the_limit() {
    if role().is_some() {
        // The limit applies to a user, and the superuser has none.
        //
        // SAFETY: no memory involved.
        if unsafe { libc::getuid() } == 0 {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setuid(54_321) }, 0);
        }
        limit(Resource::Nproc, 4000);
        let pool = process::Pool::new(2);
        pool.spawn(0, |n: u8| n).join().unwrap();
        // One worker may have done all of it, with the other still starting.
        until(|| pool.worker_pids().len() == 2);
        // The template's limit counts for a fork.
        let template = children_of_all_threads(std::process::id())
            .into_iter()
            .find(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm"));
                name.is_ok_and(|name| name.trim() == "trine-template")
            })
            .unwrap();
        let limit_template = |most: u64| {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: 4000 };
            let (pid, none) = (template.cast_signed(), std::ptr::null_mut());
            // SAFETY: a valid `rlimit`; a process of the same user.
            let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NPROC, &raw const limit, none) };
            assert_eq!(done, 0);
        };
        limit_template(0);
        let error = process::spawn(1, |n: u8| n).join().unwrap_err();
        let reason = not_spawned(&error);
        assert!(reason.contains("RLIMIT_NPROC"), "{reason}");
        // Running workers go on, and so does a pool that loses one of its workers.
        let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
        assert!(error.is_crash(), "{error}");
        assert_eq!(pool.spawn(2, |n: u8| n).join().unwrap(), 2);
        // When the last worker has died, its tasks fail rather than wait forever.
        let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
        assert!(error.is_crash(), "{error}");
        let error = pool.spawn(2, |n: u8| n).join().unwrap_err();
        assert!(not_spawned(&error).contains("RLIMIT_NPROC"), "{error}");
        // When there is room again, the next task finds it.
        limit_template(4000);
        assert_eq!(pool.spawn(2, |n: u8| n).join().unwrap(), 2);
        assert_eq!(process::spawn(2, |n: u8| n).join().unwrap(), 2);
        return;
    }
    run(child(&copy("no-more-processes").0, &this_test(), "master"));
}

/// A user may have as many descriptors in flight between processes as one process may have open.
#[test]
fn what_no_descriptor_may_travel_for_arrives_later() {
    if role().is_none() {
        run(limited(again("master"), libc::RLIMIT_NOFILE, 100));
        return;
    }
    // The superuser may have any number in flight.
    // SAFETY: no memory involved.
    if unsafe { libc::getuid() } == 0 {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setuid(54_322) }, 0);
    }
    let pool = process::Pool::new(1);
    let text = Shared::from_slice(b"as long as it takes").unwrap();
    let len = |text: Shared<[u8]>| text.len();
    assert_eq!(pool.spawn(text.clone(), len).join().unwrap(), text.len());
    // An argument.
    let in_flight = as_many_in_flight_as_may_be();
    let there = pool.spawn(text.clone(), len);
    let there = there.join_timeout(Duration::from_millis(50)).unwrap_err();
    drop(in_flight);
    assert_eq!(there.join().unwrap(), text.len());
    // A value.
    let (own, worker) = channel::<u8>(1).unwrap();
    let back = pool.spawn((worker, text.clone()), wait_for_message);
    let in_flight = as_many_in_flight_as_may_be();
    own.send(1).unwrap();
    let back = back.join_timeout(Duration::from_millis(50)).unwrap_err();
    drop(in_flight);
    assert_eq!(*back.join().unwrap(), *text);
}

fn wait_for_message<T>((words, value): (Receiver<u8>, T)) -> T {
    words.recv().unwrap();
    value
}

/// Sends descriptors until no more may be in flight. Returns the receiving socket; closing it frees
/// them.
fn as_many_in_flight_as_may_be() -> UnixStream {
    let (from, to) = UnixStream::pair().unwrap();
    loop {
        let many = [from.as_fd(); 40];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        if let Err(error) = sendmsg(&from, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())
        {
            assert_eq!(error, Errno::TOOMANYREFS);
            return to;
        }
    }
}
