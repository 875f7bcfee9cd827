//! Scopes: every task ends before the scope does, and the first failure ends the others.

use std::io::Read;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use trine::{Cause, Kind, State, Task, coroutine, ipc, process, scope, supervise, thread, time};

mod common;

use common::waiting::until;

const FOR_GOOD: Duration = Duration::MAX;

/// Notes that it was dropped, in what it borrows.
struct Notes<'a>(&'a AtomicUsize);

impl Drop for Notes<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

/// Runs `f` in a coroutine, a thread and the test's own thread.
fn anywhere(f: impl Fn() + Clone + Send + 'static) {
    f();
    coroutine::spawn(f.clone()).join().unwrap();
    thread::spawn(f).join().unwrap();
}

#[test]
fn tasks_of_all_kinds_borrow_and_end_before_the_scope_does() {
    anywhere(|| {
        let table: Vec<u64> = (1..=1000).collect();
        let (mut sum, mut square) = (0, 0);
        let doubled = scope(|s| {
            s.coroutine(|| {
                time::sleep(Duration::from_millis(2));
                sum = table.iter().sum::<u64>();
            });
            s.thread(|| square = table.iter().map(|n| n * n).sum::<u64>());
            s.process(21, |n: u32| 2 * n).join().unwrap()
        });
        assert_eq!((sum, square, doubled.unwrap()), (500_500, 333_833_500, 42));
    });
}

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
        // And a wait that can fail says why.
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
        // The scope is over, and so is that.
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
        // Those that the deadline overtook before they began have not run.
        assert_eq!(ended.load(Acquire), begun.load(Acquire));
        // Whoever noticed first: the owner's wait, or a task's.
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
        // The other way round: a failure inside is the inner scope's error, and no more.
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

/// The owner of a scope that has failed gets no further than its next wait.
fn unreachable_after_cancel() {
    time::sleep(FOR_GOOD);
    unreachable!();
}

#[test]
fn tasks_start_more_tasks_in_their_scope() {
    let count = AtomicUsize::new(0);
    scope(|s| {
        for _ in 0..10 {
            s.coroutine(|| {
                for _ in 0..10 {
                    s.coroutine(|| {
                        time::sleep(Duration::from_micros(100));
                        s.thread(|| count.fetch_add(1, Release));
                    });
                }
            });
        }
    })
    .unwrap();
    assert_eq!(count.load(Acquire), 100);
}

#[test]
fn values_that_nobody_joins_are_dropped_before_the_scope_ends() {
    for _ in 0..200 {
        let dropped = AtomicUsize::new(0);
        scope(|s| {
            s.coroutine(|| Notes(&dropped));
            drop(s.thread(|| Notes(&dropped)));
            let joined = s.coroutine(|| Notes(&dropped));
            drop(joined.join());
            let forgotten = s.coroutine(|| 1);
            std::mem::forget(forgotten);
        })
        .unwrap();
        assert_eq!(dropped.load(Acquire), 3);
    }
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
                coroutine::yield_now(); // Where there is one carrier, the body may be on it.
            }
            assert!(!s.is_cancelled());
            s.cancel_because("found it");
            s.cancel_because("the first reason counts");
            assert!(s.is_cancelled());
            // The body goes on, and its waits do.
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
        // It had no wait left in which it could have been interrupted.
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

fn fails((): ()) {
    panic!("here");
}

#[test]
fn tasks_name_the_place_where_they_were_started() {
    let ended = supervise(|s| {
        let line = line!();
        s.coroutine(|| panic!("here"));
        s.thread(|| panic!("here"));
        s.process((), fails);
        s.on(&Kind::Thread, (), fails);
        s.adopt(coroutine::spawn(|| panic!("here")));
        line
    });
    let lines = ended.failures.iter().map(|error| {
        let at = error.task().unwrap().location;
        assert_eq!(at.file(), file!(), "{error}");
        at.line() - *ended.value.as_ref().unwrap()
    });
    let mut lines: Vec<u32> = lines.collect();
    lines.sort_unstable();
    assert_eq!(lines, [1, 2, 3, 4, 5]);
}

