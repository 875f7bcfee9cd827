//! Generators: values in both directions, waits inside, panics, early drops, stacks.

use std::cell::{Cell, RefCell};
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::processes::overflow_the_stack;
use crate::common::{again, alone, role};
use trine::coroutine::{self, Generator, Step, Yielder};
use trine::{Cause, scope, thread, time};

/// Counts its drops.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn upto(end: u32) -> Generator<(), u32, &'static str> {
    Generator::new(move |yielder, ()| {
        for n in 0..end {
            yielder.yield_(n);
        }
        "end"
    })
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().unwrap(),
    }
}

#[test]
fn an_iterator_ends_once_and_stays_at_its_end() {
    let mut numbers = upto(3);
    assert_eq!((numbers.next(), numbers.next(), numbers.is_done()), (Some(0), Some(1), false));
    assert_eq!(numbers.send(()), Step::Yielded(2));
    assert_eq!(numbers.send(()), Step::Complete("end"));
    assert!(numbers.is_done());
    assert_eq!((numbers.next(), numbers.next()), (None, None));
    let again = panic::catch_unwind(AssertUnwindSafe(|| numbers.send(()))).unwrap_err();
    assert!(message(&*again).contains("a generator that has ended"));
}

#[test]
fn values_of_every_size_go_both_ways() {
    type Large = [u64; 100];
    let mut echo = Generator::new(|yielder: &Yielder<Option<Large>, Large>, first| {
        let mut next: Option<Large> = first;
        let mut count = 0_u8;
        while let Some(large) = next {
            count += 1;
            next = yielder.yield_(large.map(|n| n + 1));
        }
        (count, String::from("done"))
    });
    for n in 0..5 {
        assert_eq!(echo.send(Some([n; 100])), Step::Yielded([n + 1; 100]));
    }
    assert_eq!(echo.send(None), Step::Complete((5, String::from("done"))));
}

#[test]
fn dropped_half_way_it_runs_the_destructors_on_its_stack() {
    let order = Rc::new(RefCell::new(Vec::new()));
    struct Says(&'static str, Rc<RefCell<Vec<&'static str>>>);
    impl Drop for Says {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }
    let (captured, inner) = (Says("captured", Rc::clone(&order)), Rc::clone(&order));
    let mut generator = Generator::new(move |yielder, ()| {
        let _captured = &captured;
        let _first = Says("first", Rc::clone(&inner));
        let _second = Says("second", inner);
        yielder.yield_(1);
        unreachable!("dropped half-way");
    });
    assert_eq!(generator.next(), Some(1));
    assert!(order.borrow().is_empty());
    drop(generator);
    assert_eq!(*order.borrow(), ["second", "first", "captured"]);
    assert_eq!(Rc::strong_count(&order), 1);
}

#[test]
fn dropped_before_it_began_it_drops_what_its_function_owns() {
    let drops = Rc::new(Cell::new(0));
    let counted = Counted(Rc::clone(&drops));
    drop(Generator::new(move |yielder: &Yielder<(), ()>, ()| {
        yielder.yield_(());
        drop(counted);
    }));
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_destructor_that_panics_is_passed_on_and_the_rest_is_dropped() {
    struct Bad(Counted);
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("bad {}", self.0.0.get());
        }
    }
    let drops = Rc::new(Cell::new(0));
    for begin in [false, true] {
        let (bad, good) = (Bad(Counted(Rc::clone(&drops))), Counted(Rc::clone(&drops)));
        let mut generator = Generator::new(move |yielder: &Yielder<(), ()>, ()| {
            // An unwinding that was caught goes on as a panic of the function's own.
            let caught = panic::catch_unwind(AssertUnwindSafe(|| yielder.yield_(())));
            drop(good);
            drop(bad);
            caught.unwrap();
        });
        if begin {
            generator.next();
        }
        let before = drops.get();
        let error = panic::catch_unwind(AssertUnwindSafe(|| drop(generator))).unwrap_err();
        assert!(message(&*error).starts_with("bad"));
        assert_eq!(drops.get(), before + 2);
    }
}

