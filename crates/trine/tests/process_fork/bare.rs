//! A bare `fork`, as of a C library: the copy lacks trine's threads.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use trine::process::Command;
use trine::signal::{Signal, Signals};
use trine::{Cause, TaskError, coroutine, future, net, process, thread, time};

/// Forks as the C library does, once the program's threads sleep, so that their locks are free in
/// the child. Waits for the child, which must not panic.
fn fork_barely(in_child: impl FnOnce()) {
    let is_busy = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.contains("(trine-") && !stat.contains(") S")
    };
    while std::fs::read_dir("/proc/self/task").unwrap().flatten().any(is_busy) {
        std::thread::yield_now();
    }
    // SAFETY: the locks of the other threads are free (above), and the child ends below.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: no memory involved. A child that waits forever is ended.
        unsafe { libc::alarm(60) };
        let result = catch_unwind(AssertUnwindSafe(in_child));
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(i32::from(result.is_err())) };
    }
    let mut status = 0;
    // SAFETY: a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}

/// Uses what starts trine's threads.
fn start_all_threads() {
    coroutine::spawn(|| time::sleep(Duration::from_millis(1))).join().unwrap();
    future::spawn(async { 1 }).join().unwrap();
    process::spawn((), |()| ()).join().unwrap();
    thread::pool().spawn(|| ()).join().unwrap();
}

fn assert_not_spawned<T: std::fmt::Debug>(result: Result<T, TaskError>) {
    match result.unwrap_err().cause() {
        Cause::NotSpawned { reason } => assert!(reason.contains("forked"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

fn assert_io_error<T: std::fmt::Debug>(result: std::io::Result<T>) {
    let text = result.unwrap_err().to_string();
    assert!(text.contains("forked"), "{text}");
}

pub fn a_bare_fork_refuses_what_it_has_no_threads_for() {
    start_all_threads();
    let signals = Signals::new([Signal::USR1]).unwrap();
    fork_barely(move || {
        assert_not_spawned(coroutine::spawn(|| 2).join());
        assert_not_spawned(future::spawn(async { 2 }).join());
        assert_not_spawned(process::spawn(2, |n: u32| n).join());
        assert_not_spawned(process::pool().spawn(2, |n: u32| n).join());
        assert_not_spawned(thread::pool().spawn(|| 2).join());
        assert_io_error(Signals::new([Signal::USR2]));
        assert_io_error(signals.recv());
        let local = coroutine::spawn_local(|| {
            let (mut end, _other) = net::UnixStream::pair().unwrap();
            end.read(&mut [0])
        });
        assert_io_error(local.join().unwrap());
        let local = coroutine::spawn_local(|| trine::fs::create_dir("/proc/none"));
        assert_io_error(local.join().unwrap());
        let sleep = || future::block_on(future::sleep(Duration::from_millis(1)));
        let panic = catch_unwind(sleep).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("forked"));
    });
}

pub fn a_bare_fork_waits_for_no_task_of_its_parent() {
    start_all_threads();
    let for_ever = || time::sleep(Duration::MAX);
    let (coroutine, other) = (coroutine::spawn(for_ever), coroutine::spawn(for_ever));
    let future = future::spawn(std::future::pending::<()>());
    let thread = thread::spawn(for_ever);
    let process = process::spawn((), |()| time::sleep(Duration::MAX));
    let pool = thread::Pool::new(1);
    let pooled = pool.spawn(for_ever);
    let is_waiting = |task: &trine::Task<()>| task.state() == trine::State::Waiting;
    for task in [&coroutine, &other, &thread, &process, &pooled] {
        while !is_waiting(task) {
            std::thread::yield_now();
        }
    }
    let tasks = [coroutine, future, thread, process, pooled];
    fork_barely(|| {
        // The child has copies of the handles, and drops its own only.
        // SAFETY: the parent's handles are in another process.
        let (tasks, other, pool) = unsafe {
            ((&raw const tasks).read(), (&raw const other).read(), (&raw const pool).read())
        };
        for task in tasks {
            let error = task.join().unwrap_err();
            assert!(matches!(error.cause(), Cause::Lost { .. }), "{error:?}");
            assert!(error.to_string().contains("forked"), "{error}");
        }
        let joined = other.join_timeout(Duration::MAX).expect("it does not wait");
        assert!(joined.unwrap_err().to_string().contains("forked"));
        pool.shutdown();
    });
    for task in tasks.into_iter().chain([other]) {
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    pool.shutdown();
}

pub fn a_bare_fork_has_all_that_needs_no_threads() {
    start_all_threads();
    let before = coroutine::spawn_local(|| time::sleep(Duration::from_millis(1)));
    let unused = thread::Pool::new(1);
    fork_barely(move || {
        before.join().unwrap();
        let local = coroutine::spawn_local(|| {
            time::sleep(Duration::from_millis(1));
            7
        });
        assert_eq!(local.join().unwrap(), 7);
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        for pool in [unused, thread::Pool::new(1)] {
            assert_eq!(pool.spawn(|| 7).join().unwrap(), 7);
            pool.shutdown();
        }
        let (mut end, mut other) = net::UnixStream::pair().unwrap();
        // The first thread has local coroutines, and another thread waits for their descriptors.
        let reader = thread::spawn(move || {
            end.read_exact(&mut [0]).unwrap();
            assert!(Command::new("true").status().unwrap().success());
        });
        other.write_all(b"x").unwrap();
        reader.join().unwrap();
    });
}
