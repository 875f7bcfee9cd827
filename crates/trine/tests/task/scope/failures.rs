//! The first failure ends the others, and is the error.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use trine::{Cause, Kind, coroutine, scope, thread, time};

use super::{FOR_GOOD, Notes, anywhere};
use crate::common::waiting::until;

#[test]
fn the_first_failure_cancels_the_others_and_is_the_error() {
    anywhere(|| {
        let dropped = AtomicUsize::new(0);
        let error = scope(|s| {
            for _ in 0..10 {
                s.coroutine(|| {
                    let _notes = Notes(&dropped);
                    time::sleep(FOR_GOOD);
                });
                s.thread(|| {
                    let _notes = Notes(&dropped);
                    time::sleep(FOR_GOOD);
                });
            }
            s.coroutine(|| panic!("number one"));
        });
        let error = error.unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("number one"), "{error}");
        assert!(error.suppressed().is_empty(), "a cancelled task is no failure: {error:?}");
        assert!(dropped.load(Acquire) <= 20);
    });
}

#[test]
fn a_failure_ends_the_waits_of_the_body_too() {
    anywhere(|| {
        let error = scope(|s| {
            s.coroutine(|| panic!("while the body sleeps"));
            time::sleep(FOR_GOOD);
        });
        assert!(error.unwrap_err().is_panic());
        // A wait that can fail returns the reason.
        let seen = AtomicBool::new(false);
        let error = scope(|s| {
            s.thread(|| panic!("while the body joins"));
            let endless = coroutine::spawn(|| time::sleep(FOR_GOOD));
            let canceller = endless.canceller();
            let joined = endless.join().unwrap_err();
            assert!(joined.is_cancelled() && joined.to_string().contains("has failed"), "{joined}");
            seen.store(true, Relaxed);
            canceller.cancel();
        });
        assert!(error.unwrap_err().is_panic() && seen.load(Relaxed));
        // The scope has ended, and its cancellation too.
        time::sleep(Duration::from_micros(10));
        assert!(!trine::cancelled());
    });
}

#[test]
fn later_failures_hang_off_the_first() {
    let (first, second) = (AtomicBool::new(false), AtomicBool::new(false));
    let error = scope(|s| {
        s.thread(|| {
            second.store(true, Release);
            // Computes, so that the cancellation does not end it.
            until(|| first.load(Acquire) && trine::cancelled());
            panic!("second");
        });
        s.thread(|| {
            until(|| second.load(Acquire));
            first.store(true, Release);
            panic!("first");
        });
    });
    let error = error.unwrap_err();
    assert!(error.to_string().contains("first"), "{error}");
    assert!(error.to_string().ends_with("(and one more failure)"), "{error}");
    assert!(error.suppressed()[0].to_string().contains("second"), "{error:?}");
    let payload = error.into_panic().unwrap();
    assert_eq!(*payload.downcast::<&str>().unwrap(), "first");
}

#[test]
fn a_crash_of_a_process_is_a_failure_like_any_other() {
    let error = scope(|s| {
        s.coroutine(|| time::sleep(FOR_GOOD));
        s.process((), |()| -> () { std::process::abort() });
        s.on(&Kind::Thread, (), |()| time::sleep(FOR_GOOD));
    });
    let error = error.unwrap_err();
    assert!(matches!(error.cause(), Cause::Signaled { signal: 6, .. }), "{error}");
    assert_eq!(error.task().unwrap().kind, Kind::Process);
}

#[test]
fn a_panic_of_the_body_cancels_the_tasks_and_goes_on_when_they_have_ended() {
    anywhere(|| {
        let begun = AtomicUsize::new(0);
        let ended = AtomicUsize::new(0);
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                for _ in 0..4 {
                    s.coroutine(|| {
                        begun.fetch_add(1, Release);
                        let _notes = Notes(&ended);
                        time::sleep(FOR_GOOD);
                    });
                }
                until(|| begun.load(Acquire) == 4);
                panic::resume_unwind(Box::new("the body's own"));
            })
        }));
        assert_eq!(*caught.map(drop).unwrap_err().downcast::<&str>().unwrap(), "the body's own");
        assert_eq!(ended.load(Acquire), 4);
    });
}

