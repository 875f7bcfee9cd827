//! Limits of restarts, their pauses, and the children that are restarted at all.

use std::time::{Duration, Instant};

use trine::supervisor::{Child, ChildState, Failure, Restart};
use trine::{Cause, Kind};

use crate::common::processes::{die, kill};
use crate::common::waiting::until;
use crate::parts::{Book, HOUR, state, until_running};

#[test]
fn too_many_restarts_end_all_children_in_reverse_order() {
    for kind in Kind::ALL {
        let (book, _folder) = Book::new("intensity");
        ["c0", "c1", "c2"].iter().for_each(|run| book.wish(run));
        let supervisor = trine::supervisor()
            .intensity(2, HOUR)
            .child("a", book.child(kind).reports_ready())
            .child("b", book.child(kind).reports_ready())
            .child("c", book.child(kind));
        let error = supervisor.run().unwrap_err();
        assert!(error.gave_up() && !error.is_cancelled() && !error.is_timeout());
        assert_eq!(book.line(), "+a0 +b0 +c0 -c0 +c1 -c1 +c2 -c2 -b0 -a0");
        let failures: Vec<_> =
            error.failures().iter().map(|(name, failure)| format!("{name} {failure}")).collect();
        let expected = [0, 1, 2].map(|run| format!("c returned an error: c{run} was to fail"));
        assert_eq!(failures, expected);
    }
}

#[test]
fn a_transient_child_is_done_when_it_returns() {
    let once = |kind| {
        let (book, _folder) = Book::new("transient");
        book.wish("a0");
        book.wish("done a1");
        let child = book.child(kind).restart(Restart::Transient);
        trine::supervisor().child("a", child).run().unwrap();
        book.line()
    };
    for kind in Kind::ALL {
        assert_eq!(once(kind), "+a0 -a0 +a1 -a1", "{kind}");
    }
}

#[test]
fn a_permanent_child_that_returns_has_failed() {
    let supervisor =
        trine::supervisor().intensity(1, HOUR).child("returns", Child::coroutine(|_| ()));
    let error = supervisor.run().unwrap_err();
    assert!(matches!(error.failures(), [(_, Failure::Finished), (_, Failure::Finished)]));
}

#[test]
fn a_panic_and_a_crash_are_failures_with_their_cause() {
    let supervisor = trine::supervisor().intensity(0, HOUR);
    let error = supervisor.child("panics", Child::thread(|_| panic!("no luck"))).run();
    let error = error.unwrap_err();
    assert!(error.to_string().contains("no luck"), "{error}");

    let supervisor = trine::supervisor().intensity(0, HOUR);
    let error = supervisor.child("dies", Child::process((), |_, ()| die())).run().unwrap_err();
    let (_, Failure::Ended(death)) = &error.failures()[0] else { panic!("{error}") };
    assert!(matches!(death.cause(), Cause::Signaled { signal: libc::SIGKILL, .. }));
}

#[test]
fn a_killed_process_is_reaped_before_the_next_one_begins() {
    let (book, _folder) = Book::new("killed");
    let child = Child::process(book.clone(), |context, book: Book| {
        if let Some(last) = book.events().last() {
            assert!(!std::fs::exists(format!("/proc/{last}")).unwrap(), "{last} still exists");
        }
        book.note(&std::process::id().to_string());
        context.ready();
        trine::time::sleep(Duration::MAX);
    });
    let supervisor = trine::supervisor()
        .intensity(usize::MAX, HOUR)
        .child("killed", child.reports_ready())
        .start();
    for restarts in 0..5 {
        until_running(&supervisor, &[restarts]);
        // The process may have begun before the program notes that it has the task.
        until(|| supervisor.children()[0].pid.is_some());
        let pid = supervisor.children()[0].pid.unwrap();
        assert_eq!(book.events().last().unwrap(), &pid.to_string());
        kill(pid, libc::SIGKILL);
    }
    until_running(&supervisor, &[5]);
    let Some(Failure::Ended(error)) = supervisor.children()[0].last_failure.clone() else {
        panic!("no failure");
    };
    assert!(error.is_crash(), "{error}");
    supervisor.stop().unwrap();
}

#[test]
fn the_first_failure_has_no_pause_and_the_second_in_a_row_has() {
    let (book, _folder) = Book::new("backoff");
    book.wish("a0");
    book.wish("a1");
    let supervisor = trine::supervisor()
        .backoff(HOUR, 4 * HOUR)
        .child("a", book.child(Kind::Coroutine).reports_ready())
        .start();
    let pause = || match state(&supervisor, 0) {
        ChildState::Waiting { pause, .. } => pause,
        _ => Duration::ZERO,
    };
    until(|| !pause().is_zero());
    assert_eq!(book.line(), "+a0 -a0 +a1 -a1");
    assert!((HOUR / 2..=HOUR).contains(&pause()), "{:?}", pause());
    let child = &supervisor.children()[0];
    assert_eq!((child.restarts, child.running_since), (2, None));
    let before = Instant::now();
    // The program need not wait for it.
    supervisor.restart("a").unwrap();
    until_running(&supervisor, &[2]);
    let since = supervisor.children()[0].running_since.unwrap();
    assert!((before..=Instant::now()).contains(&since));
    book.wish("a2");
    until(|| !pause().is_zero());
    assert!((HOUR..=2 * HOUR).contains(&pause()), "{:?}", pause());
    supervisor.stop().unwrap();
    assert_eq!(book.line(), "+a0 -a0 +a1 -a1 +a2 -a2");
}

#[test]
fn a_program_restarts_a_child_without_a_failure() {
    for kind in Kind::ALL {
        let (book, _folder) = Book::new("restart");
        let supervisor = trine::supervisor()
            .intensity(0, HOUR)
            .child("a", book.child(kind).reports_ready())
            .child("b", book.child(kind).reports_ready())
            .start();
        until_running(&supervisor, &[0, 0]);
        supervisor.restart("a").unwrap();
        until_running(&supervisor, &[1, 0]);
        assert!(supervisor.children()[0].last_failure.is_none());
        let error = supervisor.restart("c").unwrap_err();
        assert_eq!(error.to_string(), "the supervisor has no child `c`");
        supervisor.stop().unwrap();
        assert_eq!(book.line(), "+a0 +b0 -a0 +a1 -b0 -a1");
    }
}

#[test]
#[should_panic(expected = "two children named `twin`")]
fn two_children_of_one_name_are_refused() {
    let child = || Child::coroutine(|_| ());
    let _ = trine::supervisor().child("twin", child()).child("twin", child());
}
