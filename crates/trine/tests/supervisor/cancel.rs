//! A supervisor that is ended in the middle of something leaves nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use trine::supervisor::{Child, ChildState, Context, Strategy, SupervisorError};
use trine::{Kind, State, Task, coroutine, process, thread, time};

use crate::common::waiting::until;
use crate::parts::{Book, HOUR, state, until_running};

/// Runs `run` as a coroutine and on a thread.
fn on_both(
    run: impl Fn() -> Result<(), SupervisorError> + Clone + Send + 'static,
) -> [Task<Result<(), SupervisorError>>; 2] {
    [coroutine::spawn(run.clone()), thread::spawn(run)]
}

#[test]
fn a_supervisor_that_is_cancelled_in_a_start_ends_those_that_have_begun() {
    for kind in Kind::ALL {
        let (book, _folder) = Book::new("cancel-start");
        book.wish("slow b0");
        let child = book.clone();
        let tasks = on_both(move || {
            trine::supervisor()
                .child("a", child.child(kind).reports_ready())
                .child("b", child.child(kind).reports_ready())
                .child("c", child.child(kind).reports_ready())
                .run()
        });
        until(|| book.events().iter().filter(|event| *event == "+b0").count() == 2);
        for task in tasks {
            task.cancel();
            assert!(task.join().unwrap().unwrap_err().is_cancelled());
        }
        let events = book.events();
        let count = |what: &str| events.iter().filter(|event| *event == what).count();
        assert_eq!(["-b0", "-a0", "+c0"].map(count), [2, 2, 0], "{events:?}");
    }
}

#[test]
fn a_supervisor_that_is_cancelled_in_a_pause_starts_nothing_any_more() {
    let (book, _folder) = Book::new("cancel-pause");
    ["b0", "b1"].iter().for_each(|run| book.wish(run));
    let supervisor = trine::supervisor()
        .backoff(HOUR, HOUR)
        .child("a", book.child(Kind::Process).reports_ready())
        .child("b", book.child(Kind::Coroutine))
        .start();
    until(
        || matches!(state(&supervisor, 1), ChildState::Waiting { pause, .. } if !pause.is_zero()),
    );
    drop(supervisor);
    until(|| book.events().last().unwrap() == "-a0");
    assert_eq!(book.line(), "+a0 +b0 -b0 +b1 -b1 -a0");
}

/// A thread that ends only when it may.
fn deaf(book: &Book, may_end: &Arc<AtomicBool>) -> Child {
    let (book, may_end) = (book.clone(), Arc::clone(may_end));
    Child::thread(move |context: &Context| {
        book.note(&format!("+deaf{}", context.restarts()));
        context.ready();
        while !(may_end.load(Acquire) && trine::cancelled()) {
            std::thread::yield_now();
        }
        book.note(&format!("-deaf{}", context.restarts()));
    })
}

#[test]
fn a_supervisor_that_is_cancelled_in_a_restart_of_several_ends_the_rest() {
    let (book, _folder) = Book::new("cancel-restart");
    let may_end = Arc::new(AtomicBool::new(false));
    let supervisor = trine::supervisor()
        .strategy(Strategy::OneForAll)
        .child("a", book.child(Kind::Process).reports_ready())
        .child("deaf", deaf(&book, &may_end).reports_ready())
        .child("c", book.child(Kind::Coroutine).reports_ready())
        .start();
    until_running(&supervisor, &[0; 3]);
    book.wish("c0");
    until(|| matches!(state(&supervisor, 2), ChildState::Waiting { .. }));
    until(|| state(&supervisor, 1) == ChildState::Ending);
    let joiner = coroutine::spawn(move || supervisor.join());
    until(|| joiner.state() == State::Waiting);
    joiner.cancel();
    may_end.store(true, Release);
    assert!(joiner.join().unwrap().unwrap_err().is_cancelled());
    // The cancellation may have come after the restart had begun; nothing is left in any case.
    let events = book.line();
    assert!(events.starts_with("+a0 +deaf0 +c0 -c0 -deaf0 -a0"), "{events}");
    let count = |what: char| events.matches(what).count();
    assert_eq!(count('+'), count('-'), "{events}");
}

