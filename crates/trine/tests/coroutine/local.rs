//! `coroutine::Local`: one value for each coroutine, made at first use, dropped at its end.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trine::coroutine::{self, Generator, Local};
use trine::{Cause, thread, time};

type Log = Arc<Mutex<Vec<&'static str>>>;

fn log(log: &Log, what: &'static str) {
    log.lock().unwrap().push(what);
}

/// Runs a function when it is dropped.
struct AtDrop(Box<dyn FnMut()>);

impl Drop for AtDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn at_drop(f: impl FnMut() + 'static) -> AtDrop {
    AtDrop(Box::new(f))
}

type Slot = Local<RefCell<Option<AtDrop>>>;

#[test]
fn each_coroutine_and_thread_has_its_own() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static COUNT: Local<Cell<usize>> = Local::new(|| {
        MADE.fetch_add(1, Ordering::Relaxed);
        Cell::new(100)
    });
    let count = |rounds: usize| {
        move || {
            for _ in 0..rounds {
                COUNT.set(COUNT.get() + 1);
                coroutine::yield_now();
            }
            COUNT.get()
        }
    };
    let coroutines: Vec<_> = (0..200).map(|n| coroutine::spawn(count(n))).collect();
    let threads: Vec<_> = (0..5).map(|n| thread::spawn(count(n))).collect();
    for (n, task) in coroutines.into_iter().enumerate().chain(threads.into_iter().enumerate()) {
        assert_eq!(task.join().unwrap(), 100 + n);
    }
    assert_eq!((COUNT.get(), COUNT.replace(3), COUNT.take()), (100, 100, 3));
    assert_eq!(MADE.load(Ordering::Relaxed), 206);
    static TEXT: Local<RefCell<String>> = Local::new(RefCell::default);
    TEXT.with_borrow_mut(|text| text.push('a'));
    assert_eq!(TEXT.replace("b".into()), "a");
    TEXT.set("c".into());
    assert!(TEXT.with_borrow(|text| text == "c") && TEXT.take() == "c" && TEXT.take().is_empty());
}

#[test]
fn values_are_dropped_last_first_before_join_returns_and_may_wait() {
    static A: Slot = Local::new(RefCell::default);
    static B: Slot = Local::new(RefCell::default);
    static C: Slot = Local::new(RefCell::default);
    for kind in 0..4 {
        let seen = Log::default();
        let inside = Arc::clone(&seen);
        let f = move || {
            for (local, name) in [(&B, "b"), (&A, "a"), (&C, "c")] {
                let inside = Arc::clone(&inside);
                local.set(Some(at_drop(move || {
                    time::sleep(Duration::from_micros(100));
                    log(&inside, name);
                })));
            }
            log(&inside, "end");
            assert!(kind < 2, "on purpose");
        };
        // A thread of its own, so that the values are dropped with it.
        let ended = if kind % 2 == 0 {
            coroutine::spawn(f).join().is_ok()
        } else {
            std::thread::spawn(f).join().is_ok()
        };
        assert_eq!(ended, kind < 2);
        assert_eq!(*seen.lock().unwrap(), ["end", "c", "a", "b"]);
    }
}

#[test]
fn a_destructor_may_use_other_values_but_none_that_is_gone() {
    static FIRST: Local<Cell<u32>> = Local::new(|| Cell::new(1));
    static SECOND: Slot = Local::new(RefCell::default);
    static THIRD: Local<Cell<u32>> = Local::new(|| Cell::new(3));
    static NEW: Slot = Local::new(RefCell::default);
    let seen = Log::default();
    let task = || {
        let seen = Arc::clone(&seen);
        move || {
            FIRST.set(11);
            SECOND.with(|_| ());
            THIRD.set(33);
            SECOND.set(Some(at_drop(move || {
                assert_eq!(FIRST.get(), 11);
                assert!(THIRD.try_with(|_| ()).unwrap_err().to_string().contains("dropped"));
                assert!(SECOND.try_with(|_| ()).is_err());
                let late = Arc::clone(&seen);
                NEW.set(Some(at_drop(move || log(&late, "new"))));
                log(&seen, "second");
            })));
        }
    };
    coroutine::spawn(task()).join().unwrap();
    std::thread::spawn(task()).join().unwrap();
    assert_eq!(*seen.lock().unwrap(), ["second", "new", "second", "new"]);
}

#[test]
fn a_value_may_be_made_of_others_but_not_of_itself() {
    static BASE: Local<u32> = Local::new(|| 2);
    static SUM: Local<u32> = Local::new(|| {
        // The initializer may wait: the coroutine's storage is not locked meanwhile.
        coroutine::yield_now();
        BASE.with(|base| base + 1)
    });
    static SELF: Local<u32> = Local::new(|| SELF.with(|n| n + 1));
    static FAILS_ONCE: Local<u32> = Local::new(|| {
        assert!(BASE.with(|_| TRIES.replace(TRIES.get() + 1)) > 0, "the first time");
        7
    });
    static TRIES: Local<Cell<u32>> = Local::new(Cell::default);
    let task = coroutine::spawn(|| {
        let nested = SUM.with(|sum| SUM.with(|same| std::ptr::eq(sum, same)) && *sum == 3);
        assert!(panic::catch_unwind(|| SELF.with(|n| *n)).is_err());
        assert!(panic::catch_unwind(|| FAILS_ONCE.with(|n| *n)).is_err());
        nested && FAILS_ONCE.with(|n| *n == 7)
    });
    assert!(task.join().unwrap());
}

