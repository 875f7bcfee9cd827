//! The ends of generators that leave something unfinished: stacks that are still borrowed from, and
//! thread-locals that were destroyed.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use trine::coroutine::{Generator, Local, Yielder, spawn_local};
use trine::time;

/// Counts its drops.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Panics when it is dropped, after it has let the thread of a scope end.
struct Bad(Option<mpsc::Sender<()>>);

impl Drop for Bad {
    fn drop(&mut self) {
        if self.0.take().is_some() {
            panic!("of a yielded value");
        }
    }
}

#[test]
fn an_unwinding_that_a_yielded_value_interrupts_goes_on_until_the_function_has_ended() {
    /// Yields inside a scope whose thread borrows from the stack until it can receive no more.
    fn interrupted(
        yielder: &Yielder<(), Bad>,
        ended: &AtomicBool,
        counted: Rc<Cell<usize>>,
        stop: mpsc::Sender<()>,
        wait: mpsc::Receiver<()>,
    ) {
        let _counted = Counted(counted);
        let borrowed = [7_u64; 64];
        let borrows = |wait: mpsc::Receiver<()>| {
            while wait.recv().is_ok() {}
            ended.store(borrowed == [7; 64], Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| borrows(wait));
            for n in 0..3 {
                let bad = Bad((n > 0).then(|| stop.clone()));
                drop(panic::catch_unwind(AssertUnwindSafe(|| yielder.yield_(bad))));
            }
            drop(stop);
            yielder.yield_(Bad(None));
        });
    }

    for within_a_timeout in [false, true] {
        let counted = Rc::new(Cell::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let (stop, wait) = mpsc::channel();
        let (inner, end) = (Rc::clone(&counted), Arc::clone(&ended));
        let mut generator = Generator::new(move |yielder, ()| {
            yielder.yield_(Bad(None));
            let run = || interrupted(yielder, &end, inner, stop, wait);
            if within_a_timeout {
                time::timeout(Duration::from_secs(3600), run).unwrap();
            } else {
                run();
            }
        });
        drop(generator.next());
        let first = if within_a_timeout {
            panic::catch_unwind(AssertUnwindSafe(|| drop(generator.next())))
        } else {
            drop(generator.next());
            panic::catch_unwind(AssertUnwindSafe(|| drop(generator)))
        };
        assert_eq!(*first.unwrap_err().downcast::<&str>().unwrap(), "of a yielded value");
        assert!(ended.load(Ordering::SeqCst), "the scope has waited for its thread");
        assert_eq!((counted.get(), Rc::strong_count(&counted)), (1, 1));
        // The caller's waits are its own again.
        time::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_generator_in_a_thread_local_is_refused_and_leaked_when_its_thread_has_ended() {
    static OUTCOME: Mutex<Vec<String>> = Mutex::new(Vec::new());
    struct Keeps {
        numbers: RefCell<Vec<u32>>,
        generator: RefCell<Option<Generator<(), u32, ()>>>,
    }
    impl Drop for Keeps {
        fn drop(&mut self) {
            // Would read the freed numbers, although nothing but this value is destroyed yet.
            self.numbers.get_mut().clear();
            self.numbers.get_mut().shrink_to_fit();
            let generator = self.generator.get_mut().as_mut().unwrap();
            let next = panic::catch_unwind(AssertUnwindSafe(|| generator.next()));
            let message = next.map_err(|payload| *payload.downcast::<&str>().unwrap());
            OUTCOME.lock().unwrap().push(format!("{message:?}, {}", generator.is_done()));
            drop(self.generator.take());
            // A new one works, as often as it likes.
            let sum: u32 = Generator::new(|yielder, ()| {
                (0..5).for_each(|n| yielder.yield_(n));
            })
            .sum();
            OUTCOME.lock().unwrap().push(sum.to_string());
        }
    }
    thread_local! {
        static KEEPS: Keeps = const {
            Keeps { numbers: RefCell::new(Vec::new()), generator: RefCell::new(None) }
        };
    }
    let drops = Arc::new(());
    let inside = Arc::clone(&drops);
    std::thread::spawn(move || {
        KEEPS.with(|keeps| keeps.numbers.borrow_mut().extend([4, 5, 6]));
        let mut generator = Generator::new(move |yielder, ()| {
            let _never_dropped = inside;
            KEEPS.with(|keeps| {
                let numbers = keeps.numbers.borrow();
                numbers.iter().for_each(|number| yielder.yield_(*number));
            });
        });
        assert_eq!(generator.next(), Some(4));
        KEEPS.with(|keeps| *keeps.generator.borrow_mut() = Some(generator));
    })
    .join()
    .unwrap();
    let outcome = OUTCOME.lock().unwrap();
    assert!(outcome[0].contains("a generator was resumed in the destructor"), "{outcome:?}");
    assert!(outcome[0].ends_with("false") && outcome[1] == "10", "{outcome:?}");
    assert_eq!(Arc::strong_count(&drops), 2, "its stack is leaked");
}

#[test]
fn generators_of_what_ends_with_its_thread_are_unwound() {
    static KEPT: Local<RefCell<Vec<Generator<(), u32, ()>>>> = Local::new(RefCell::default);

    /// Makes a generator that borrows from a thread-local and from what it has counted.
    fn half_way(counted: &Arc<AtomicUsize>) -> Generator<(), u32, ()> {
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                assert_eq!(BORROWED.with_borrow(|text| text.clone()), "alive");
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        thread_local! {
            static BORROWED: RefCell<String> = RefCell::new("alive".to_owned());
        }
        let counts = Counts(Arc::clone(counted));
        let mut generator = Generator::new(move |yielder, ()| {
            let _counts = counts;
            BORROWED.with_borrow(|text| yielder.yield_(u32::try_from(text.len()).unwrap()));
        });
        assert_eq!(generator.next(), Some(5));
        generator
    }

    let counted = Arc::new(AtomicUsize::new(0));
    for round in 1..20 {
        let counted_here = Arc::clone(&counted);
        std::thread::spawn(move || {
            KEPT.with_borrow_mut(|kept| kept.push(half_way(&counted_here)));
            drop(spawn_local(move || {
                let _on_the_stack = half_way(&counted_here);
                KEPT.with_borrow_mut(|kept| kept.push(half_way(&counted_here)));
                time::sleep(Duration::MAX);
            }));
            trine::coroutine::yield_now();
        })
        .join()
        .unwrap();
        assert_eq!(counted.load(Ordering::SeqCst), 3 * round);
    }
}