#[test]
fn a_panic_goes_to_the_caller_and_ends_the_generator() {
    let drops = Rc::new(Cell::new(0));
    for round in 1..100 {
        let counted = Counted(Rc::clone(&drops));
        let mut generator = Generator::new(move |yielder, ()| {
            let _counted = counted;
            yielder.yield_(1);
            panic::panic_any(42_u8);
        });
        generator.next();
        let next = panic::catch_unwind(AssertUnwindSafe(|| generator.next()));
        assert_eq!(*next.unwrap_err().downcast::<u8>().unwrap(), 42);
        assert!(generator.is_done() && generator.next().is_none());
        assert_eq!(drops.get(), round);
        assert!(!std::thread::panicking());
    }
}

#[test]
fn it_may_be_dropped_during_a_panic() {
    let drops = Rc::new(Cell::new(0));
    let counted = Counted(Rc::clone(&drops));
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut generator = Generator::new(move |yielder, ()| {
            let _counted = counted;
            yielder.yield_(());
        });
        generator.next();
        panic!("around it");
    }));
    assert_eq!(message(&*caught.unwrap_err()), "around it");
    assert_eq!(drops.get(), 1);
    assert!(!std::thread::panicking());
}

#[test]
fn generators_nest_a_thousand_deep() {
    fn nested(depth: u32) -> Generator<(), u32, ()> {
        Generator::new(move |yielder, ()| {
            yielder.yield_(depth);
            if depth > 0 {
                nested(depth - 1).for_each(|n| yielder.yield_(n));
            }
        })
    }
    assert!(nested(1000).eq((0..=1000).rev()));
    // Dropped half-way, the outermost generator drops the whole chain.
    let mut chain = nested(1000);
    assert_eq!(chain.nth(900), Some(100));
    drop(chain);
    let in_coroutine = coroutine::spawn(|| nested(1000).map(u64::from).sum::<u64>());
    assert_eq!(in_coroutine.join().unwrap(), 500_500);
}

