//! Limits of processor time.

use std::hint::spin_loop;
use std::time::Duration;

use trine::process::Builder;
use trine::{Cause, Limit, TaskError, thread, time};

use crate::common::not_spawned;
use crate::common::processes::processor_time;

const SHORT: Duration = Duration::from_millis(20);

fn limited() -> Builder {
    Builder::new().cpu_limit(SHORT)
}

fn spin() -> ! {
    loop {
        spin_loop();
    }
}

fn spin_until(time: Duration) {
    while processor_time() < time {
        spin_loop();
    }
}

fn assert_used_up(error: &TaskError, by: i32) {
    let Cause::Signaled { signal, limit, out_of_memory: false, .. } = error.cause() else {
        panic!("{error:?}")
    };
    assert_eq!((*signal, *limit), (by, Some(Limit::CpuTime(SHORT))), "{error}");
    assert!(error.to_string().ends_with("it had used up its processor time of 20ms"), "{error}");
    assert!(error.is_crash() && !error.is_timeout());
}

fn handle_sigxcpu(handler: usize) {
    // SAFETY: `SIG_IGN`, or a function that makes only calls that a handler may.
    unsafe { libc::signal(libc::SIGXCPU, handler) };
}

#[test]
fn a_task_that_computes_for_too_long_is_ended() {
    assert_used_up(&limited().spawn((), |()| -> () { spin() }).join().unwrap_err(), libc::SIGXCPU);
    let task = limited().spawn((), |()| {
        let _ = std::thread::spawn(spin).join();
    });
    assert_used_up(&task.join().unwrap_err(), libc::SIGXCPU);
}

#[test]
fn a_task_that_does_not_hear_it_is_killed() {
    let ignores = limited().spawn((), |()| -> () {
        handle_sigxcpu(libc::SIG_IGN);
        spin()
    });
    assert_used_up(&ignores.join().unwrap_err(), libc::SIGKILL);
    extern "C" fn nothing(_: i32) {}
    let handles = limited().spawn((), |()| -> () {
        handle_sigxcpu(nothing as *const () as usize);
        spin()
    });
    assert_used_up(&handles.join().unwrap_err(), libc::SIGKILL);
    let blocks = limited().spawn((), |()| -> () {
        // SAFETY: a valid set.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
        spin()
    });
    assert_used_up(&blocks.join().unwrap_err(), libc::SIGKILL);
}

#[test]
fn a_task_that_handles_it_can_still_return() {
    static TOLD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    extern "C" fn note(_: i32) {
        TOLD.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    let task = limited().spawn((), |()| {
        handle_sigxcpu(note as *const () as usize);
        while !TOLD.load(std::sync::atomic::Ordering::Relaxed) {
            spin_loop();
        }
        processor_time() >= SHORT
    });
    assert!(task.join().unwrap());
}

#[test]
fn what_waits_uses_no_processor_time() {
    let task = limited().spawn((), |()| {
        time::sleep(3 * SHORT);
        7
    });
    assert_eq!(task.join().unwrap(), 7);
}

#[test]
fn time_of_processes_that_the_task_starts_does_not_count() {
    let task = limited().spawn((), |()| {
        // SAFETY: the worker has one thread; the child only computes.
        let child = unsafe { libc::fork() };
        if child == 0 {
            spin_until(3 * SHORT);
            // SAFETY: ends the child.
            unsafe { libc::_exit(5) };
        }
        let mut status = 0;
        // SAFETY: waits for its own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        libc::WEXITSTATUS(status)
    });
    assert_eq!(task.join().unwrap(), 5);
}

#[test]
fn the_same_signals_for_another_reason_are_only_signals() {
    for signal in [libc::SIGXCPU, libc::SIGKILL] {
        let task = Builder::new().cpu_limit(Duration::from_secs(3600)).spawn(signal, |signal| {
            // SAFETY: the worker signals itself.
            unsafe { libc::raise(signal) };
        });
        let error = task.join().unwrap_err();
        let Cause::Signaled { signal: by, limit: None, .. } = error.cause() else {
            panic!("{error:?}")
        };
        assert_eq!(*by, signal);
    }
}

#[test]
fn a_limit_of_the_time_and_one_of_the_processor_time_are_told_apart() {
    let task = thread::spawn(|| {
        time::timeout(SHORT, || {
            let task = Builder::new()
                .cpu_limit(Duration::from_secs(3600))
                .grace(Duration::ZERO)
                .spawn((), |()| -> () { spin() });
            trine::shield(Duration::from_secs(3600), || task.join())
        })
    });
    let error = match task.join().unwrap() {
        Ok(joined) => joined.unwrap_err(),
        // The spawn itself was late.
        Err(_) => return,
    };
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn no_time_at_all_is_refused() {
    let error = Builder::new().cpu_limit(Duration::ZERO).spawn((), |()| ()).join().unwrap_err();
    assert!(not_spawned(&error).contains("a processor time of 0"), "{error}");
    // More than any machine's lifetime is no limit, and no error.
    assert_eq!(Builder::new().cpu_limit(Duration::MAX).spawn(7, |n: u8| n).join().unwrap(), 7);
}
