//! The error of a task has the output of the task.

use std::io::{self, Write};
use std::process::{Command, Stdio, abort, exit};
use std::time::Duration;

use trine::process::Builder;
use trine::signal::Signal;
use trine::{Cause, Task, TaskError, time};

use crate::common::processes::spin_for_ever;
use crate::common::{again, role, run};

fn captured() -> Builder {
    Builder::new().capture_output()
}

fn error_of(f: fn(())) -> TaskError {
    captured().spawn((), f).join().unwrap_err()
}

fn printed(error: &TaskError) -> (&str, &str) {
    (str::from_utf8(error.stdout()).unwrap(), str::from_utf8(error.stderr()).unwrap())
}

/// Prints different lines on both streams.
fn speak() {
    println!("something");
    eprintln!("something went wrong");
}

const SPOKEN: (&str, &str) = ("something\n", "something went wrong\n");

#[test]
fn a_panic_has_what_was_printed_before_and_by_itself() {
    let error = error_of(|()| {
        speak();
        panic!("no more");
    });
    assert!(error.is_panic(), "{error}");
    let (stdout, stderr) = printed(&error);
    assert_eq!(stdout, SPOKEN.0);
    assert!(stderr.starts_with(SPOKEN.1) && stderr.contains("no more"), "{stderr}");
    // The message is not repeated.
    assert!(error.to_string().ends_with(": no more"), "{error}");
}

#[test]
fn every_death_has_what_was_printed_before() {
    for (number, text) in ["SIGABRT (6)", "code 3", "SIGKILL (9)", "code 0"].iter().enumerate() {
        let task = captured().spawn(number, |number| {
            speak();
            match number {
                0 => abort(),
                1 => exit(3),
                // SAFETY: signals itself.
                2 => _ = unsafe { libc::raise(libc::SIGKILL) },
                // SAFETY: ends the worker.
                _ => unsafe { libc::_exit(0) },
            }
        });
        let error = task.join().unwrap_err();
        assert_eq!(printed(&error), SPOKEN, "{error}");
        let shown = error.to_string();
        assert!(shown.contains(text), "{shown}");
        let end = "; last on its standard error: something went wrong";
        assert!(shown.ends_with(end), "{shown}");
    }
}

#[test]
fn a_task_whose_time_is_up_or_that_is_cancelled_has_it_too() {
    let wait = |()| {
        speak();
        time::sleep(Duration::MAX);
    };
    let deaf = |()| -> () {
        speak();
        spin_for_ever()
    };
    let ends = |task: Task<()>| trine::shield(Duration::MAX, || task.join()).unwrap_err();
    // The time may be up before the task has begun, or before it has printed. Then the test tries
    // more time.
    let spoken = |run: &dyn Fn(Duration) -> TaskError| {
        (0..).map(|n| run(Duration::from_millis(20 << n))).find(|error| !error.stderr().is_empty())
    };
    let error = spoken(&|limit| {
        let task = time::timeout(limit, || ends(captured().spawn((), wait)));
        task.unwrap()
    });
    let error = error.unwrap();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(printed(&error), SPOKEN);
    let error = spoken(&|limit| {
        let builder = captured().grace(Duration::ZERO);
        time::timeout(limit, || ends(builder.spawn((), deaf))).unwrap()
    });
    let error = error.unwrap();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(printed(&error), SPOKEN);
}

#[test]
fn memory_that_has_run_out_is_told_with_the_last_words() {
    let error = captured()
        .memory_limit(64 << 20)
        .spawn((), |()| drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 40))))
        .join()
        .unwrap_err();
    assert!(error.is_out_of_memory());
    let end = "memory limit of 64 MiB; last on its standard error: \
               memory allocation of 1099511627776 bytes failed";
    assert!(error.to_string().ends_with(end), "{error}");
}

#[test]
fn the_end_of_much_output_is_kept_and_begins_with_a_line() {
    let error = error_of(|()| {
        let mut stdout = io::stdout().lock();
        for n in 0..1_000_000 {
            writeln!(stdout, "line {n}").unwrap();
        }
        drop(stdout);
        abort();
    });
    let (stdout, stderr) = printed(&error);
    assert!(stdout.starts_with("line ") && stdout.ends_with("\nline 999999\n"));
    assert!(stdout.len() <= 8192 && stdout.len() > 8000, "{}", stdout.len());
    assert_eq!(stderr, "");
}

#[test]
fn a_task_that_prints_for_ever_is_ended_like_any_other() {
    let task = captured().cpu_limit(Duration::from_millis(100)).spawn((), |()| -> () {
        loop {
            println!("and on");
        }
    });
    let error = task.join().unwrap_err();
    assert!(matches!(error.cause(), Cause::Signaled { signal: libc::SIGXCPU, .. }), "{error}");
    assert!(error.stdout().starts_with(b"and on\n") && error.stdout().len() <= 8192);
}

#[test]
fn what_the_task_s_own_processes_print_is_captured() {
    let error = error_of(|()| {
        let script = "echo from a child; (echo from its child >&2)";
        Command::new("sh").args(["-c", script]).status().unwrap();
        // A process that outlives the task and has its streams.
        let sleep = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        println!("{}", sleep.id());
        abort();
    });
    let (stdout, stderr) = printed(&error);
    let (first, pid) = stdout.split_once('\n').unwrap();
    assert_eq!((first, stderr), ("from a child", "from its child\n"));
    trine::signal::send(pid.trim().parse().unwrap(), Signal::KILL).unwrap();
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let error = error_of(|()| {
        io::stdout().write_all(&[0xff, 0, b'\n', 0xfe]).unwrap();
        io::stdout().flush().unwrap();
        io::stderr().write_all(b"\x1b[1mbold\xf0 end").unwrap();
        abort();
    });
    assert_eq!(error.stdout(), [0xff, 0, b'\n', 0xfe]);
    assert_eq!(error.stderr(), b"\x1b[1mbold\xf0 end");
    let shown = error.to_string();
    assert!(shown.ends_with("[1mbold\u{fffd} end") && !shown.contains('\x1b'), "{shown}");
    let parts = format!("{error:#?}");
    assert!(parts.contains("stdout") && parts.contains("stderr"), "{parts}");
}

#[test]
fn many_tasks_at_once_have_each_its_own() {
    let tasks: Vec<_> = (0..100_u32)
        .map(|n| {
            captured().spawn(n, |n| {
                print!("{n}");
                io::stdout().flush().unwrap();
                eprint!("-{n}");
                if n % 2 == 1 {
                    abort();
                }
                n
            })
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        match task.join() {
            Ok(value) => assert_eq!((value, n % 2), (n, 0)),
            Err(error) => assert_eq!(printed(&error), (&*format!("{n}"), &*format!("-{n}"))),
        }
    }
}

#[test]
fn without_capture_tasks_print_where_the_program_does() {
    if role().is_none() {
        let text = run(again("master"));
        assert!(text.contains("aloud") && !text.contains("in silence"), "{text}");
        return;
    }
    let aloud = Builder::new().spawn((), |()| {
        eprintln!("aloud");
        if true {
            abort();
        }
    });
    let error = aloud.join().unwrap_err();
    assert_eq!(printed(&error), ("", ""));
    let silent = captured().spawn((), |()| eprintln!("in silence"));
    silent.join().unwrap();
    let silent = captured().spawn((), |()| {
        eprintln!("in silence");
        if true {
            abort();
        }
    });
    assert_eq!(silent.join().unwrap_err().stderr(), b"in silence\n");
}
