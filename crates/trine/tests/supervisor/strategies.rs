//! The strategies, and the order of starts and ends.

use std::time::Duration;

use trine::supervisor::{Child, ChildState, Restart, Strategy};
use trine::{Kind, time};

use crate::common::waiting::until;
use crate::parts::{Book, state, until_running};

/// Each kind alone, and all three together.
const KINDS: [[Kind; 3]; 4] = [
    [Kind::Coroutine; 3],
    [Kind::Thread; 3],
    [Kind::Process; 3],
    [Kind::Process, Kind::Coroutine, Kind::Thread],
];

/// Has the second of three children fail. Returns the events.
fn failure_of_b(strategy: Strategy, kinds: [Kind; 3], restarts: [u64; 3]) -> String {
    let (book, _folder) = Book::new("strategies");
    let [a, b, c] = kinds.map(|kind| book.child(kind).reports_ready());
    let supervisor =
        trine::supervisor().strategy(strategy).child("a", a).child("b", b).child("c", c).start();
    until_running(&supervisor, &[0; 3]);
    book.wish("b0");
    until_running(&supervisor, &restarts);
    let failure = supervisor.children()[1].last_failure.clone().unwrap();
    assert_eq!(failure.to_string(), "returned an error: b0 was to fail");
    supervisor.stop().unwrap();
    book.line()
}

#[test]
fn one_for_one_restarts_the_child_that_has_failed() {
    for kinds in KINDS {
        let events = failure_of_b(Strategy::OneForOne, kinds, [0, 1, 0]);
        assert_eq!(events, "+a0 +b0 +c0 -b0 +b1 -c0 -b1 -a0", "{kinds:?}");
    }
}

#[test]
fn one_for_all_ends_all_in_reverse_order_and_starts_all_in_order() {
    for kinds in KINDS {
        let events = failure_of_b(Strategy::OneForAll, kinds, [1, 1, 1]);
        let expected = "+a0 +b0 +c0 -b0 -c0 -a0 +a1 +b1 +c1 -c1 -b1 -a1";
        assert_eq!(events, expected, "{kinds:?}");
    }
}

#[test]
fn rest_for_one_restarts_the_child_and_those_after_it() {
    for kinds in KINDS {
        let events = failure_of_b(Strategy::RestForOne, kinds, [0, 1, 1]);
        assert_eq!(events, "+a0 +b0 +c0 -b0 -c0 +b1 +c1 -c1 -b1 -a0", "{kinds:?}");
    }
}

#[test]
fn a_child_starts_when_those_before_it_are_ready() {
    for kind in Kind::ALL {
        let (book, _folder) = Book::new("ready");
        book.wish("slow a0");
        let supervisor = trine::supervisor()
            .child("a", book.child(kind).reports_ready())
            .child("b", book.child(kind).reports_ready())
            .start();
        until(|| book.line() == "+a0");
        assert_eq!(state(&supervisor, 0), ChildState::Starting);
        assert!(matches!(state(&supervisor, 1), ChildState::Waiting { .. }));
        std::fs::remove_file(book.0.join("slow a0")).unwrap();
        until_running(&supervisor, &[0, 0]);
        supervisor.stop().unwrap();
        assert_eq!(book.line(), "+a0 +b0 -b0 -a0");
    }
}

#[test]
fn a_done_child_is_not_started_again_for_another_and_a_temporary_one_neither() {
    let (book, _folder) = Book::new("done");
    let child = || book.child(Kind::Coroutine).reports_ready();
    let supervisor = trine::supervisor()
        .strategy(Strategy::OneForAll)
        .child("a", child().restart(Restart::Transient))
        .child("b", child())
        .child("c", child().restart(Restart::Temporary))
        .start();
    until_running(&supervisor, &[0, 0, 0]);
    book.wish("done a0");
    until(|| state(&supervisor, 0) == ChildState::Ended);
    book.wish("b0");
    until(|| supervisor.children()[1].restarts == 1);
    until(|| state(&supervisor, 1) == ChildState::Running);
    assert_eq!([0, 2].map(|at| state(&supervisor, at)), [ChildState::Ended; 2]);
    // A program may want it again.
    supervisor.restart("a").unwrap();
    until(|| state(&supervisor, 0) == ChildState::Running);
    supervisor.stop().unwrap();
    assert_eq!(book.line(), "+a0 +b0 +c0 -a0 -b0 -c0 +b1 +a1 -b1 -a1");
}

#[test]
fn the_end_of_a_temporary_child_ends_no_other() {
    let (book, _folder) = Book::new("temporary");
    let child = || book.child(Kind::Thread).reports_ready();
    let supervisor = trine::supervisor()
        .strategy(Strategy::OneForAll)
        .child("a", child())
        .child("b", child().restart(Restart::Temporary))
        .start();
    until_running(&supervisor, &[0, 0]);
    book.wish("b0");
    until(|| state(&supervisor, 1) == ChildState::Ended);
    assert!(supervisor.children()[1].last_failure.is_some());
    supervisor.stop().unwrap();
    assert_eq!(book.line(), "+a0 +b0 -b0 -a0");
}

#[test]
fn a_supervisor_of_supervisors_restarts_one_that_gives_up() {
    let (book, _folder) = Book::new("nested");
    let inner = trine::supervisor()
        .intensity(0, Duration::MAX)
        .child("b", book.child(Kind::Process).reports_ready())
        .child("c", book.child(Kind::Coroutine).reports_ready());
    let supervisor = trine::supervisor()
        .child("a", book.child(Kind::Thread).reports_ready())
        .child("inner", Child::supervisor(inner))
        .child("d", book.child(Kind::Coroutine).reports_ready())
        .start();
    until_running(&supervisor, &[0, 0, 0]);
    // The restarts of the inner children count from 0 again in each run of the inner supervisor.
    book.wish("c0");
    until(|| supervisor.children()[1].restarts >= 1);
    let text = supervisor.children()[1].last_failure.clone().unwrap().to_string();
    assert!(text.contains("more than 0 times") && text.contains("`c`: returned"), "{text}");
    until(|| state(&supervisor, 1) == ChildState::Running);
    supervisor.stop().unwrap();
    let events = book.line();
    assert!(events.starts_with("+a0 +b0 +c0 +d0 -c0 -b0"), "{events}");
    assert!(events.ends_with("+b0 +c0 -d0 -c0 -b0 -a0"), "{events}");
}

#[test]
fn a_supervisor_without_children_ends_at_once() {
    trine::supervisor().run().unwrap();
    let sleeper = Child::coroutine(|_| time::sleep(Duration::ZERO)).restart(Restart::Transient);
    trine::supervisor().child("sleeper", sleeper).run().unwrap();
}
