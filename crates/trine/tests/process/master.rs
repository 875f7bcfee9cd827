//! The life of a master and its template, seen from outside. The tests run themselves as a child.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use trine::{Cause, process};

use crate::common::processes::{descriptors, sockets_of_a_worker, stay_for_ever};
use crate::common::{
    again, child, children_of_all_threads, copy, not_spawned, role, run, this_program, this_test,
};

/// Waits until the child prints a line with `word`. Returns the rest of the line.
pub(crate) fn wait_for_line(child: &mut Child, word: &str) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the child ended without `{word}`");
        if byte != *b"\n" {
            line.push(byte[0]);
            continue;
        }
        // The harness writes `test name ... ` in front of the first line.
        let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
        if let Some((_, rest)) = text.split_once(word) {
            return rest.trim().to_owned();
        }
    }
}

pub(crate) fn print_line(word: &str, rest: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{word} {rest}").unwrap();
    stdout.flush().unwrap();
}

/// A handle that can wait for the end of any process.
pub(crate) struct Handle(std::os::fd::OwnedFd);

pub(crate) fn handle(pid: u32) -> Handle {
    use std::os::fd::FromRawFd;
    // SAFETY: no memory involved.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor, which nothing else owns.
    Handle(unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor as i32) })
}

impl Handle {
    /// Kills the process, if it has not ended.
    pub(crate) fn kill(&self) {
        let (signal, none) = (libc::SIGKILL, std::ptr::null::<libc::siginfo_t>());
        // SAFETY: no memory involved.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, none, 0) };
    }

    /// Waits for the end of the process, far longer than it can take.
    pub(crate) fn wait(&self) {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid `pollfd`.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 60_000) }, 1, "the process lives on");
    }
}

fn shared_memory_files() -> usize {
    fs::read_dir("/dev/shm").map_or(0, Iterator::count)
}

#[test]
fn a_master_that_is_killed_leaves_nothing() {
    if role().is_some() {
        // A tree: workers that stay, one of which has workers of its own.
        let pool = process::Pool::new(2);
        let stay = |()| -> () { stay_for_ever() };
        let (read, write) = pipe_paths();
        let _nested = process::spawn(write, |path: String| -> () {
            let pool = process::Pool::new(1);
            let pid = pool.spawn((), |()| std::process::id()).join().unwrap();
            let mine = std::process::id();
            let all: Vec<u32> =
                children_of_all_threads(mine).into_iter().chain([mine, pid]).collect();
            fs::write(path, format!("{all:?}")).unwrap();
            stay_for_ever()
        });
        let _stay = (pool.spawn((), stay), process::spawn((), stay));
        let deeper = fs::read_to_string(&read).unwrap();
        fs::remove_file(read).unwrap();
        // Every worker and template is forked when these have answered.
        process::pool().spawn((), |()| ()).join().unwrap();
        let mine = children_of_all_threads(std::process::id());
        print_line("FAMILY", &format!("{mine:?} {deeper}"));
        stay(());
    }
    let before = shared_memory_files();
    let mut child = again("master").spawn().unwrap();
    let family = wait_for_line(&mut child, "FAMILY");
    let pids: Vec<u32> =
        family.split(|c: char| !c.is_ascii_digit()).filter_map(|pid| pid.parse().ok()).collect();
    assert!(pids.len() >= 7, "{family}");
    let handles: Vec<_> = pids.iter().map(|pid| handle(*pid)).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    for handle in handles {
        handle.wait();
    }
    assert!(shared_memory_files() <= before);
}

/// Makes a FIFO. Returns its path twice: to read from here, to write to from a worker.
fn pipe_paths() -> (String, String) {
    let path = format!("{}/trine-master-{}", std::env::temp_dir().display(), std::process::id());
    let c_path = CString::new(path.clone()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    (path.clone(), path)
}

#[test]
fn a_master_that_ends_leaves_nothing() {
    if role().is_some() {
        let _detached = process::spawn((), |()| -> () { stay_for_ever() });
        process::pool().spawn((), |()| ()).join().unwrap();
        print_line("FAMILY", &format!("{:?}", children_of_all_threads(std::process::id())));
        // The test opens handles of the children before this program ends.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let mut child = again("master").spawn().unwrap();
    let family = wait_for_line(&mut child, "FAMILY");
    let pids = family.split(|c: char| !c.is_ascii_digit()).filter_map(|pid| pid.parse().ok());
    let handles: Vec<_> = pids.map(handle).collect();
    assert!(handles.len() >= 2, "{family}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    for handle in handles {
        handle.wait();
    }
}

#[test]
fn nothing_is_left_open_when_pools_are_gone() {
    if role().is_some() {
        let children = || children_of_all_threads(std::process::id()).len();
        let pool = process::Pool::new(1);
        pool.spawn((), |()| ()).join().unwrap();
        pool.shutdown();
        let (before, template) = (descriptors(), children());
        assert_eq!(template, 1, "the template");
        for round in 0..20_u64 {
            let pool = process::Pool::new(3);
            let tasks: Vec<_> = (0..10).map(|n| pool.spawn(n, move |n: u64| n + 1)).collect();
            let crash = pool.spawn((), |()| -> () { std::process::abort() });
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.join().unwrap(), n + 1, "round {round}");
            }
            crash.join().unwrap_err();
            pool.shutdown();
        }
        assert_eq!((descriptors(), children()), (before, template));
        return;
    }
    run(again("master"));
}

