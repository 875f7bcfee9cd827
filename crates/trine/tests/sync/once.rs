//! `Once`, `OnceLock` and `LazyLock`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use trine::coroutine::spawn_local;
use trine::sync::{Event, LazyLock, Once, OnceLock};
use trine::{Cause, State, coroutine, time};

use super::{KINDS, SHORT, kind_of, spawn, until, until_it_waits};

#[test]
fn many_make_a_value_once_and_all_see_it() {
    for round in 0..200 {
        let cell: Arc<OnceLock<Vec<usize>>> = Arc::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let (cell, runs) = (Arc::clone(&cell), Arc::clone(&runs));
                spawn(kind_of(n), move || {
                    let value = cell.get_or_init(|| {
                        runs.fetch_add(1, SeqCst);
                        coroutine::yield_now();
                        vec![round; 100]
                    });
                    assert_eq!(*value, [round; 100]);
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(runs.load(SeqCst), 1);
    }
}

/// An initialiser that has begun, waits for `go`, and then makes a value.
#[derive(Default)]
struct Slow {
    cell: OnceLock<u32>,
    has_begun: Event,
    go: Event,
}

impl Slow {
    fn get(&self) -> u32 {
        *self.cell.get_or_init(|| {
            self.has_begun.set();
            self.go.wait();
            7
        })
    }
}

#[test]
fn coroutines_of_one_thread_wait_for_an_initialiser_that_waits() {
    // All are on this thread. A wait that stopped it would never end.
    let slow = std::rc::Rc::new(Slow::default());
    let tasks = [0; 3].map(|_| {
        let slow = std::rc::Rc::clone(&slow);
        spawn_local(move || slow.get())
    });
    let waits = {
        let slow = std::rc::Rc::clone(&slow);
        spawn_local(move || *slow.cell.wait())
    };
    until(|| tasks.iter().chain([&waits]).all(|task| task.state() == State::Waiting));
    assert_eq!(slow.cell.get(), None);
    slow.go.set();
    assert_eq!(waits.join().unwrap(), 7);
    tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 7));
}

#[test]
fn threads_and_coroutines_wait_for_each_other_s_initialisers() {
    for initialiser in KINDS {
        let slow = Arc::new(Slow::default());
        let get = |kind| {
            let slow = Arc::clone(&slow);
            spawn(kind, move || slow.get())
        };
        let first = get(initialiser);
        slow.has_begun.wait();
        let others: Vec<_> = KINDS.into_iter().map(get).collect();
        others.iter().for_each(until_it_waits);
        slow.go.set();
        others.into_iter().chain([first]).for_each(|task| assert_eq!(task.join().unwrap(), 7));
    }
}

#[test]
fn a_cancelled_initialiser_leaves_the_value_to_the_next_task() {
    for kind in KINDS {
        let slow = Arc::new(Slow::default());
        let get = || {
            let slow = Arc::clone(&slow);
            spawn(kind, move || slow.get())
        };
        let first = get();
        slow.has_begun.wait();
        slow.has_begun.reset();
        let second = get();
        until_it_waits(&second);
        first.cancel();
        assert!(first.join().unwrap_err().is_cancelled());
        // The task that waited initialises now.
        slow.has_begun.wait();
        slow.go.set();
        assert_eq!(second.join().unwrap(), 7);
    }
}

#[test]
fn a_cancelled_wait_leaves_the_initialiser_alone() {
    let slow = Arc::new(Slow::default());
    let get = || {
        let slow = Arc::clone(&slow);
        coroutine::spawn(move || slow.get())
    };
    let first = get();
    slow.has_begun.wait();
    let second = get();
    until_it_waits(&second);
    second.cancel();
    assert!(second.join().unwrap_err().is_cancelled());
    time::timeout(SHORT, || slow.get()).unwrap_err();
    slow.go.set();
    assert_eq!(first.join().unwrap(), 7);
}

#[test]
fn a_lazy_value_is_made_after_a_panic_and_after_a_cancellation() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static LAZY: LazyLock<usize> = LazyLock::new(|| match RUNS.fetch_add(1, SeqCst) {
        0 => panic!("no server"),
        1 => {
            Event::new().wait();
            unreachable!()
        }
        run => run,
    });
    let first = spawn(KINDS[0], || *LAZY).join().unwrap_err();
    assert!(first.is_panic(), "{first}");
    let second = spawn(KINDS[1], || *LAZY);
    until(|| RUNS.load(SeqCst) == 2);
    until_it_waits(&second);
    second.cancel();
    assert!(second.join().unwrap_err().is_cancelled());
    assert_eq!((LazyLock::get(&LAZY), *LAZY, LazyLock::get(&LAZY)), (None, 2, Some(&2)));
}

#[test]
fn an_initialiser_that_needs_its_own_value_panics() {
    static LOOP: LazyLock<u32> = LazyLock::new(|| *LOOP + 1);
    for kind in KINDS {
        let error = spawn(kind, || *LOOP).join().unwrap_err();
        let Cause::Panicked { message, location, .. } = error.cause() else { panic!("{error}") };
        assert!(message.contains("needs the very value that it makes"), "{message}");
        assert!(location.as_ref().unwrap().file.ends_with("once.rs"));
    }
    let cell = OnceLock::new();
    let recursive: [&dyn Fn() -> u32; 3] =
        [&|| cell.set(1).map_or(1, |()| 2), &|| *cell.wait(), &|| *cell.get_or_init(|| 1)];
    for needs_itself in recursive {
        catch_unwind(AssertUnwindSafe(|| *cell.get_or_init(needs_itself))).unwrap_err();
        // With a deadline, the wait is one like any other.
        time::timeout(SHORT, || *cell.get_or_init(needs_itself)).unwrap_err();
    }
    assert_eq!(*cell.get_or_init(|| 3), 3);
}

#[test]
fn once_calls_one_function_and_the_others_wait() {
    static ONCE: Once = Once::new();
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let waits = spawn(KINDS[0], || {
        ONCE.wait();
        RUNS.load(SeqCst)
    });
    until_it_waits(&waits);
    catch_unwind(|| ONCE.call_once(|| panic!("not yet"))).unwrap_err();
    assert!(!ONCE.is_completed() && !waits.is_finished());
    for _ in 0..3 {
        ONCE.call_once(|| _ = RUNS.fetch_add(1, SeqCst));
    }
    assert_eq!((waits.join().unwrap(), RUNS.load(SeqCst)), (1, 1));
}

#[test]
fn values_are_set_taken_shown_compared_and_dropped_once() {
    let value = Arc::new(());
    let count = || Arc::strong_count(&value) - 1;
    let mut cell = OnceLock::new();
    assert_eq!(format!("{cell:?}"), "OnceLock(<uninit>)");
    cell.set(Arc::clone(&value)).unwrap();
    drop(cell.set(Arc::clone(&value)).unwrap_err());
    assert_eq!((count(), cell.get_mut().is_some()), (1, true));
    drop(cell.take());
    assert_eq!((count(), cell.take()), (0, None));
    assert_eq!(OnceLock::from(Arc::clone(&value)).into_inner(), Some(Arc::clone(&value)));
    let twin = OnceLock::from(Arc::clone(&value));
    assert_eq!((twin.clone(), count()), (twin, 2));
    assert_eq!(count(), 0);
    assert_ne!(OnceLock::from(1), OnceLock::new());
    let lazy = LazyLock::<u8>::default();
    assert_eq!((format!("{lazy:?}").as_str(), *lazy), ("LazyLock(<uninit>)", 0));
    assert_eq!(format!("{lazy:?}"), "LazyLock(0)");
}
