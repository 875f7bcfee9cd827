//! The resources of a command, the processes that are killed with it, and the part of its output
//! that is kept.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use trine::process::{Command, Stdio};
use trine::signal::Signal;
use trine::{State, coroutine};

use super::{KINDS, everywhere, sh, spawn};

#[test]
fn a_program_without_memory_is_refused_it() {
    everywhere(|| {
        // `dd` allocates its block at once.
        let dd = |size: &str| {
            let mut command = Command::new("dd");
            command.args(["if=/dev/zero", "of=/dev/null", "count=1", size]).stderr(Stdio::null());
            command
        };
        assert!(dd("bs=256M").status().unwrap().success());
        assert!(!dd("bs=256M").memory_limit(64 << 20).status().unwrap().success());
        assert!(dd("bs=1M").memory_limit(64 << 20).status().unwrap().success());
        // The last setting counts.
        let mut twice = dd("bs=256M");
        assert!(twice.memory_limit(1 << 20).memory_limit(1 << 30).status().unwrap().success());
    });
}

#[test]
fn a_program_without_processor_time_is_ended() {
    let mut busy = sh("while :; do :; done");
    let status = busy.cpu_limit(Duration::from_millis(1)).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGXCPU));
    // A program that ignores the signal is killed a second later.
    let mut deaf = sh("trap '' XCPU; while :; do :; done");
    let status = deaf.cpu_limit(Duration::from_secs(1)).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

#[test]
fn limits_that_leave_nothing_are_refused() {
    let refused = |command: &mut Command| {
        let error = command.spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    assert!(refused(sh("true").memory_limit(0)).contains("memory limit of 0 bytes"));
    assert!(refused(sh("true").cpu_limit(Duration::ZERO)).contains("processor time of 0"));
    assert!(sh("true").memory_limit(u64::MAX).cpu_limit(Duration::MAX).status().unwrap().success());
}

/// Waits until the pipe has no writer.
fn until_no_writer(mut reader: io::PipeReader) {
    reader.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_whole_group_is_killed_with_its_first() {
    let calls: [fn(&mut Command) -> io::Result<()>; 2] =
        [|command| command.status().map(drop), |command| command.output().map(drop)];
    for call in calls {
        for kind in KINDS {
            let (mut reader, writer) = io::pipe().unwrap();
            let task = spawn(kind, move || {
                let mut command =
                    sh("(sleep 600 & sleep 600) 2>&1 | sleep 600 & echo >&2; sleep 600");
                call(command.stderr(writer).kill_group(true))
            });
            reader.read_exact(&mut [0]).unwrap();
            while task.state() != State::Waiting {
                std::thread::yield_now();
            }
            task.cancel();
            assert!(!matches!(task.join(), Ok(Ok(()))));
            until_no_writer(reader);
        }
    }
}

#[test]
fn a_group_is_killed_by_kill_and_by_a_drop_also_when_its_first_has_ended() {
    for kills in [true, false] {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = sh("sleep 600 & echo >&2; exit 3");
        let child = command.stderr(writer).kill_group(true).kill_on_drop(true).spawn().unwrap();
        drop(command);
        reader.read_exact(&mut [0]).unwrap();
        if kills {
            child.kill().unwrap();
            until_no_writer(reader);
            let mut child = child;
            let status = child.wait().unwrap();
            assert!(status.code() == Some(3) || status.signal() == Some(libc::SIGKILL));
            // It has ended, and its number may be another's.
            child.kill().unwrap();
        } else {
            drop(child);
            until_no_writer(reader);
        }
    }
}

#[test]
fn without_the_option_only_the_child_is_killed() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = sh("sleep 600 & echo $! >&2; wait");
    let mut child = command.stderr(writer).spawn().unwrap();
    drop(command);
    let mut pid = String::new();
    let mut byte = [0];
    while byte != *b"\n" {
        reader.read_exact(&mut byte).unwrap();
        pid.push(char::from(byte[0]));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    let pid: u32 = pid.trim().parse().unwrap();
    assert!(fs::exists(format!("/proc/{pid}")).unwrap());
    trine::signal::send(pid, Signal::KILL).unwrap();
    until_no_writer(reader);
}

#[test]
fn captured_output_ends_at_its_limit_and_what_came_is_kept() {
    everywhere(|| {
        let (mut out, mut err) = (b"> ".to_vec(), Vec::new());
        let mut endless = sh("while :; do echo 12345678; echo err >&2; done");
        let error = endless.output_limit(100).output_into(&mut out, &mut err).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
        assert!(out.starts_with(b"> 12345678\n") && out.len() <= 102, "{}", out.len());
        assert!(err.len() <= 100 && (out.len() == 102 || err.len() == 100));
        // Output of exactly the limit is allowed.
        let exact = sh("printf 12345; printf 1234 >&2").output_limit(5).output().unwrap();
        assert_eq!((&*exact.stdout, &*exact.stderr), (&b"12345"[..], &b"1234"[..]));
        let error = sh("printf 123456").output_limit(5).output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = sh("printf x").output_limit(0).output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(sh("true").output_limit(0).output().unwrap().status.success());
        // One stream that is captured alone.
        let mut alone = sh("head -c 3000000 /dev/zero");
        alone.stderr(Stdio::inherit());
        assert_eq!(alone.output_limit(3_000_000).output().unwrap().stdout.len(), 3_000_000);
        assert_eq!(
            alone.output_limit(2_999_999).output().unwrap_err().kind(),
            ErrorKind::FileTooLarge
        );
    });
}

#[test]
fn a_cancelled_output_leaves_what_came() {
    for kind in KINDS {
        let (mut told, tells) = io::pipe().unwrap();
        let task = spawn(kind, move || {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            // More than a pipe holds: when the program has written it, most of it was read.
            let mut command = sh("head -c 200000 /dev/zero; echo >&0; exec sleep 600");
            let output = command.stdin(tells).output_into(&mut out, &mut err);
            (output.is_err(), out.len())
        });
        told.read_exact(&mut [0]).unwrap();
        task.cancel();
        let (failed, len) = task.join().unwrap();
        assert!(failed && len >= 200_000 - 65_536, "{len}");
    }
}

#[test]
fn what_a_child_has_used_is_known_after_its_end() {
    let mut child = sh("read line; head -c 20000000 /dev/zero | tail -c 1 > /dev/null")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.process();
    assert_eq!((process.usage(), process.parent_id()), (None, Some(std::process::id())));
    let waiting = coroutine::spawn({
        let process = process.clone();
        move || process.wait().map(|_| process.usage())
    });
    child.wait().unwrap();
    let usage = process.usage().unwrap();
    assert!(usage.user_time + usage.system_time > Duration::ZERO);
    assert!(usage.max_resident > 100 << 10, "{usage:?}");
    assert_eq!(waiting.join().unwrap().unwrap(), Some(usage));
    assert_eq!(process.parent_id(), None);
}
