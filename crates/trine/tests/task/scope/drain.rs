//! Waiting for all tasks of a scope before its end.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use trine::sync::{Event, channel};
use trine::{coroutine, scope, supervise, time};

use super::{FOR_GOOD, Notes, anywhere};

const A_MOMENT: Duration = Duration::from_millis(5);
const A_MINUTE: Duration = Duration::from_secs(60);

#[test]
fn it_returns_when_all_tasks_have_ended_also_those_that_tasks_have_started() {
    anywhere(|| {
        let ended = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..10 {
                s.coroutine(|| {
                    let notes = Notes(&ended);
                    s.thread(move || drop(notes));
                    s.coroutine(|| drop(Notes(&ended)));
                });
            }
            s.join_all();
            assert_eq!(ended.load(Acquire), 20);
            assert!(s.join_all_timeout(Duration::ZERO));
            // The scope is used again afterwards.
            s.process((), |()| ());
            assert!(s.join_all_timeout(A_MINUTE));
            assert!(s.join_all_timeout(FOR_GOOD));
        })
        .unwrap();
    });
}

#[test]
fn a_timeout_passes_while_a_task_is_left_and_zero_only_looks() {
    anywhere(|| {
        scope(|s| {
            assert!(s.join_all_timeout(Duration::ZERO), "there is none yet");
            let (sender, receiver) = channel::bounded(1);
            let task = s.coroutine(move || receiver.recv());
            assert!(!s.join_all_timeout(Duration::ZERO));
            assert!(!s.join_all_timeout(A_MOMENT));
            sender.send(1).unwrap();
            assert!(s.join_all_timeout(A_MINUTE));
            assert_eq!(task.join().unwrap(), Ok(1));
        })
        .unwrap();
    });
}

#[test]
fn several_may_wait_at_once() {
    let go = Event::new();
    scope(|s| {
        s.coroutine(|| go.wait());
        std::thread::scope(|threads| {
            let wait = || s.join_all_timeout(A_MINUTE);
            let waiting = [(); 3].map(|()| threads.spawn(wait));
            assert!(!s.join_all_timeout(A_MOMENT));
            go.set();
            s.join_all();
            for thread in waiting {
                assert!(thread.join().unwrap());
            }
        });
    })
    .unwrap();
}

#[test]
fn the_first_failure_ends_the_wait_in_a_scope_and_not_under_supervision() {
    let failed = scope(|s| {
        s.coroutine(|| time::sleep(FOR_GOOD));
        s.coroutine(|| panic!("on purpose"));
        s.join_all();
        unreachable!("the failure ends the wait");
    });
    assert!(failed.unwrap_err().is_panic());
    let ended = supervise(|s| {
        let go = &*Box::leak(Box::new(Event::new()));
        s.coroutine(|| panic!("on purpose"));
        s.coroutine(|| go.wait());
        assert!(!s.join_all_timeout(A_MOMENT));
        go.set();
        s.join_all();
    });
    ended.value.unwrap();
    assert_eq!(ended.failed, 1);
}

#[test]
fn a_cancelled_wait_ends_and_leaves_nothing_that_is_woken() {
    let task = coroutine::spawn(|| {
        scope(|s| {
            s.coroutine(|| time::sleep(FOR_GOOD));
            s.join_all();
        })
    });
    // Before the wait, or in it.
    coroutine::yield_now();
    task.cancel();
    assert!(task.join().unwrap_err().is_cancelled());
    // A time limit around it ends this wait; the scope goes on, and wakes nobody by it.
    let (sender, receiver) = channel::bounded(1);
    scope(|s| {
        let receiver = &receiver;
        s.coroutine(move || receiver.recv());
        assert!(time::timeout(A_MOMENT, || s.join_all()).is_err());
        sender.send(()).unwrap();
        s.join_all();
    })
    .unwrap();
}
