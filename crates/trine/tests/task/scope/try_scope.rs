//! Scopes that the first `Err` of a task ends.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};
use trine::sync::Event;
use trine::{TaskError, coroutine, time, try_scope};

use super::{FOR_GOOD, Notes, anywhere};
use crate::common::waiting::until;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Error {
    Number(u32),
    Task(String),
}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Error {
        Error::Task(error.to_string())
    }
}

#[test]
fn the_values_of_all_come_back_if_none_fails() {
    anywhere(|| {
        let text = String::from("borrowed");
        let sum = try_scope(|s| {
            let a = s.try_coroutine(|| Ok(text.len()));
            let b = s.try_thread(|| Ok(text.len()));
            let c = s.try_process(8, |n: usize| Ok::<_, Error>(n));
            let text = &text;
            let d = s.scope().coroutine(move || s.try_coroutine(|| Ok(text.len())).join());
            Ok::<_, Error>(a.join()? + b.join()? + c.join()? + d.join()??)
        });
        assert_eq!(sum, Ok(32));
    });
}

#[test]
fn the_first_err_of_each_kind_cancels_the_others_and_is_the_result() {
    anywhere(|| {
        for kind in 0..3 {
            let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let result = try_scope(|s| {
                let sleeps = || {
                    begun.fetch_add(1, Release);
                    let _notes = Notes(&ended);
                    time::sleep(FOR_GOOD);
                    Ok(())
                };
                s.try_coroutine(sleeps);
                s.try_thread(sleeps);
                until(|| begun.load(Acquire) == 2);
                match kind {
                    0 => s.try_coroutine(|| Err::<(), _>(Error::Number(0))),
                    1 => s.try_thread(|| Err::<(), _>(Error::Number(1))),
                    _ => s.try_process(2, |n: u32| Err::<(), _>(Error::Number(n))),
                };
                time::sleep(FOR_GOOD); // The failure ends the waits of the body too.
                Ok(())
            });
            assert_eq!(result, Err(Error::Number(kind)));
            assert_eq!(ended.load(Acquire), 2);
        }
    });
}

#[test]
fn an_err_of_the_body_cancels_the_tasks() {
    anywhere(|| {
        let result = try_scope(|s| {
            s.try_coroutine(|| {
                time::sleep(FOR_GOOD);
                Ok(())
            });
            s.try_thread(|| {
                time::sleep(FOR_GOOD);
                Ok(())
            });
            Err::<(), _>(Error::Number(7))
        });
        assert_eq!(result, Err(Error::Number(7)));
    });
}

#[test]
fn only_the_first_failure_counts_whatever_it_is() {
    anywhere(|| {
        // A panic, then an `Err` of another task and of the body.
        let result = try_scope(|s| {
            let first = s.scope().coroutine(|| panic!("the first"));
            let _ = first.join();
            s.try_thread(|| Err::<(), _>(Error::Number(1)));
            Err::<(), _>(Error::Number(2))
        });
        let Err(Error::Task(text)) = result else { panic!("{result:?}") };
        assert!(text.contains("the first"), "{text}");
        // An `Err`, then a panic of another task.
        let (begun, failed) = (Event::new(), Event::new());
        let result = try_scope(|s| {
            s.scope().thread(|| {
                begun.set();
                until(trine::cancelled);
                failed.set();
                panic!("the second");
            });
            s.try_coroutine(|| {
                begun.wait();
                Err::<(), _>(Error::Number(1))
            });
            Ok(())
        });
        assert!(failed.is_set());
        assert_eq!(result, Err(Error::Number(1)));
    });
}

#[test]
fn the_err_of_a_cancelled_task_is_no_failure() {
    anywhere(|| {
        let begun = Event::new();
        let result = try_scope(|s| {
            let task = s.try_coroutine(|| {
                begun.set();
                until(trine::cancelled);
                Err::<(), _>(Error::Number(1))
            });
            begun.wait();
            task.cancel();
            Ok(task.join().unwrap_err().is_cancelled())
        });
        assert_eq!(result, Ok(true));
    });
}

#[test]
fn a_join_of_the_task_that_returned_an_err_is_cancelled() {
    let seen = AtomicUsize::new(0);
    let result = try_scope(|s| {
        let error = s.try_thread(|| Err::<(), _>(Error::Number(3))).join().unwrap_err();
        assert!(error.is_cancelled());
        seen.store(1, Relaxed);
        Ok(())
    });
    assert_eq!((result, seen.into_inner()), (Err(Error::Number(3)), 1));
}

#[test]
fn an_error_may_borrow_from_outside_the_scope() {
    struct Borrowed<'a>(Option<&'a str>);
    impl From<TaskError> for Borrowed<'_> {
        fn from(_: TaskError) -> Self {
            Borrowed(None)
        }
    }
    let text = String::from("outside");
    let result = try_scope(|s| {
        s.try_coroutine(|| Err::<(), _>(Borrowed(Some(&text))));
        Ok(())
    });
    assert_eq!(result.err().and_then(|error| error.0), Some("outside"));
}

#[test]
fn a_cancelled_caller_gets_its_own_error() {
    let task = coroutine::spawn(|| {
        try_scope(|s| {
            s.try_coroutine(|| {
                time::sleep(FOR_GOOD);
                Ok(())
            });
            Ok::<_, TaskError>(())
        })
    });
    until(|| task.state() == trine::State::Waiting);
    let id = task.id();
    task.cancel_because("enough");
    let error = task.join().unwrap().unwrap_err();
    assert!(error.is_cancelled() && error.task().unwrap().id == id, "{error}");
}

#[test]
#[should_panic(expected = "the body")]
fn a_panic_of_the_body_goes_on() {
    let _ = try_scope(|s| {
        s.try_coroutine(|| {
            time::sleep(FOR_GOOD);
            Ok(())
        });
        if true {
            panic!("the body");
        }
        Ok::<_, TaskError>(())
    });
}