#[test]
fn a_stop_that_is_cancelled_still_waits_for_the_end() {
    let (book, _folder) = Book::new("cancel-stop");
    let may_end = Arc::new(AtomicBool::new(false));
    let supervisor = trine::supervisor()
        .child("a", book.child(Kind::Process).reports_ready())
        .child("deaf", deaf(&book, &may_end).reports_ready())
        .start();
    until_running(&supervisor, &[0; 2]);
    let stopper = thread::spawn(move || supervisor.stop());
    until(|| stopper.state() == State::Waiting);
    stopper.cancel();
    may_end.store(true, Release);
    // The end that was waited for may have come as soon as the cancellation.
    if let Err(error) = stopper.join().unwrap() {
        assert!(error.is_cancelled(), "{error}");
    }
    assert_eq!(book.line(), "+a0 +deaf0 -deaf0 -a0");
}

#[test]
fn a_time_limit_ends_the_children_in_reverse_order() {
    for kind in Kind::ALL {
        let (book, _folder) = Book::new("timeout");
        let supervisor = trine::supervisor()
            .child("a", book.child(kind).reports_ready())
            .child("b", book.child(kind).reports_ready());
        let ended = time::timeout(Duration::from_millis(300), || supervisor.run());
        assert!(ended.unwrap().unwrap_err().is_timeout());
        // A busy machine may have had no time for the start.
        let whole = ["", "+a0 -a0", "+a0 +b0 -b0 -a0"];
        assert!(whole.contains(&&*book.line()), "{}", book.line());
    }
}

#[test]
fn a_supervisor_ends_children_from_within_an_ended_task() {
    let (book, _folder) = Book::new("cancelled-before");
    let child = book.clone();
    let task = coroutine::spawn(move || {
        while !trine::cancelled() {
            coroutine::yield_now();
        }
        trine::supervisor().child("a", child.child(Kind::Process)).run()
    });
    until(|| task.state() != State::New);
    task.cancel();
    assert!(task.join().unwrap().unwrap_err().is_cancelled());
    assert_eq!(book.line(), "");
}

#[test]
fn a_handle_that_is_dropped_by_a_panic_ends_the_children() {
    let (book, _folder) = Book::new("dropped");
    let child = book.clone();
    let owner = thread::spawn(move || {
        let supervisor = trine::supervisor()
            .child("a", child.child(Kind::Process).reports_ready())
            .child("b", child.child(Kind::Thread).reports_ready())
            .start();
        until_running(&supervisor, &[0; 2]);
        panic!("with a supervisor in hand");
    });
    assert!(owner.join().unwrap_err().is_panic());
    until(|| book.line() == "+a0 +b0 -b0 -a0");
}

/// Supervises children of all kinds in a process task.
fn supervise(book: Book) -> Result<(), String> {
    trine::supervisor()
        .strategy(Strategy::RestForOne)
        .child("a", book.child(Kind::Process).reports_ready())
        .child("b", book.child(Kind::Coroutine).reports_ready())
        .child("c", book.child(Kind::Thread).reports_ready())
        .run()
        .map_err(|error| error.to_string())
}

#[test]
fn a_supervisor_in_a_process_task_restarts_its_children_and_is_cancelled() {
    let (book, _folder) = Book::new("in-a-process");
    let task = process::Builder::new().grace(HOUR).spawn(book.clone(), supervise);
    until(|| book.line() == "+a0 +b0 +c0");
    book.wish("a0");
    until(|| book.line().ends_with("+a1 +b1 +c1"));
    task.cancel();
    match task.join() {
        Ok(ended) => assert!(ended.unwrap_err().contains("cancel")),
        Err(error) => assert!(error.is_cancelled(), "{error}"),
    }
    assert_eq!(book.line(), "+a0 +b0 +c0 -a0 -c0 -b0 +a1 +b1 +c1 -c1 -b1 -a1");
}
