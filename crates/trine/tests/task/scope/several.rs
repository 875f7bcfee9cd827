//! Supervised scopes, `join_all` and races.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc;
use std::time::Duration;

use trine::{State, Task, coroutine, process, supervise, thread, time};

use super::{FOR_GOOD, Notes, anywhere};
use crate::common::waiting::until;

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
fn a_race_that_was_won_before_its_caller_was_cancelled_has_its_value() {
    // The local coroutine has no turn between the two. What the pool's one thread runs after the
    // winner begins after the winner's end.
    let pool = thread::Pool::new(1);
    let ((start, started), (end, ended)) = (mpsc::channel(), mpsc::channel());
    let winner = pool.spawn(move || started.recv().unwrap());
    let loser = coroutine::spawn(|| -> u32 {
        time::sleep(FOR_GOOD);
        unreachable!()
    });
    let won = Rc::new(Cell::new(None));
    let inside = Rc::clone(&won);
    let task = coroutine::spawn_local(move || {
        inside.set(trine::race([loser, winner]).ok());
        time::sleep(FOR_GOOD);
    });
    while task.state() != State::Waiting {
        coroutine::yield_now();
    }
    start.send(7).unwrap();
    let after = pool.spawn(move || end.send(()).unwrap());
    ended.recv().unwrap();
    task.cancel();
    assert!(task.join().unwrap_err().is_cancelled(), "the next wait is interrupted");
    assert_eq!(won.get(), Some(7));
    after.join().unwrap();
}

#[test]
fn a_race_waits_for_all_losers_even_if_the_value_of_one_panics() {
    /// A value of a loser, which it has in time although it is cancelled.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as expected");
        }
    }

    /// Takes its time to end.
    struct Slow(&'static AtomicUsize);

    impl Drop for Slow {
        fn drop(&mut self) {
            trine::shield(FOR_GOOD, || time::sleep(Duration::from_millis(20)));
            self.0.fetch_add(1, Release);
        }
    }

    anywhere(|| {
        static ENDED: AtomicUsize = AtomicUsize::new(0);
        let before = ENDED.load(Acquire);
        let waits = || {
            while !trine::cancelled() {
                coroutine::yield_now();
            }
        };
        let loser = || {
            coroutine::spawn(move || {
                waits();
                Some(Bomb)
            })
        };
        let slow = coroutine::spawn(move || {
            let _slow = Slow(&ENDED);
            waits();
            None
        });
        let losers = [loser(), loser(), slow];
        until(|| losers.iter().all(|task| task.state() != State::New));
        let winner = coroutine::spawn(|| None);
        let tasks = std::iter::once(winner).chain(losers);
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| trine::race(tasks)));
        let payload = panicked.err().expect("the destructor of a value has panicked");
        assert_eq!(payload.downcast_ref(), Some(&"as expected"));
        assert_eq!(ENDED.load(Acquire), before + 1);
    });
}