#[test]
fn a_destructor_that_panics_is_told_by_join_and_stops_no_other() {
    static A: Slot = Local::new(RefCell::default);
    static B: Slot = Local::new(RefCell::default);
    static C: Slot = Local::new(RefCell::default);
    for function_panics in [false, true] {
        let seen = Log::default();
        let inside = Arc::clone(&seen);
        let task = coroutine::spawn(move || {
            A.set(Some(at_drop(move || log(&inside, "a"))));
            B.set(Some(at_drop(|| panic!("from the destructor"))));
            C.set(Some(at_drop(|| drop(panic::catch_unwind(|| panic!("caught"))))));
            assert!(!function_panics, "from the function");
            AlsoPanics
        });
        let error = task.join().map(std::mem::forget).unwrap_err();
        let Cause::Panicked { message, location, .. } = error.cause() else { panic!("{error}") };
        let line = location.as_ref().unwrap().line;
        let expected = if function_panics { "from the function" } else { "from the destructor" };
        assert_eq!(message, expected);
        if function_panics {
            // The location is that of the message, although other panics came after it.
            let text = include_str!("local.rs").lines().nth(line as usize - 1).unwrap();
            assert!(text.contains("from the function"), "{text}");
        }
        assert_eq!(*seen.lock().unwrap(), ["a"]);
        assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
    }
}

struct AlsoPanics;

impl Drop for AlsoPanics {
    fn drop(&mut self) {
        panic!("and the value's");
    }
}

#[test]
fn a_result_that_nobody_wants_may_use_values_when_it_is_dropped() {
    static EARLY: Local<Cell<u32>> = Local::new(Cell::default);
    static LATE: Slot = Local::new(RefCell::default);
    struct Unwanted(Log);
    impl Drop for Unwanted {
        fn drop(&mut self) {
            assert!(EARLY.try_with(|_| ()).is_err());
            let inside = Arc::clone(&self.0);
            LATE.set(Some(at_drop(move || log(&inside, "late"))));
        }
    }
    let seen = Log::default();
    let inside = Arc::clone(&seen);
    let gone = Arc::new(AtomicBool::new(false));
    let handle_is_gone = Arc::clone(&gone);
    drop(coroutine::spawn(move || {
        EARLY.set(1);
        while !handle_is_gone.load(Ordering::Acquire) {
            time::sleep(Duration::from_micros(100));
        }
        Unwanted(inside)
    }));
    gone.store(true, Ordering::Release);
    while Arc::strong_count(&seen) > 1 {
        time::sleep(Duration::from_millis(1));
    }
    assert_eq!(*seen.lock().unwrap(), ["late"]);
}

#[test]
fn a_generator_uses_those_of_its_caller_and_keeps_what_it_stands_in() {
    type Lengths = Generator<(), usize, ()>;
    static NAME: Local<RefCell<Vec<u32>>> = Local::new(RefCell::default);
    thread_local! {
        static HANDED_ON: RefCell<Vec<Lengths>> = const { RefCell::new(Vec::new()) };
    }
    // The generator uses the value of the coroutine that made it after the end of that coroutine.
    let counts = coroutine::spawn(|| {
        let first = coroutine::spawn_local(|| {
            NAME.set(vec![1, 2, 3]);
            let mut generator = Generator::new(|yielder, ()| {
                NAME.with(|name| {
                    yielder.yield_(name.borrow().len());
                    name.borrow_mut().push(4);
                    yielder.yield_(name.borrow().len());
                });
                yielder.yield_(NAME.with_borrow(Vec::len));
            });
            assert_eq!(generator.next(), Some(3));
            HANDED_ON.with_borrow_mut(|handed_on| handed_on.push(generator));
        });
        first.join().unwrap();
        NAME.set(vec![9]);
        let generator = HANDED_ON.with_borrow_mut(Vec::pop).unwrap();
        generator.collect::<Vec<_>>()
    });
    assert_eq!(counts.join().unwrap(), [4, 1]);
}

#[test]
fn a_million_uses_leave_nothing() {
    static VALUE: Local<RefCell<Option<Arc<()>>>> = Local::new(RefCell::default);
    let token = Arc::new(());
    let tasks: Vec<_> = (0..50_000)
        .map(|n| {
            let token = Arc::clone(&token);
            coroutine::spawn(move || {
                VALUE.set(Some(token));
                (0..20).for_each(|_| assert!(VALUE.with_borrow(Option::is_some)));
                if n % 3 == 0 {
                    coroutine::yield_now();
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(Arc::strong_count(&token), 1);
}
