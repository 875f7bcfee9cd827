//! Children that hang, that ignore their end, and that harm their supervisor in passing.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use trine::supervisor::{Child, ChildState, Context, Failure, Restart};
use trine::{Kind, process, time};

use crate::common::processes::spin_for_ever;
use crate::common::waiting::until;
use crate::parts::{Book, HOUR, state, until_running};

const SHORT: Duration = Duration::from_millis(20);

/// Hangs in the first run, and returns in the second.
fn hang_once(context: &Context) {
    if context.restarts() == 0 {
        time::sleep(Duration::MAX);
    }
}

/// Runs a child that must have been silent once.
fn is_restarted(child: Child) {
    let child = child.health(SHORT).restart(Restart::Transient);
    let supervisor = trine::supervisor().intensity(usize::MAX, HOUR).child("hangs", child).start();
    // A process that is slow to begin its second run may be silent there again.
    until(|| state(&supervisor, 0) == ChildState::Ended);
    let child = supervisor.children()[0].clone();
    assert!(child.restarts >= 1);
    assert!(matches!(child.last_failure, Some(Failure::Silent(SHORT))), "{child:?}");
    supervisor.join().unwrap();
}

#[test]
fn a_silent_child_is_ended_and_restarted() {
    is_restarted(Child::coroutine(hang_once));
    is_restarted(Child::thread(hang_once));
    is_restarted(Child::process((), |context, ()| hang_once(context)));
}

#[test]
fn a_silent_process_that_ignores_its_end_is_killed() {
    let builder = process::Builder::new().grace(Duration::ZERO);
    is_restarted(Child::process_with(builder, (), |context, ()| {
        if context.restarts() == 0 {
            spin_for_ever();
        }
    }));
}

#[test]
fn a_child_that_is_silent_before_it_is_ready_holds_up_the_others_no_longer() {
    let (book, _folder) = Book::new("silent-start");
    book.wish("slow a0");
    let supervisor = trine::supervisor()
        .intensity(usize::MAX, HOUR)
        .child("a", book.child(Kind::Coroutine).reports_ready().health(SHORT))
        .child("b", book.child(Kind::Thread).restart(Restart::Transient))
        .start();
    book.wish("done b0");
    until(|| state(&supervisor, 1) == ChildState::Ended);
    assert!(supervisor.children()[0].restarts >= 1);
    supervisor.stop().unwrap();
}

#[test]
fn a_thread_that_ignores_its_end_is_waited_for_and_others_are_restarted_meanwhile() {
    let (book, _folder) = Book::new("deaf");
    let (deaf, hears) = (book.clone(), Arc::new(AtomicBool::new(false)));
    let hears_now = Arc::clone(&hears);
    let deaf = Child::thread(move |context| {
        deaf.note(&format!("+deaf{}", context.restarts()));
        context.ready();
        while !(hears.load(Acquire) && trine::cancelled()) {
            std::thread::yield_now();
        }
        deaf.note(&format!("-deaf{}", context.restarts()));
    });
    let supervisor = trine::supervisor()
        .child("a", book.child(Kind::Coroutine).reports_ready())
        .child("deaf", deaf.reports_ready())
        .start();
    until_running(&supervisor, &[0, 0]);
    supervisor.restart("deaf").unwrap();
    until(|| state(&supervisor, 1) == ChildState::Ending);
    book.wish("a0");
    until(|| supervisor.children()[0].restarts == 1);
    until(|| state(&supervisor, 0) == ChildState::Running);
    assert_eq!(state(&supervisor, 1), ChildState::Ending);
    hears_now.store(true, Release);
    until_running(&supervisor, &[1, 1]);
    supervisor.stop().unwrap();
    assert_eq!(book.line(), "+a0 +deaf0 -a0 +a1 -deaf0 +deaf1 -deaf1 -a1");
}

/// A payload of a panic that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload panics, too");
    }
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_does_no_harm() {
    let child = Child::coroutine(|context| {
        if context.restarts() == 0 {
            panic_any(Bomb);
        }
    });
    let child = child.restart(Restart::Transient);
    let supervisor = trine::supervisor().child("bomb", child).start();
    until(|| state(&supervisor, 0) == ChildState::Ended);
    let child = supervisor.children()[0].clone();
    assert_eq!(child.restarts, 1);
    assert!(matches!(child.last_failure, Some(Failure::Ended(error)) if error.is_panic()));
    supervisor.join().unwrap();
}

/// An argument that cannot be encoded.
#[derive(Deserialize)]
struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("never sent");
    }
}

#[test]
fn a_child_that_cannot_be_started_has_failed() {
    let (book, _folder) = Book::new("unsendable");
    let error = trine::supervisor()
        .intensity(1, HOUR)
        .child("a", book.child(Kind::Process).reports_ready())
        .child("unsendable", Child::process(Unsendable, |_, _: Unsendable| ()))
        .run()
        .unwrap_err();
    assert_eq!(error.failures().len(), 2);
    assert!(error.to_string().contains("never sent"), "{error}");
    assert_eq!(book.line(), "+a0 -a0");
}