#[test]
fn the_program_s_file_may_be_replaced_or_removed_while_it_runs() {
    if role().is_some() {
        print_line("HERE", "");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(process::spawn(20, |n: u32| n + 1).join().unwrap(), 21);
        return;
    }
    for replace in [true, false] {
        let copy = copy(if replace { "replaced" } else { "removed" });
        let mut child = child(&copy.0, &this_test(), "master").spawn().unwrap();
        wait_for_line(&mut child, "HERE");
        fs::remove_file(&copy.0).unwrap();
        if replace {
            fs::write(&copy.0, "#!/bin/sh\necho the wrong program\n").unwrap();
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_program_started_through_the_loader_is_told_and_not_run_twice() {
    if role().is_some() {
        let error = process::spawn(1, |n: u8| n).join().unwrap_err();
        assert!(not_spawned(&error).contains("/proc/self/exe"), "{error}");
        return;
    }
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !loader.exists() {
        return;
    }
    let direct = again("master");
    let mut command = Command::new(loader);
    command.arg(this_program()).args(direct.get_args()).env("TRINE_TEST_ROLE", "master");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run(command);
}

#[test]
fn a_template_that_is_killed_is_replaced_at_the_next_need() {
    if role().is_some() {
        process::spawn((), |()| ()).join().unwrap();
        for _ in 0..20 {
            let tasks: Vec<_> = (0..10_u64).map(|n| process::spawn(n, |n| n + 1)).collect();
            for pid in children_of_all_threads(std::process::id()) {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                if comm.trim() == "trine-template" {
                    // SAFETY: no memory involved. It may be a worker that has not renamed itself
                    // yet. Then its task goes to another worker.
                    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
                }
            }
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.join().unwrap(), n + 1);
            }
        }
        // Nothing is left of workers that a template had forked and not reported.
        let patience = Instant::now() + Duration::from_secs(30);
        while children_of_all_threads(std::process::id()).len() > 1 {
            assert!(Instant::now() < patience, "children are left");
            std::thread::yield_now();
        }
        return;
    }
    run(again("master"));
}

#[test]
fn a_template_that_cannot_start_is_an_error_and_not_a_loop() {
    if role().is_some() {
        let variable = "LD_TRACE_LOADED_OBJECTS";
        // SAFETY: one test, and no other thread reads the environment. With this variable the
        // loader lists libraries and exits instead of running the program.
        unsafe { std::env::set_var(variable, "1") };
        for _ in 0..2 {
            let tasks: Vec<_> = (0..5_u8).map(|n| process::spawn(n, |n| n)).collect();
            for task in tasks {
                let error = task.join().unwrap_err();
                assert!(not_spawned(&error).contains("3 times before it was ready"), "{error}");
            }
        }
        // SAFETY: as above.
        unsafe { std::env::remove_var(variable) };
        assert_eq!(process::spawn(7, |n: u8| n).join().unwrap(), 7);
        return;
    }
    run(again("master"));
}

#[test]
fn the_first_use_may_be_by_many_threads_at_once() {
    if role().is_some() {
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for n in 0..8_u64 {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let kept = process::pool().spawn(n, |n| n + 1);
                    assert_eq!(process::spawn(n, |n| n * 2).join().unwrap(), n * 2);
                    assert_eq!(kept.join().unwrap(), n + 1);
                });
            }
        });
        return;
    }
    run(again("master"));
}

#[test]
fn a_program_that_ignores_its_children_gets_results_all_the_same() {
    if role().is_some() {
        // SAFETY: ignoring a signal installs no code.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let pool = process::Pool::new(2);
        for n in 0..20_u64 {
            assert_eq!(pool.spawn(n, |n| n).join().unwrap(), n);
        }
        // The exit code is known if the kernel keeps it, and never guessed.
        let error = pool.spawn((), |()| -> () { std::process::exit(9) }).join().unwrap_err();
        match error.cause() {
            Cause::Exited { code } => assert_eq!(*code, 9),
            Cause::Lost { reason, .. } => assert!(reason.contains("SIGCHLD"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
        pool.shutdown();
        return;
    }
    run(again("master"));
}

#[test]
fn what_a_program_leaves_when_it_executes_another_is_reaped_there() {
    match role().as_deref() {
        Some("before") => {
            use std::os::unix::process::CommandExt;
            let pool = process::Pool::new(2);
            pool.spawn((), |()| ()).join().unwrap();
            panic!("{}", again("after").stdin(Stdio::inherit()).stdout(Stdio::inherit()).exec());
        }
        Some(_) => {
            // They are dying, or dead.
            assert!(children_of_all_threads(std::process::id()).len() >= 2);
            let pool = process::Pool::new(1);
            pool.spawn((), |()| ()).join().unwrap();
            pool.shutdown();
            let patience = Instant::now() + Duration::from_secs(30);
            while children_of_all_threads(std::process::id()).len() > 1 {
                assert!(Instant::now() < patience, "children of the former program are left");
                std::thread::yield_now();
            }
        }
        None => drop(run(again("before"))),
    }
}

#[test]
fn a_wait_for_the_children_of_a_thread_sees_no_worker() {
    if role().is_some() {
        let pool = process::Pool::new(1);
        pool.spawn((), |()| ()).join().unwrap();
        process::spawn((), |()| ()).join().unwrap();
        wait_for_the_service();
        // SAFETY: the child only ends.
        let own = unsafe { libc::fork() };
        if own == 0 {
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: no memory involved.
        let wait = || unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WNOTHREAD) };
        assert_eq!((wait(), wait()), (own, -1));
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ECHILD));
        assert_eq!(pool.stats().workers_lost, 0);
        return;
    }
    run(again("alone"));
}