#[test]
fn a_panic_in_the_destructor_of_an_unwanted_value_is_a_failure() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the destructor");
        }
    }
    let error = scope(|s| {
        let bomb = s.coroutine(|| {
            time::sleep(Duration::from_millis(1));
            Bomb
        });
        drop(bomb);
    });
    assert!(error.unwrap_err().to_string().contains("in the destructor"));
}

#[test]
fn a_hundred_thousand_waiting_coroutines_end_when_their_scope_fails() {
    const MANY: usize = 100_000;
    let (begun, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let error = scope(|s| {
        for _ in 0..MANY {
            s.coroutine(|| {
                let _notes = Notes(&dropped);
                begun.fetch_add(1, Release);
                time::sleep(FOR_GOOD);
            });
        }
        until(|| begun.load(Acquire) == MANY);
        s.coroutine(|| panic!("that was all"));
    });
    assert!(error.unwrap_err().is_panic());
    assert_eq!(dropped.load(Acquire), MANY);
}

#[test]
fn tasks_that_a_failure_overtakes_before_they_began_never_run() {
    let pool = thread::Pool::new(1);
    let ran = AtomicUsize::new(0);
    let error = scope(|s| {
        s.coroutine(|| panic!("first"));
        until(trine::cancelled);
        for _ in 0..100 {
            s.coroutine(|| ran.fetch_add(1, Relaxed));
            s.thread(|| time::sleep(FOR_GOOD));
            s.on(&pool, (), |()| time::sleep(FOR_GOOD));
        }
    });
    assert!(error.unwrap_err().to_string().contains("first"));
}

/// Unwraps the error of the next level, whose text is then in its own.
fn unwrapped(depth: u32) {
    assert!(depth > 0, "at the bottom");
    scope(|s| s.coroutine(move || unwrapped(depth - 1)).join().unwrap()).unwrap();
}

#[test]
fn the_text_of_an_error_that_many_unwrap_grows_evenly() {
    let at = |depth| {
        let error = coroutine::spawn(move || unwrapped(depth)).join().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("at the bottom") && !text.contains('\\'), "{text}");
        text.len()
    };
    assert!(at(40) < 4 * at(20));
}

#[test]
fn a_failure_and_then_a_deadline_do_not_unwind_the_caller() {
    let body = || {
        let time = Duration::from_millis(100);
        let ended = time::timeout(time, || {
            scope(|s| {
                s.coroutine(move || {
                    // Ends after the deadline of the scope's caller.
                    trine::shield(Duration::from_secs(60), || time::sleep(2 * time));
                });
                s.coroutine(|| panic!("before the deadline"));
                time::sleep(Duration::MAX);
            })
        });
        // The failure came too late only on a machine that stalled meanwhile.
        assert!(ended.is_err() || ended.unwrap().unwrap_err().is_panic());
    };
    assert!(std::thread::spawn(body).join().is_ok());
    thread::spawn(body).join().unwrap();
    coroutine::spawn(body).join().unwrap();
}

#[test]
fn tasks_that_take_the_places_of_others_are_cancelled_like_them() {
    for _ in 0..30 {
        let failed = scope(|s| {
            let spawners: Vec<_> = (0..4)
                .map(|_| {
                    s.thread(move || {
                        for _ in 0..50 {
                            // It may have ended and left its slot before it is entered there.
                            s.coroutine(|| ());
                            s.coroutine(|| time::sleep(FOR_GOOD));
                        }
                    })
                })
                .collect();
            spawners.into_iter().for_each(|spawner| spawner.join().unwrap());
            s.coroutine(|| panic::resume_unwind(Box::new("failed")));
        });
        assert!(failed.unwrap_err().is_panic());
    }
}

#[test]
fn a_panic_of_the_body_after_a_failure_does_not_hide_the_failure() {
    anywhere(|| {
        let error = scope(|s| {
            s.coroutine(|| panic!("the cause"));
            until(trine::cancelled);
            panic!("a consequence");
        });
        let error = error.map(|never: ()| never).unwrap_err();
        assert!(error.to_string().contains("the cause"), "{error}");
        assert!(error.suppressed()[0].to_string().contains("a consequence"), "{error:?}");
    });
}
