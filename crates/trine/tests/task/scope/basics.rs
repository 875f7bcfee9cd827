//! Tasks of a scope: their borrows, children, values and names.

use std::panic;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use trine::{Kind, coroutine, scope, supervise, time};

use super::{Notes, anywhere};

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