#[test]
fn a_bare_fork_of_the_program_is_told_that_it_has_no_process_tasks() {
    if role().is_some() {
        process::spawn((), |()| ()).join().unwrap();
        // SAFETY: not sound in general, since the child of a threaded program uses more than a fork
        // allows. The test checks that trine refuses it, and only this test can hang.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let error = process::spawn(1, |n: u8| n).join();
            let told = error.is_err_and(|error| not_spawned(&error).contains("forked"));
            // SAFETY: ends the child without the test harness.
            unsafe { libc::_exit(i32::from(!told)) };
        }
        let mut status = 0;
        // SAFETY: a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        return;
    }
    run(again("master"));
}

/// Waits until the thread that serves process tasks sleeps, so that its locks are free at a fork.
fn wait_for_the_service() {
    let is_asleep = |thread: fs::DirEntry| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.contains("(trine-processes) S")
    };
    while !fs::read_dir("/proc/self/task").unwrap().flatten().any(is_asleep) {
        std::thread::yield_now();
    }
}

#[test]
fn a_bare_fork_that_drops_a_pool_leaves_its_workers_alone() {
    if role().is_some() {
        for drops in [true, false] {
            let pool = process::Pool::new(1);
            let worker = pool.spawn((), |()| std::process::id()).join().unwrap();
            wait_for_the_service();
            // SAFETY: as above.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: no memory involved. It must not wait for workers of its parent.
                unsafe { libc::alarm(30) };
                if drops {
                    drop(pool);
                } else {
                    pool.shutdown();
                }
                // SAFETY: ends the child without the test harness.
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            // SAFETY: a valid place for the answer.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0);
            assert_eq!(pool.spawn((), |()| std::process::id()).join().unwrap(), worker);
            assert_eq!(pool.stats().workers_lost, 0);
        }
        return;
    }
    run(again("master"));
}

#[test]
fn workers_have_no_descriptors_but_their_own() {
    let open = process::spawn((), |()| {
        let mut open: Vec<(i32, String)> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?.display().to_string();
                Some((entry.file_name().to_str()?.parse().ok()?, target))
            })
            .collect();
        open.sort();
        open
    });
    let _held = fs::File::open("/dev/zero").unwrap();
    let open = open.join().unwrap();
    let others: Vec<_> = open.iter().filter(|(number, _)| *number > 2).collect();
    // The sockets, and the directory that was being read.
    assert_eq!(others.len(), sockets_of_a_worker() + 1, "{open:?}");
    let sockets = others.iter().filter(|(_, target)| target.starts_with("socket:"));
    assert_eq!(sockets.count(), sockets_of_a_worker(), "{open:?}");
    assert_eq!(open[0], (0, "/dev/null".into()));
}

#[test]
fn signals_are_as_in_a_new_program() {
    let read = |()| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        (field("SigBlk"), field("SigIgn"))
    };
    // SAFETY: blocks a signal for this thread.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    let (blocked, ignored) = process::spawn((), read).join().unwrap();
    assert_eq!(blocked, 0);
    // The C library's own two signals (32, 33) are ignored after each of its `posix_spawn` calls.
    assert_eq!(ignored & 0x7fff_ffff, 1 << (libc::SIGPIPE - 1));
}

#[test]
fn a_bare_fork_that_joins_a_task_takes_nothing_of_what_is_the_programs() {
    if role().is_some() {
        let pool = process::Pool::new(1);
        let reports = crate::common::reports::Reports::open();
        let task = pool.spawn(reports.path.clone(), crate::common::reports::wait_for_release);
        let (worker, stream) = reports.accept();
        wait_for_the_service();
        // SAFETY: as above.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(stream);
            let error = task.join().unwrap_err();
            let told = error.to_string().contains("forked");
            // SAFETY: ends the child without the test harness.
            unsafe { libc::_exit(i32::from(!told)) };
        }
        // The task waits for the end of this connection. Only the child looks for the result.
        drop(stream);
        let mut status = 0;
        // SAFETY: a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!((status, task.join().unwrap()), (0, worker));
        assert_eq!(pool.spawn((), |()| std::process::id()).join().unwrap(), worker);
        assert_eq!(pool.stats().workers_lost, 0);
        return;
    }
    run(again("master"));
}
