//! `Event`, `Condvar` and `Barrier`.

use crate::sync::Mutex;
use crate::sync::barrier::Barrier;
use crate::sync::condvar::Condvar;
use crate::sync::event::Event;
use crate::{NO_TIME, check};

#[test]
fn a_set_ends_all_waits() {
    check(3, Event::new, &[Event::set, Event::wait, Event::wait], |event| assert!(event.is_set()));
}

#[test]
fn a_wait_gives_up_while_it_is_set() {
    check(
        3,
        Event::new,
        &[Event::set, Event::wait, |event| _ = event.wait_timeout(NO_TIME)],
        |event| assert!(event.is_set()),
    );
}

/// A number of things to take, and the condition that there is one.
type Things = (Mutex<u32>, Condvar);

fn no_things() -> Things {
    (Mutex::new(0), Condvar::new())
}

fn take((things, added): &Things) {
    *added.wait_while(things.lock(), |things| *things == 0) -= 1;
}

fn take_in_no_time((things, added): &Things) {
    let (mut things, result) =
        added.wait_timeout_while(things.lock(), NO_TIME, |things| *things == 0);
    if !result.timed_out() {
        *things -= 1;
        // The other finds as many as before.
        *things += 1;
        drop(things);
        added.notify_one();
    }
}

fn put((things, added): &Things) {
    *things.lock() += 1;
    added.notify_one();
}

fn put_two((things, added): &Things) {
    *things.lock() += 2;
    added.notify_all();
}

#[test]
fn one_notification_for_one() {
    check(3, no_things, &[put, take], |things| assert_eq!(*things.0.lock(), 0));
}

#[test]
fn a_notification_for_all() {
    check(2, no_things, &[put_two, take, take], |things| assert_eq!(*things.0.lock(), 0));
}

#[test]
fn two_notifications_for_two() {
    check(
        2,
        no_things,
        &[
            |things: &Things| {
                put(things);
                put(things);
            },
            take,
            take,
        ],
        |things| assert_eq!(*things.0.lock(), 0),
    );
}

#[test]
fn one_gives_up_beside_one_who_waits() {
    check(2, no_things, &[put, take, take_in_no_time], |things| assert_eq!(*things.0.lock(), 0));
}

#[test]
fn all_arrive_and_one_leads() {
    check(
        3,
        || (Barrier::new(2), Mutex::new(0)),
        &[
            |(barrier, led): &(Barrier, Mutex<u32>)| {
                *led.lock() += u32::from(barrier.wait().is_leader())
            },
            |(barrier, led): &(Barrier, Mutex<u32>)| {
                *led.lock() += u32::from(barrier.wait().is_leader())
            },
        ],
        |(_, led)| assert_eq!(*led.lock(), 1),
    );
}

#[test]
fn a_barrier_is_used_again_at_once() {
    check(
        2,
        || Barrier::new(2),
        &[
            |barrier: &Barrier| _ = (barrier.wait(), barrier.wait()),
            |barrier: &Barrier| _ = (barrier.wait(), barrier.wait()),
        ],
        |_| {},
    );
}
