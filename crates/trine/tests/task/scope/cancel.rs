//! Scopes that are cancelled, from within and from outside.

use std::io::Read;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use trine::{State, Task, coroutine, ipc, scope, supervise, thread, time};

use super::{FOR_GOOD, Notes, anywhere};
use crate::common::waiting::until;

#[test]
fn an_owner_that_is_cancelled_cancels_its_tasks_and_waits_for_them() {
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let owner = || {
        scope(|s| {
            s.coroutine(|| {
                BEGUN.fetch_add(1, Release);
                let _notes = Notes(&ENDED);
                time::sleep(FOR_GOOD);
            });
        })
    };
    for (n, task) in [coroutine::spawn(owner), thread::spawn(owner)].into_iter().enumerate() {
        until(|| BEGUN.load(Acquire) == 2);
        task.cancel_because("no longer wanted");
        let error = task.join().unwrap().unwrap_err();
        assert!(error.is_cancelled() && error.to_string().contains("no longer wanted"), "{error}");
        assert!(ENDED.load(Acquire) > n);
    }
}

#[test]
fn deadlines_reach_the_tasks_of_a_scope() {
    anywhere(|| {
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let outer = time::timeout(Duration::from_millis(5), || {
            scope(|s| {
                for _ in 0..3 {
                    s.coroutine(|| {
                        begun.fetch_add(1, Release);
                        let _notes = Notes(&ended);
                        time::sleep(FOR_GOOD);
                    });
                }
                s.thread(|| {
                    begun.fetch_add(1, Release);
                    until(trine::cancelled);
                    ended.fetch_add(1, Release);
                });
            })
        });
        // Tasks that the deadline overtook before they began have not run.
        assert_eq!(ended.load(Acquire), begun.load(Acquire));
        // Either the owner's wait noticed first, or a task's.
        match outer {
            Ok(ended) => assert!(ended.unwrap_err().is_timeout()),
            Err(timed_out) => assert_eq!(timed_out.after(), Duration::from_millis(5)),
        }
    });
}

#[test]
fn scopes_nest_and_a_failure_outside_ends_what_is_inside() {
    anywhere(|| {
        let inner_ended = AtomicUsize::new(0);
        let error = scope(|outer| {
            let begun = AtomicBool::new(false);
            outer.coroutine(|| panic!("outside"));
            let _ = scope(|inner| {
                inner.coroutine(|| {
                    let _notes = Notes(&inner_ended);
                    begun.store(true, Release);
                    time::sleep(FOR_GOOD);
                });
            });
            unreachable_after_cancel();
        });
        assert!(error.unwrap_err().to_string().contains("outside"));
        // The other way round: a failure inside is the inner scope's error only.
        let ok = scope(|outer| {
            let side = outer.coroutine(|| {
                time::sleep(Duration::from_millis(1));
                5
            });
            let inner = scope(|inner| {
                inner.coroutine(|| panic!("inside"));
                time::sleep(FOR_GOOD);
            });
            assert!(inner.unwrap_err().is_panic());
            side.join().unwrap()
        });
        assert_eq!(ok.unwrap(), 5);
    });
}

/// Waits: the owner of a scope that has failed gets no further than its next wait.
fn unreachable_after_cancel() {
    time::sleep(FOR_GOOD);
    unreachable!();
}

#[test]
fn a_scope_that_is_cancelled_has_its_value_when_its_tasks_have_ended() {
    anywhere(|| {
        let dropped = AtomicUsize::new(0);
        let (begun, kept) = (AtomicUsize::new(0), AtomicBool::new(false));
        let value = scope(|s| {
            for wait in
                [s.coroutine(|| sleeper(&begun, &dropped)), s.thread(|| sleeper(&begun, &dropped))]
            {
                drop(wait);
            }
            let process = s.process((), |()| time::sleep(FOR_GOOD));
            while begun.load(Acquire) != 2 {
                // The body may be on the only carrier.
                coroutine::yield_now();
            }
            assert!(!s.is_cancelled());
            s.cancel_because("found it");
            s.cancel_because("the first reason counts");
            assert!(s.is_cancelled());
            // The body goes on, and so do its waits.
            time::sleep(Duration::from_millis(1));
            let error = process.join().unwrap_err();
            assert!(error.is_cancelled() && error.to_string().ends_with("found it"), "{error}");
            let late = s.coroutine(|| kept.store(true, Relaxed));
            assert!(late.join().unwrap_err().is_cancelled());
            7
        });
        assert_eq!(value.unwrap(), 7);
        assert_eq!(dropped.load(Acquire), 2);
        assert!(!kept.load(Relaxed), "a task of a cancelled scope has run");
    });
}

fn sleeper(begun: &AtomicUsize, dropped: &AtomicUsize) {
    let _notes = Notes(dropped);
    begun.fetch_add(1, Release);
    time::sleep(FOR_GOOD);
}

#[test]
fn a_task_cancels_its_own_scope_and_a_panic_after_that_is_a_failure() {
    anywhere(|| {
        let value = scope(|s| {
            let waits = s.coroutine(|| time::sleep(FOR_GOOD));
            let found = s.coroutine(|| {
                s.cancel();
                7
            });
            assert!(waits.join().unwrap_err().is_cancelled());
            found.join()
        });
        // It had no wait left in which it could be interrupted.
        assert_eq!(value.unwrap().unwrap(), 7);
        let error = scope(|s| {
            s.cancel();
            panic::catch_unwind(AssertUnwindSafe(|| drop(s.coroutine(|| ())))).unwrap();
            let begun = AtomicBool::new(false);
            supervise(|inner| {
                inner.thread(|| {
                    begun.store(true, Release);
                    while !trine::cancelled() {
                        std::hint::spin_loop();
                    }
                    panic!("in spite of all");
                });
                until(|| begun.load(Acquire));
                inner.cancel();
            })
        })
        .unwrap();
        assert_eq!((error.failed, error.value.is_ok()), (1, true));
        assert!(error.failures[0].to_string().ends_with("in spite of all"));
    });
}

#[test]
fn the_tasks_of_a_cancelled_scope_know_its_reason() {
    let reasons = |cancel: fn(&Task<String>)| {
        let task = coroutine::spawn(|| {
            let mut told = None;
            let (mut reader, _writer) = ipc::pipe().unwrap();
            _ = scope(|s| drop(s.coroutine(|| told = reader.read(&mut [0]).err())));
            told.unwrap().to_string()
        });
        until(|| task.state() == State::Waiting);
        cancel(&task);
        task.join().unwrap()
    };
    assert_eq!(reasons(|task| task.cancel_because("enough")), "cancelled: enough");
    assert_eq!(reasons(Task::cancel), "cancelled: so was the task that waits for it");
}
