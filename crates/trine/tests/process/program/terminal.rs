//! Signals that a terminal or a shell sends to the program and its workers at once.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use trine::ipc::Semaphore;
use trine::process::{self, Builder, Pool};
use trine::signal::{self, Signal, Signals};
use trine::{Task, TaskError};

use crate::common::processes::{kill, signal_of};
use crate::common::waiting::TIMEOUT;
use crate::common::{again, role, run};

/// Makes this process the leader of a group, so that a signal to its group reaches no other test.
fn lead_a_group() {
    // SAFETY: no memory involved.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
}

/// Sends a signal to the program and all of its workers, as a terminal does.
fn signal_all(signal: i32) {
    // SAFETY: no memory involved.
    assert_eq!(unsafe { libc::kill(0, signal) }, 0);
}

fn ignore(signal: i32) {
    // SAFETY: ignoring a signal installs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sends `signal` to all while a task runs, which then ends by itself.
fn signalled(pool: &Pool, signal: i32) -> Result<i32, TaskError> {
    let (begun, go) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let task: Task<i32> = pool.spawn((begun.clone(), go.clone(), 7), |(begun, go, n)| {
        begun.release(1).unwrap();
        go.acquire().unwrap();
        n
    });
    begun.acquire().unwrap();
    signal_all(signal);
    go.release(1).unwrap();
    task.join()
}

#[test]
fn signals_that_the_program_ignores_are_ignored_in_workers() {
    if role().is_none() {
        run(again("ignores"));
        return;
    }
    lead_a_group();
    let all = [libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGUSR1];
    all.into_iter().for_each(ignore);
    // On a busy machine a worker may take long to hear of its cancellation.
    let pool = Pool::builder().workers(1).grace(TIMEOUT).build();
    let pid = |()| std::process::id();
    let worker = pool.spawn((), pid).join().unwrap();
    for signal in all {
        assert_eq!(signalled(&pool, signal).unwrap(), 7);
    }
    assert_eq!(pool.spawn((), pid).join().unwrap(), worker);
    // A cancellation still arrives, though it is a SIGTERM.
    let (begun, waits) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let task = pool.spawn((begun.clone(), waits), |(begun, waits)| {
        begun.release(1).unwrap();
        waits.acquire().is_ok()
    });
    begun.acquire().unwrap();
    task.cancel();
    assert!(task.join().is_ok_and(|acquired| !acquired));
    assert_eq!(pool.spawn((), pid).join().unwrap(), worker);
}

#[test]
fn tasks_wait_for_children_though_the_program_ignores_its_own() {
    if role().is_none() {
        run(again("ignores its children"));
        return;
    }
    ignore(libc::SIGCHLD);
    let task = process::spawn((), |()| {
        std::process::Command::new("true").status().map(|status| status.success()).ok()
    });
    assert_eq!(task.join().unwrap(), Some(true));
}

#[test]
fn a_program_that_handles_ctrl_c_finishes_its_tasks() {
    if role().is_none() {
        run(again("handles"));
        return;
    }
    lead_a_group();
    let signals = Signals::new([Signal::INT, Signal::QUIT]).unwrap();
    let kept = Pool::new(1);
    let fresh = Pool::builder().workers(1).fresh_process_per_task().preload(|| ()).build();
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGINT] {
        for pool in [&kept, &fresh] {
            assert_eq!(signalled(pool, signal).unwrap(), 7);
            signals.recv().unwrap();
        }
    }
    assert_eq!(kept.stats().workers_lost, 0);
    // The templates live on, too.
    assert_eq!(process::spawn(1, |n: u8| n).join().unwrap(), 1);
    assert_eq!(fresh.stats().crashed, 0);
}

#[test]
fn a_task_can_listen_for_ctrl_c() {
    if role().is_none() {
        run(again("listens"));
        return;
    }
    lead_a_group();
    let signals = Signals::new([Signal::INT]).unwrap();
    let begun = Semaphore::new(0).unwrap();
    let task = process::spawn(begun.clone(), |begun| {
        let signals = Signals::new([Signal::INT]).unwrap();
        begun.release(1).unwrap();
        let from_terminal = signals.recv().unwrap() == Signal::INT;
        signal::raise(Signal::INT).unwrap();
        from_terminal && signals.recv().unwrap() == Signal::INT
    });
    begun.acquire().unwrap();
    signal_all(libc::SIGINT);
    assert!(task.join().unwrap());
    assert_eq!(signals.recv().unwrap(), Signal::INT);
}

#[test]
fn a_program_that_a_task_starts_dies_of_ctrl_c() {
    let task = process::spawn((), |()| {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        kill(child.id(), libc::SIGINT);
        child.wait().unwrap().signal()
    });
    assert_eq!(task.join().unwrap(), Some(libc::SIGINT));
}

#[test]
fn an_interruptible_worker_dies_of_ctrl_c() {
    if role().is_none() {
        run(again("interruptible"));
        return;
    }
    lead_a_group();
    let signals = Signals::new([Signal::INT, Signal::QUIT]).unwrap();
    let pool = Pool::builder().workers(1).interruptible(true).build();
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        assert_eq!(signal_of(&signalled(&pool, signal).unwrap_err()), signal);
        signals.recv().unwrap();
    }
    let interrupts_itself = Builder::new().interruptible(true).spawn((), |()| {
        kill(std::process::id(), libc::SIGINT);
    });
    assert_eq!(signal_of(&interrupts_itself.join().unwrap_err()), libc::SIGINT);
}

#[test]
fn workers_end_with_a_program_that_dies_of_ctrl_c() {
    if role().is_some() {
        lead_a_group();
        let pool = Pool::new(2);
        let _ = signalled(&pool, libc::SIGINT);
        unreachable!("the signal has ended this process");
    }
    let mut command = again("dies");
    // Every process of the family has it as its standard error.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut program = command.spawn().unwrap();
    let mut family = program.stderr.take().unwrap();
    assert_eq!(program.wait().unwrap().signal(), Some(libc::SIGINT));
    // An end of file comes when the last of them has ended.
    family.read_to_end(&mut Vec::new()).unwrap();
}
