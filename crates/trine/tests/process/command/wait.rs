//! Waiting for the end of a child in every place, and interrupting the wait.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use trine::process::{Command, Stdio};
use trine::signal::Signal;
use trine::{State, coroutine, time};

use crate::common::is_cancelled;

use super::{KINDS, everywhere, sh, spawn};

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn exit_codes_and_signals_are_told() {
    everywhere(|| {
        for code in [0, 1, 42, 255] {
            assert_eq!(sh(&format!("exit {code}")).status().unwrap().code(), Some(code));
        }
        for signal in [Signal::TERM, Signal::KILL, Signal::USR1] {
            let status = sh(&format!("kill -{} $$", signal.as_raw())).status().unwrap();
            assert_eq!((status.code(), status.signal()), (None, Some(signal.as_raw())));
        }
    });
}

#[test]
fn two_hundred_children_are_waited_for_by_coroutines_at_once() {
    let tasks: Vec<_> = (0..200)
        .map(|n| coroutine::spawn(move || sh(&format!("exit {}", n % 256)).status().unwrap()))
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap().code(), Some(n as i32 % 256));
    }
}

#[test]
fn all_who_wait_for_one_child_are_told() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    let mut tasks = Vec::new();
    for n in 0..20 {
        let process = child.process();
        tasks.push(spawn(KINDS[n % 2], move || process.wait().unwrap().code()));
    }
    for task in &tasks {
        while task.state() != State::Waiting {
            std::thread::yield_now();
        }
    }
    assert!(child.try_wait().unwrap().is_none());
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for task in tasks {
        assert_eq!(task.join().unwrap(), Some(0));
    }
    assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(0));
}

#[test]
fn a_wait_that_times_out_leaves_the_child_as_it_is() {
    everywhere(|| {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert_eq!(child.wait_timeout(Duration::from_millis(1)).unwrap(), None);
        let outer = time::timeout(Duration::from_millis(1), || child.wait_timeout(LONG));
        if let Ok(inner) = outer {
            assert_eq!(inner.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(child.try_wait().unwrap(), None);
        child.signal(Signal::TERM).unwrap();
        let status = child.wait_timeout(LONG).unwrap().unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
        // It has ended: the signals have no target.
        child.kill().unwrap();
        child.signal(Signal::INT).unwrap();
    });
}

#[test]
fn a_cancelled_wait_ends_and_the_child_goes_on() {
    for kind in KINDS {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = child.process();
        let task = spawn(kind, move || process.wait());
        while task.state() != State::Waiting {
            std::thread::yield_now();
        }
        task.cancel();
        match task.join() {
            Ok(waited) => assert!(is_cancelled(&waited.unwrap_err())),
            Err(error) => assert!(error.is_cancelled()),
        }
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }
}

/// A program that writes to its standard error when it runs, and ends only by a signal.
fn endless(stderr: io::PipeWriter) -> Command {
    let mut command = sh("echo >&2; exec sleep 600");
    command.stderr(stderr);
    command
}

#[test]
fn a_cancelled_status_or_output_kills_the_child_and_reaps_it() {
    let calls: [fn(&mut Command) -> io::Result<()>; 2] =
        [|command| command.status().map(drop), |command| command.output().map(drop)];
    for call in calls {
        for kind in KINDS {
            let (mut reader, writer) = io::pipe().unwrap();
            let run = move || call(&mut endless(writer));
            let task = spawn(kind, run);
            reader.read_exact(&mut [0]).unwrap();
            task.cancel();
            match task.join() {
                Ok(ended) => assert!(is_cancelled(&ended.unwrap_err())),
                Err(error) => assert!(error.is_cancelled()),
            }
            // Ends when no process holds the other end: the child has exited.
            reader.read_to_end(&mut Vec::new()).unwrap();
        }
    }
}

#[test]
fn an_output_whose_time_is_up_is_an_error_and_the_child_is_gone() {
    everywhere(|| {
        let (mut reader, writer) = io::pipe().unwrap();
        let limited = time::timeout(Duration::from_millis(20), || endless(writer).output());
        assert!(!matches!(limited, Ok(Ok(_))));
        reader.read_to_end(&mut Vec::new()).unwrap();
    });
}

#[test]
fn a_dropped_child_goes_on_unless_it_is_to_be_killed() {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    drop(cat);
    io::Write::write_all(&mut stdin, b"x").unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdin);
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0);

    let (mut reader, writer) = io::pipe().unwrap();
    let child = endless(writer).kill_on_drop(true).spawn().unwrap();
    reader.read_exact(&mut [0]).unwrap();
    let process = child.process();
    drop(child);
    assert_eq!(process.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    reader.read_to_end(&mut Vec::new()).unwrap();
}
