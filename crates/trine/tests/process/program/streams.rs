//! A program that has closed its standard streams.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use trine::process::{Builder, Pool};
use trine::signal::{Signal, Signals};
use trine::{coroutine, ipc, process, time};

use crate::common::waiting::until_or;
use crate::common::{again, role, run};

/// Closes the standard streams. Returns a copy of standard error, with a high number.
fn close_streams() -> i32 {
    // SAFETY: no value owns the standard streams.
    unsafe {
        let copy = libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 100);
        (0..3).for_each(|stream| _ = libc::close(stream));
        copy
    }
}

/// Opens the copy as standard error again.
fn restore(copy: i32) {
    // SAFETY: the number is free, or refers to a stray descriptor that the test is about to report.
    unsafe { libc::dup2(copy, 2) };
}

/// Returns what the numbers of the standard streams refer to in this process.
fn streams() -> Vec<Option<PathBuf>> {
    (0..3).map(|number| fs::read_link(format!("/proc/self/fd/{number}")).ok()).collect()
}

/// Returns true if no descriptor has the number of a standard stream. A file of `/proc` that trine
/// reads may have one for a moment.
fn all_are_closed() -> bool {
    streams().iter().all(Option::is_none)
}

fn print_and_look(n: u64) -> (u64, Vec<Option<PathBuf>>) {
    // Not `println!`, which the harness may redirect.
    for _ in 0..100 {
        let _ = std::io::stdout().write_all(b"from a task\n");
        let _ = std::io::stderr().write_all(b"from a task\n");
    }
    let _ = std::io::stdout().flush();
    (n, streams())
}

/// Makes use of all that opens descriptors. Returns what tasks saw.
fn use_everything() -> Vec<(u64, Vec<Option<PathBuf>>)> {
    let kept = Pool::new(2);
    let preloaded = Pool::builder().workers(1).preload(|| ()).build();
    let mut tasks = vec![process::spawn(0, print_and_look)];
    tasks.extend((1..20).map(|n| kept.spawn(n, print_and_look)));
    tasks.push(preloaded.spawn(20, print_and_look));
    let long = kept.spawn(vec![7_u8; 300_000], |bytes: Vec<u8>| bytes.len());
    assert_eq!(long.join().unwrap(), 300_000);
    let captured = Builder::new().capture_output().spawn(1, |n: u8| n + 1);
    assert_eq!(captured.join().unwrap(), 2);
    let sleepers: Vec<_> = (0..4)
        .map(|_| coroutine::spawn(|| time::sleep(std::time::Duration::from_millis(1))))
        .collect();
    sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    let signals = Signals::new([Signal::USR1]).unwrap();
    trine::signal::raise(Signal::USR1).unwrap();
    assert_eq!(signals.recv().unwrap(), Signal::USR1);
    let (sender, receiver) = ipc::channel::<u64>(4).unwrap();
    let answer = kept.spawn(sender, |sender| sender.send(5).is_ok());
    assert_eq!(receiver.recv().unwrap(), 5);
    assert!(answer.join().unwrap());
    let mut child = process::Command::new("true").spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let seen = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    until_or("streams that stay closed", all_are_closed);
    seen
}

#[test]
fn own_descriptors_stay_above_closed_standard_streams() {
    if role().is_none() {
        run(again("closed"));
        return;
    }
    let copy = close_streams();
    let seen = std::panic::catch_unwind(use_everything);
    restore(copy);
    let seen = seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let null = Some(PathBuf::from("/dev/null"));
    for (at, (n, streams)) in (0..).zip(seen) {
        assert_eq!(n, at);
        assert_eq!(streams, [null.clone(), null.clone(), null.clone()], "task {n}");
    }
}

#[test]
fn a_file_of_the_program_among_them_is_not_a_task_s_output() {
    if role().is_none() {
        run(again("files"));
        return;
    }
    let copy = close_streams();
    let own = std::os::unix::net::UnixStream::pair().unwrap();
    let before = streams();
    let seen = process::spawn(1, print_and_look).join();
    until_or("streams as before", || streams() == before);
    let mut byte = [0];
    own.0.set_nonblocking(true).unwrap();
    let printed = std::io::Read::read(&mut &own.0, &mut byte);
    drop(own);
    restore(copy);
    assert_eq!(before.iter().filter(|it| it.is_none()).count(), 1);
    let null = Some(PathBuf::from("/dev/null"));
    assert_eq!(seen.unwrap(), (1, vec![null.clone(), null.clone(), null]));
    assert_eq!(printed.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
