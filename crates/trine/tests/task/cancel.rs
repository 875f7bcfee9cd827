//! Cancellation, deadlines and shields, for coroutines and threads alike.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::waiting::until_waiting;
use trine::{Cause, State, Task, TaskError, coroutine, thread, time};

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

/// Spawns `f` as a coroutine and as a thread.
fn both<T: Send + 'static>(f: impl FnOnce() -> T + Clone + Send + 'static) -> [Task<T>; 2] {
    [coroutine::spawn(f.clone()), thread::spawn(f)]
}

fn reason(error: &TaskError) -> Option<&str> {
    match error.cause() {
        Cause::Cancelled { reason, .. } => reason.as_deref(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_wait_that_cannot_fail_unwinds_the_task_and_runs_its_destructors() {
    let dropped = Arc::new(AtomicUsize::new(0));
    for task in both({
        let dropped = Arc::clone(&dropped);
        move || {
            let _counted = Counted(dropped);
            time::sleep(Duration::MAX);
        }
    }) {
        until_waiting(&task);
        task.cancel_because("the user pressed Ctrl-C");
        let error = task.join().unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic() && !error.is_crash(), "{error}");
        assert_eq!(reason(&error), Some("the user pressed Ctrl-C"));
        assert!(error.to_string().ends_with("was cancelled: the user pressed Ctrl-C"), "{error}");
        assert!(error.task().is_some());
    }
    assert_eq!(dropped.load(Acquire), 2);
}

#[test]
fn a_wait_that_returns_a_result_returns_an_error_that_names_the_caller() {
    let endless = coroutine::spawn(|| time::sleep(Duration::MAX));
    let canceller = endless.canceller();
    let (out, inner) = mpsc::channel();
    let outer = thread::spawn(move || {
        out.send(trine::task::current().unwrap().id).unwrap();
        endless.join()
    });
    let id = inner.recv().unwrap();
    until_waiting(&outer);
    outer.cancel();
    let error = outer.join().unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.task().unwrap().id, id, "the joiner was cancelled, not the joined");
    canceller.cancel();
}

#[test]
fn a_cancelled_task_that_had_not_begun_ends_at_once_and_never_runs() {
    let pool = thread::Pool::new(1);
    let (go, gate) = mpsc::channel::<()>();
    let busy = pool.spawn(move || gate.recv().unwrap());
    while busy.state() == State::New {
        std::thread::yield_now();
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Counted(Arc::clone(&dropped));
    let queued = pool.spawn(move || -> () { panic!("it ran, {}", counted.0.load(Relaxed)) });
    queued.cancel();
    // The only thread of the pool is still running the other task.
    assert!(queued.join().unwrap_err().is_cancelled());
    assert_eq!(dropped.load(Acquire), 1);
    go.send(()).unwrap();
    busy.join().unwrap();
    assert_eq!(pool.spawn(|| 3).join().unwrap(), 3);
}

#[test]
fn swallowing_a_cancellation_does_not_end_it() {
    for task in both(|| {
        let mut interrupted = 0;
        for _ in 0..3 {
            let wait = || time::sleep(Duration::MAX);
            interrupted += usize::from(panic::catch_unwind(AssertUnwindSafe(wait)).is_err());
        }
        assert!(trine::cancelled());
        assert!(trine::checkpoint().unwrap_err().is_cancelled());
        interrupted
    }) {
        until_waiting(&task);
        task.cancel();
        assert_eq!(task.join().unwrap(), 3);
    }
}

#[test]
fn code_that_computes_asks_by_itself() {
    for task in both(|| {
        while !trine::cancelled() {
            std::hint::spin_loop();
        }
        trine::checkpoint().unwrap_err().reason().map(str::to_owned)
    }) {
        task.cancel_because("enough");
        task.cancel_because("too late to be the reason");
        match task.join() {
            Ok(reason) => assert_eq!(reason.as_deref(), Some("enough")),
            // Cancelled before it began.
            Err(error) => assert_eq!(reason(&error), Some("enough")),
        }
    }
}

#[test]
fn what_has_ended_stays_as_it_is() {
    for task in both(|| 7) {
        while !task.is_finished() {
            std::thread::yield_now();
        }
        task.cancel();
        assert_eq!(task.join().unwrap(), 7);
    }
}

#[test]
fn a_wait_in_a_destructor_goes_on_when_its_task_is_cancelled() {
    struct Waits(Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            // A wait that cannot fail never unwinds a second time. A wait with a result returns an
            // error.
            time::sleep(Duration::from_millis(1));
            let endless = coroutine::spawn(|| time::sleep(Duration::MAX));
            let canceller = endless.canceller();
            assert!(endless.join().unwrap_err().is_cancelled());
            canceller.cancel();
            self.0.fetch_add(1, Release);
        }
    }
    let waited = Arc::new(AtomicUsize::new(0));
    for task in both({
        let waited = Arc::clone(&waited);
        move || {
            let _waits = Waits(waited);
            time::sleep(Duration::MAX);
        }
    }) {
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    assert_eq!(waited.load(Acquire), 2);
}

#[test]
fn one_that_waits_while_it_unwinds_does_not_keep_its_neighbours_from_being_cancelled() {
    // Many, so that some share a carrier on any machine.
    struct WaitsFor(Arc<AtomicUsize>, usize);
    impl Drop for WaitsFor {
        fn drop(&mut self) {
            self.0.fetch_add(1, Release);
            while self.0.load(Acquire) < self.1 {
                time::sleep(Duration::from_millis(1));
            }
        }
    }
    const MANY: usize = 64;
    let unwinding = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..MANY)
        .map(|_| {
            let waits = WaitsFor(Arc::clone(&unwinding), MANY);
            coroutine::spawn(move || {
                let _waits = waits;
                time::sleep(Duration::MAX);
            })
        })
        .collect();
    tasks.iter().for_each(until_waiting);
    // No task ends before all of them unwind at once.
    for task in &tasks {
        task.cancel();
    }
    for task in tasks {
        assert!(task.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn a_shield_holds_a_cancellation_off_until_it_ends() {
    for task in both(|| {
        let inside = trine::shield(Duration::MAX, || {
            let me = trine::task::current().unwrap().id;
            let canceller = thread::spawn(move || {
                while !trine::task::list().iter().any(|t| t.id == me && t.state == State::Waiting) {
                    std::thread::yield_now();
                }
            });
            canceller.join().unwrap();
            // Waits of both sorts go on.
            time::sleep(Duration::from_millis(3));
            assert_eq!(coroutine::spawn(|| 5).join().unwrap(), 5);
            assert!(!trine::cancelled());
            "done"
        });
        let outside = panic::catch_unwind(|| time::sleep(Duration::MAX)).is_err();
        (inside, outside)
    }) {
        until_waiting(&task);
        task.cancel();
        assert_eq!(task.join().unwrap(), ("done", true));
    }
}

#[test]
fn a_shield_ends_at_its_bound() {
    for task in both(|| {
        let begin = Instant::now();
        let bound = Duration::from_millis(5);
        let held = panic::catch_unwind(|| trine::shield(bound, || time::sleep(Duration::MAX)));
        (held.is_err(), begin.elapsed() >= bound)
    }) {
        until_waiting(&task);
        task.cancel();
        assert_eq!(task.join().unwrap(), (true, true));
    }
}

#[test]
fn a_shield_holds_outer_deadlines_off_and_lets_inner_ones_through() {
    let work = || {
        let outer = time::timeout(Duration::from_millis(1), || {
            let (slept, inner) = trine::shield(Duration::from_secs(3600), || {
                time::sleep(Duration::from_millis(3));
                (true, time::timeout(Duration::from_millis(1), || time::sleep(Duration::MAX)))
            });
            assert!(slept && inner.is_err());
            time::sleep(Duration::MAX);
        });
        outer.is_err()
    };
    assert!(work());
    for task in both(work) {
        assert!(task.join().unwrap());
    }
}

#[test]
fn the_earliest_deadline_counts_and_ends_its_own_function_only() {
    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
    let work = || {
        // The inner deadline is earlier.
        let outer = time::timeout(Duration::from_secs(3600), || {
            let inner = time::timeout(ms(1), || time::sleep(Duration::MAX));
            assert_eq!(inner.unwrap_err().after(), ms(1));
            // It is over.
            time::sleep(ms(2));
            assert!(!trine::cancelled());
            1
        });
        assert_eq!(outer, Ok(1));
        // The outer deadline is earlier: the inner function does not return.
        let outer = time::timeout(ms(1), || {
            let _inner = time::timeout(Duration::from_secs(3600), || time::sleep(Duration::MAX));
            unreachable!("the outer time is up");
        });
        outer.map(|never: ()| never).unwrap_err();
        // A function that returns in spite of the deadline has a value.
        let late = time::timeout(ms(1), || {
            let error = thread::spawn(|| time::sleep(ms(50))).join().unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert!(trine::cancelled() && trine::checkpoint().unwrap_err().is_timeout());
            2
        });
        assert_eq!(late, Ok(2));
        assert!(!trine::cancelled());
        // Absurd durations set no deadline.
        assert_eq!(time::timeout(Duration::MAX, || 3), Ok(3));
        assert_eq!(time::timeout(Duration::ZERO, || 4), Ok(4));
        assert!(time::timeout(Duration::ZERO, || time::sleep(Duration::MAX)).is_err());
        // A panic belongs to the function.
        let panicked = panic::catch_unwind(|| {
            time::timeout(ms(1), || panic::resume_unwind(Box::new("its own")))
        });
        assert_eq!(*panicked.map(drop).unwrap_err().downcast::<&str>().unwrap(), "its own");
    };
    work();
    for task in both(work) {
        task.join().unwrap();
    }
}

#[test]
fn a_cancellation_passes_through_a_timeout() {
    for task in both(|| time::timeout(Duration::from_secs(3600), || time::sleep(Duration::MAX))) {
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn a_future_that_is_waited_for_is_dropped() {
    let dropped = Arc::new(AtomicUsize::new(0));
    for task in both({
        let dropped = Arc::clone(&dropped);
        move || {
            let counted = Counted(dropped);
            trine::future::block_on(async move {
                let _counted = counted;
                std::future::pending::<()>().await;
            });
        }
    }) {
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    assert_eq!(dropped.load(Acquire), 2);
}

#[test]
fn whoever_comes_first_every_task_ends_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    const ROUNDS: usize = 2000;
    let (mut values, mut cancelled) = (0, 0);
    for round in 0..ROUNDS {
        for task in both({
            let dropped = Arc::clone(&dropped);
            move || {
                let _counted = Counted(dropped);
                match round % 3 {
                    0 => {}
                    1 => coroutine::yield_now(),
                    _ => time::sleep(Duration::from_micros(20)),
                }
            }
        }) {
            let canceller = task.canceller();
            let other = (round % 2 == 0).then(|| coroutine::spawn(move || canceller.cancel()));
            if other.is_none() {
                task.cancel();
            }
            match task.join() {
                Ok(()) => values += 1,
                Err(error) if error.is_cancelled() => cancelled += 1,
                Err(error) => panic!("{error}"),
            }
            if let Some(other) = other {
                other.join().unwrap();
            }
        }
    }
    assert_eq!(values + cancelled, 2 * ROUNDS);
    // Each has dropped its captures, whether it ran or not. The closures of the first calls were
    // cloned from.
    assert_eq!(Arc::strong_count(&dropped), 1);
}

#[test]
fn an_interruption_is_an_io_error_that_retry_loops_do_not_swallow() {
    let task = coroutine::spawn(|| {
        let _ = panic::catch_unwind(|| time::sleep(Duration::MAX));
        trine::checkpoint().map_err(std::io::Error::from).unwrap_err()
    });
    until_waiting(&task);
    task.cancel_because("done with it");
    let error = task.join().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::Other);
    assert_eq!(error.to_string(), "cancelled: done with it");
    let timed_out = time::timeout(Duration::ZERO, || trine::checkpoint().unwrap_err()).unwrap();
    assert_eq!(std::io::Error::from(timed_out).kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn who_drops_a_function_in_its_task_s_name_has_its_own_deadline_and_scope_again() {
    struct Waits;

    impl Drop for Waits {
        fn drop(&mut self) {
            let entered = trine::scope(|s| {
                let waited = time::timeout(Duration::MAX / 4, coroutine::yield_now);
                assert!(s.coroutine(|| ()).join().is_ok());
                waited
            });
            assert_eq!(entered.unwrap(), Ok(()));
        }
    }

    fn cancel_what_has_not_begun() {
        let waits = Waits;
        let task = coroutine::spawn_local(move || drop(waits));
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }

    let task = coroutine::spawn(|| {
        let timed_out = time::timeout(Duration::from_millis(1), || {
            cancel_what_has_not_begun();
            time::sleep(Duration::MAX);
        });
        assert!(timed_out.is_err());
        let failed: Result<(), _> = trine::scope(|s| {
            cancel_what_has_not_begun();
            s.coroutine(|| panic!("of the scope's task"));
            time::sleep(Duration::MAX);
        });
        assert!(failed.unwrap_err().is_panic());
    });
    task.join().unwrap();
}

#[test]
fn a_shutdown_is_a_wait_and_its_pool_finishes_without_it() {
    let threads = thread::Pool::new(1);
    let (go, gate) = mpsc::channel::<()>();
    let at_work = threads.spawn(move || gate.recv());
    let processes = trine::process::Pool::new(1);
    let endless = processes.spawn((), |()| time::sleep(Duration::MAX));
    for task in
        [coroutine::spawn(move || threads.shutdown()), thread::spawn(move || processes.shutdown())]
    {
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    go.send(()).unwrap();
    assert_eq!(at_work.join().unwrap(), Ok(()));
    endless.cancel();
    assert!(endless.join().unwrap_err().is_cancelled());
}