#[test]
fn a_wait_in_a_generator_is_a_wait_of_its_coroutine() {
    let tasks: Vec<_> = (0..50_u32)
        .map(|n| {
            coroutine::spawn(move || {
                let home = std::thread::current().id();
                let shared = Rc::new(Cell::new(0));
                let inside = Rc::clone(&shared);
                let generator = Generator::new(move |yielder, ()| {
                    for step in 0..20 {
                        inside.set(inside.get() + 1);
                        match (n + step) % 4 {
                            0 => time::sleep(Duration::from_micros(50)),
                            1 => coroutine::yield_now(),
                            2 => coroutine::spawn(|| ()).join().unwrap(),
                            _ => drop(upto(3).nth(1)),
                        }
                        assert_eq!(std::thread::current().id(), home);
                        yielder.yield_(step);
                    }
                });
                let sum: u32 = generator.inspect(|_| coroutine::yield_now()).sum();
                assert_eq!(shared.get(), 20);
                sum
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), 190);
    }
    // The same on a plain thread.
    let mut waits = Generator::new(|yielder, ()| {
        time::sleep(Duration::from_millis(1));
        yielder.yield_(coroutine::spawn(|| 7).join().unwrap());
    });
    assert_eq!((waits.next(), waits.next()), (Some(7), None));
}

#[test]
fn a_destructor_that_waits_may_be_run_by_dropping_a_generator() {
    struct Waits(#[allow(dead_code, reason = "dropped after")] Counted);
    impl Drop for Waits {
        fn drop(&mut self) {
            time::sleep(Duration::from_micros(100));
        }
    }
    let task = coroutine::spawn(|| {
        let drops = Rc::new(Cell::new(0));
        for _ in 0..20 {
            let waits = Waits(Counted(Rc::clone(&drops)));
            let mut generator = Generator::new(move |yielder, ()| {
                yielder.yield_(());
                drop(waits);
            });
            generator.next();
        }
        drops.get()
    });
    assert_eq!(task.join().unwrap(), 20);
}

#[test]
fn a_panic_in_a_generator_is_the_panic_of_its_coroutine() {
    let task = coroutine::spawn(|| {
        let drops = Rc::new(Cell::new(0));
        let counted = Counted(Rc::clone(&drops));
        let outer = Generator::new(move |yielder, ()| {
            let _counted = counted;
            Generator::new(|yielder, ()| {
                coroutine::yield_now();
                yielder.yield_(1);
                panic!("from two stacks below");
            })
            .for_each(|n| yielder.yield_(n));
        });
        let caught = panic::catch_unwind(AssertUnwindSafe(|| outer.count()));
        assert_eq!(drops.get(), 1);
        coroutine::yield_now();
        panic::resume_unwind(caught.unwrap_err());
    });
    let error = task.join().unwrap_err();
    let Cause::Panicked { message, location, .. } = error.cause() else { panic!("{error}") };
    assert_eq!(message, "from two stacks below");
    assert!(location.as_ref().unwrap().file.ends_with("generator.rs"));
}

/// Returns the resident memory in KiB, and the number of mappings.
fn footprint() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let rss = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (rss, std::fs::read_to_string("/proc/self/maps").unwrap().lines().count())
}

fn succeeds_alone() {
    let output = alone(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_hundred_thousand_dropped_half_way_leave_nothing() {
    if role().is_none() {
        return succeeds_alone();
    }
    let drops = Rc::new(Cell::new(0));
    let half_way = || {
        let counted = Counted(Rc::clone(&drops));
        let mut generator = Generator::new(move |yielder, ()| {
            let _counted = counted;
            yielder.yield_(());
        });
        generator.next();
        generator
    };
    // One after the other, and then twenty thousand at a time, which touch 160 MB.
    (0..1000).for_each(|_| drop(half_way()));
    let before = footprint();
    (0..100_000).for_each(|_| drop(half_way()));
    let after = footprint();
    assert!(after.0 < before.0 + 1000 && after.1 <= before.1 + 2, "{before:?} {after:?}");
    let crowd = || drop((0..20_000).map(|_| half_way()).collect::<Vec<_>>());
    crowd();
    let before = footprint();
    assert!(before.0 < after.0 + 20_000, "given back while they are dropped: {after:?} {before:?}");
    (0..3).for_each(|_| crowd());
    let after = footprint();
    assert!(after.0 < before.0 + 4000 && after.1 <= before.1 + 2, "{before:?} {after:?}");
    assert_eq!((drops.get(), Rc::strong_count(&drops)), (181_000, 1));
}

#[test]
fn threads_that_end_leave_their_stacks_to_others() {
    if role().is_none() {
        return succeeds_alone();
    }
    let one = || std::thread::spawn(|| upto(100).sum::<u32>()).join().unwrap();
    assert_eq!(one(), 4950);
    let before = footprint();
    for _ in 0..300 {
        assert_eq!(one(), 4950);
    }
    let after = footprint();
    assert!(after.1 <= before.1 + 4, "{before:?} {after:?}");
}

#[test]
fn a_generator_may_be_forgotten_or_outlive_the_storage_of_its_thread() {
    struct Late(RefCell<Option<Generator<(), u32, &'static str>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            // It may borrow from a thread-local that is destroyed by now.
            let kept = self.0.get_mut().as_mut().unwrap();
            assert!(panic::catch_unwind(AssertUnwindSafe(|| kept.next())).is_err());
            assert_eq!(upto(4).sum::<u32>(), 6);
        }
    }
    thread_local! { static LATE: Late = const { Late(RefCell::new(None)) }; }
    for _ in 0..20 {
        std::thread::spawn(|| {
            // Registered before the thread's stacks, so destroyed after them.
            LATE.with(|late| assert!(late.0.borrow().is_none()));
            let mut generator = upto(3);
            assert_eq!(generator.next(), Some(0));
            LATE.with(|late| *late.0.borrow_mut() = Some(generator));
            let mut forgotten = upto(3);
            forgotten.next();
            std::mem::forget(forgotten);
            assert_eq!(upto(3).sum::<u32>(), 3);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_large_function_fits() {
    let ballast = std::hint::black_box([3_u64; 10_000]);
    let mut large = Generator::new(move |yielder, index: usize| {
        let index = yielder.yield_(ballast[index]);
        ballast[index]
    });
    assert_eq!((large.send(9_999), large.send(1)), (Step::Yielded(3), Step::Complete(3)));
}

fn deep() -> Generator<(), u64, ()> {
    Generator::new(|yielder, ()| {
        yielder.yield_(0);
        yielder.yield_(overflow_the_stack(0));
    })
}

#[test]
fn an_overflow_in_a_generator_is_named_and_aborts() {
    match role().as_deref() {
        Some("thread") => drop(thread::spawn(|| deep().count()).join()),
        Some("coroutine") => {
            let builder = coroutine::Builder::new().name("outer").stack_size(1 << 20);
            drop(builder.spawn(|| deep().count()).join());
        }
        Some("main") => drop(deep().count()),
        Some("local") => {
            let builder = coroutine::Builder::new().name("near").stack_size(1 << 20);
            drop(builder.spawn_local(|| deep().count()).join());
        }
        _ => {}
    }
    assert!(role().is_none(), "the overflow kills the program");
    for guard in ["marker", "mprotect"] {
        for (place, who) in [
            ("main", "trine: a generator has overflowed its stack of 256 KiB"),
            ("thread", "trine: a generator has overflowed its stack of 256 KiB"),
            ("coroutine", "trine: a generator in coroutine `outer` #"),
            ("local", "trine: a generator in coroutine `near` #"),
        ] {
            let output = again(place).env("TRINE_GUARD", guard).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.signal(), Some(6), "{place}: {text}");
            assert!(text.contains(who) && text.contains("of 256 KiB\nGive all"), "{place}: {text}");
        }
    }
}

#[test]
fn scopes_of_generators_end_in_any_order_and_in_another_task() {
    /// Makes a generator that yields once inside a scope, whose task runs until `end`.
    fn in_a_scope(end: &Arc<AtomicBool>) -> Generator<(), (), ()> {
        let end = Arc::clone(end);
        Generator::new(move |yielder, ()| {
            let ended = scope(|s| {
                s.coroutine(|| {
                    while !end.load(Ordering::Acquire) {
                        time::sleep(Duration::from_millis(1));
                    }
                });
                yielder.yield_(());
            });
            assert!(ended.is_ok());
        })
    }

    // The scope that was entered first is left first. The other one still receives its failure.
    coroutine::spawn(|| {
        let mut generator = in_a_scope(&Arc::new(AtomicBool::new(true)));
        generator.next();
        let failed: Result<(), _> = scope(|s| {
            generator.next();
            s.coroutine(|| panic!("of the scope's task"));
            time::sleep(Duration::MAX);
        });
        assert!(failed.unwrap_err().is_panic());
    })
    .join()
    .unwrap();

    // The task that has begun the scope waits for something else while another task ends the scope.
    let end = Arc::new(AtomicBool::new(false));
    let place = Rc::new(RefCell::new(None));
    let begins = coroutine::spawn_local({
        let (place, end) = (Rc::clone(&place), Arc::clone(&end));
        move || {
            let mut generator = in_a_scope(&end);
            generator.next();
            *place.borrow_mut() = Some(generator);
            time::sleep(Duration::MAX);
        }
    });
    let ends = coroutine::spawn_local(move || {
        let mut generator = place.borrow_mut().take().expect("it was begun first");
        end.store(true, Ordering::Release);
        assert_eq!(generator.next(), None);
    });
    ends.join().unwrap();
    begins.cancel();
    assert!(begins.join().unwrap_err().is_cancelled());
}

#[test]
fn a_yield_in_a_timeout_or_shield_is_told_and_leaves_the_caller_as_it_was() {
    let hour = Duration::from_secs(3600);
    let timeout = |yielder: &Yielder<(), u32>, ()| {
        let _ = trine::time::timeout(Duration::from_millis(1), || yielder.yield_(1));
    };
    let shield = move |yielder: &Yielder<(), u32>, ()| {
        trine::shield(hour, || yielder.yield_(1));
    };
    let mut generators = [Generator::new(timeout), Generator::new(shield)];
    for generator in &mut generators {
        let told = panic::catch_unwind(AssertUnwindSafe(|| generator.send(()))).unwrap_err();
        let message = told.downcast::<&str>().unwrap();
        assert!(message.contains("put it around `send`"), "{message}");
        assert!(generator.is_done());
        // The caller's waits do not end, and can still be ended.
        trine::time::sleep(Duration::from_millis(2));
        assert!(trine::time::timeout(Duration::ZERO, || trine::time::sleep(hour)).is_err());
    }
    // Around `send` the timeout is the caller's own.
    let mut counts = Generator::new(|yielder: &Yielder<(), u32>, ()| yielder.yield_(7));
    assert_eq!(trine::time::timeout(hour, || counts.send(())), Ok(Step::Yielded(7)));
}