/// Each unwraps the error of the next, whose text is then in its own.
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
fn a_supervised_scope_keeps_going() {
    anywhere(|| {
        let worked = AtomicUsize::new(0);
        let ended = supervise(|s| {
            for n in 0..30 {
                let worked = &worked;
                s.coroutine(move || {
                    time::sleep(Duration::from_micros(100));
                    assert!(n % 3 != 0, "every third");
                    worked.fetch_add(1, Release);
                });
            }
            s.process((), |()| -> () { std::process::exit(3) });
            "the body's value"
        });
        assert_eq!(worked.load(Acquire), 20);
        assert_eq!((ended.failed, ended.failures.len()), (11, 11));
        assert_eq!(ended.failures.iter().filter(|failure| failure.is_panic()).count(), 10);
        assert_eq!(ended.value.unwrap(), "the body's value");
    });
}

#[test]
fn join_all_gives_each_its_own_end() {
    anywhere(|| {
        let tasks: Vec<Task<u32>> =
            vec![coroutine::spawn(|| 1), thread::spawn(|| panic!("two")), process::spawn(3, |n| n)];
        let ends = trine::join_all(tasks);
        assert_eq!(*ends[0].as_ref().unwrap(), 1);
        assert!(ends[1].as_ref().unwrap_err().is_panic());
        assert_eq!(*ends[2].as_ref().unwrap(), 3);
    });
}

#[test]
fn a_race_is_won_by_the_first_value_and_ends_the_others() {
    anywhere(|| {
        static ENDED: AtomicUsize = AtomicUsize::new(0);
        let before = ENDED.load(Acquire);
        let slow = || {
            coroutine::spawn(|| {
                let _notes = Notes(&ENDED);
                time::sleep(FOR_GOOD);
                0
            })
        };
        let (a, b) = (slow(), slow());
        until(|| a.state() == State::Waiting && b.state() == State::Waiting);
        let failing = thread::spawn(|| panic!("out of the race"));
        let winner = thread::spawn(|| {
            time::sleep(Duration::from_millis(1));
            7
        });
        assert_eq!(trine::race([a, failing, winner, b]).unwrap(), 7);
        assert!(ENDED.load(Acquire) >= before + 2, "it waits for the losers");
    });
    let failing = |text: &'static str| coroutine::spawn(move || -> u32 { panic!("{text}") });
    let error = trine::race([failing("a"), failing("b"), failing("c")]).unwrap_err();
    assert_eq!(error.suppressed().len(), 2);
    assert!(panic::catch_unwind(|| trine::race(Vec::<Task<()>>::new())).is_err());
}

#[test]
fn a_race_whose_caller_is_cancelled_ends_all() {
    let task = coroutine::spawn(|| {
        let endless = || coroutine::spawn(|| time::sleep(FOR_GOOD));
        trine::race([endless(), endless()])
    });
    until(|| task.state() == State::Waiting);
    task.cancel();
    let error = task.join().unwrap().unwrap_err();
    assert!(error.is_cancelled());
}

#[test]
fn a_task_of_a_scope_was_spawned_where_the_scope_was_asked() {
    trine::scope(|s| {
        let tasks = [s.coroutine(|| ()), s.thread(|| ()), s.adopt(coroutine::spawn(|| ()))];
        for task in tasks {
            assert_eq!((task.location().file(), task.location().line()), (file!(), line!() - 2));
        }
        s.coroutine(|| {
            let here = trine::task::current().unwrap().location;
            assert_eq!((here.file(), here.line()), (file!(), line!() - 2));
        });
    })
    .unwrap();
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
        // The failure came too late only on a machine that stood still meanwhile.
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
                            // May have ended, and left its place, before it is entered there.
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
