//! The ends of generators that leave something unfinished: stacks that are still borrowed from.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use trine::coroutine::{Generator, Yielder};
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
