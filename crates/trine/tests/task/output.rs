//! Output of panics under the test harness, which captures what std's macros print.

use std::process::{Command, Output, Stdio};

use trine::{coroutine, thread};

use crate::common::{again, role, starts::start, this_program, this_test};

/// Runs the running test in a child, as `cargo test` runs it: with captured output.
fn captured(role: &str) -> Output {
    let mut command = Command::new(this_program());
    command.args([&*this_test(), "--exact"]).env("TRINE_TEST_ROLE", role);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    start(&mut command).unwrap().wait_with_output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs tasks of all kinds that share the process, and that panic.
fn panics() {
    let named = coroutine::Builder::new().name("the coroutine").spawn(|| panic!("on purpose"));
    assert!(named.join().unwrap_err().is_panic());
    let named = thread::Builder::new().name("the thread").spawn(|| panic!("on purpose"));
    assert!(named.join().unwrap_err().is_panic());
    let pool = thread::Pool::new(1);
    assert!(pool.spawn(|| panic!("on purpose")).join().unwrap_err().is_panic());
    let local = coroutine::spawn_local(|| panic!("on purpose"));
    assert!(local.join().unwrap_err().is_panic());
    let future = trine::future::spawn(async { panic!("on purpose") });
    assert!(future.join().unwrap_err().is_panic());
}

#[test]
fn a_passing_test_whose_tasks_panic_prints_nothing() {
    if role().is_some() {
        return panics();
    }
    let output = captured("passes");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(err, "");
    assert!(out.contains("1 passed") && !out.contains("panicked"), "{out}");
}

#[test]
fn a_failing_test_prints_which_of_its_tasks_have_panicked() {
    if role().is_some() {
        panics();
        panic!("fails");
    }
    let (out, err) = texts(&captured("fails"));
    assert_eq!(err, "");
    for task in ["coroutine `the coroutine` #", "thread `the thread` #"] {
        let line = out.lines().find(|line| line.starts_with(&format!("trine: {task}")));
        assert!(line.is_some_and(|line| line.ends_with("panicked:")), "{task}: {out}");
    }
    assert_eq!(out.matches("\non purpose\n").count(), 5, "{out}");
}

#[test]
fn a_panic_of_a_task_is_an_error_where_standard_error_is_closed_or_has_no_reader() {
    if let Some(role) = role() {
        if role == "closed" {
            // SAFETY: nothing in this process uses the descriptor but what prints.
            unsafe { libc::close(2) };
        }
        return panics();
    }
    for role in ["closed", "no reader"] {
        let mut child = start(&mut again(role)).unwrap();
        drop(child.stderr.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{role}: {}", texts(&output).0);
    }
}
