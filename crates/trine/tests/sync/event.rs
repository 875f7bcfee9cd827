//! `Event`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use trine::coroutine;
use trine::sync::Event;

use super::{KINDS, LONG, SHORT, kind_of, spawn, until_it_waits};

#[test]
fn all_who_wait_go_on_and_have_seen_what_came_before() {
    let event = Arc::new(Event::new());
    let value = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let (event, value) = (Arc::clone(&event), Arc::clone(&value));
            spawn(kind_of(n), move || {
                event.wait();
                value.load(Relaxed)
            })
        })
        .collect();
    value.store(7, Relaxed);
    event.set();
    for task in tasks {
        assert_eq!(task.join().unwrap(), 7);
    }
    event.wait();
    assert!(event.is_set() && event.wait_timeout(Duration::ZERO));
}

#[test]
fn a_set_ends_the_waits_even_if_it_is_taken_back_at_once() {
    let event = Arc::new(Event::default());
    for _ in 0..20 {
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                let event = Arc::clone(&event);
                coroutine::spawn(move || event.wait_timeout(LONG))
            })
            .collect();
        tasks.iter().for_each(until_it_waits);
        event.set();
        event.reset();
        for task in tasks {
            assert!(task.join().unwrap());
        }
        assert!(!event.is_set());
    }
}

#[test]
fn a_wait_that_times_out_leaves_no_trace() {
    for kind in KINDS {
        let event = Arc::new(Event::new());
        assert!(!event.wait_timeout(SHORT));
        let own = Arc::clone(&event);
        assert!(!spawn(kind, move || own.wait_timeout(SHORT)).join().unwrap());
        event.set();
        event.reset();
        assert_eq!(format!("{event:?}"), "Event { set: false }");
    }
}

#[test]
fn set_and_waits_that_time_out_meet_at_all_moments() {
    let event = Arc::new(Event::new());
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let event = Arc::clone(&event);
            spawn(kind_of(n), move || {
                (0..300)
                    .filter(|round| event.wait_timeout(Duration::from_micros(round % 40)))
                    .count()
            })
        })
        .collect();
    while tasks.iter().any(|task| !task.is_finished()) {
        event.set();
        event.reset();
        std::thread::yield_now();
    }
    for task in tasks {
        task.join().unwrap();
    }
}
