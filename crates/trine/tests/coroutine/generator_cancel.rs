//! Cancellation of tasks that wait in a generator, beside neighbours that unwind.

use std::cell::Cell;
use std::panic;
use std::rc::Rc;
use std::time::Duration;

use crate::common::waiting::TIMEOUT;
use trine::coroutine::{Generator, LocalTask, Yielder, spawn_local, yield_now};
use trine::{TaskError, sync::Event, time};

/// Waits for an event when it is dropped.
struct Waits(Rc<Event>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// Spawns a neighbour that waits in a destructor, which its unwinding runs, until `end` is set.
fn unwinding(end: &Rc<Event>) -> LocalTask<()> {
    let waits = Waits(Rc::clone(end));
    let neighbour = spawn_local(move || {
        let _waits = waits;
        panic::resume_unwind(Box::new(()));
    });
    while !std::thread::panicking() {
        yield_now();
    }
    neighbour
}

/// Waits forever, as deep in generators as `depth` says.
fn wait_inside(depth: u32) {
    if depth == 0 {
        time::sleep(Duration::MAX);
    }
    // All calls of this frame have an entry in its table: they have values to drop, or a panic to
    // catch.
    let mut outer = Generator::new(move |yielder: &Yielder<String, ()>, _| {
        let owned = String::from("dropped when the call unwinds");
        let inner = panic::catch_unwind(|| {
            let mut inner = Generator::new(move |yielder, ()| {
                wait_inside(depth - 1);
                yielder.yield_(());
            });
            inner.next();
        });
        yielder.yield_(());
        drop(owned);
        panic::resume_unwind(inner.unwrap_err());
    });
    outer.send(String::from("sent"));
    outer.send(String::from("sent"));
}

/// Returns the error of a task that ends.
fn ended(task: LocalTask<()>) -> TaskError {
    task.join_timeout(TIMEOUT).expect("the cancellation is not lost").unwrap_err()
}

#[test]
fn a_wait_in_a_generator_is_cancelled_while_a_neighbour_unwinds() {
    // Before and after the wait has begun; a thread of its own, so that it is all one carrier's.
    let all = std::thread::spawn(|| {
        for depth in 0..4 {
            let end = Rc::new(Event::new());
            let waiting = spawn_local(move || wait_inside(depth));
            let neighbour = unwinding(&end);
            yield_now();
            waiting.cancel();
            assert!(ended(waiting).is_cancelled(), "{depth}");
            let waiting = spawn_local(move || wait_inside(depth));
            yield_now();
            waiting.cancel();
            assert!(ended(waiting).is_cancelled(), "{depth}");
            end.set();
            neighbour.join().unwrap_err();
        }
    });
    all.join().unwrap();
}

/// Drives a generator that waits for an event when it is dropped.
struct Drives(Rc<Event>, Rc<Cell<bool>>);

impl Drop for Drives {
    // The generator's switch is in the code that an unwinding runs.
    #[inline(always)]
    fn drop(&mut self) {
        let event = Rc::clone(&self.0);
        let over = Rc::clone(&self.1);
        let yields = Generator::new(move |yielder, ()| {
            event.wait();
            yielder.yield_(());
            event.wait();
            over.set(true);
        });
        assert_eq!(yields.count(), 1);
    }
}

/// Drops a generator half-way that waits for an event then, after it has caught the unwinding.
struct Catches(Rc<Event>, Rc<Cell<bool>>);

impl Drop for Catches {
    #[inline(always)]
    fn drop(&mut self) {
        let event = Rc::clone(&self.0);
        let over = Rc::clone(&self.1);
        let mut yields = Generator::new(move |yielder, ()| {
            let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| yielder.yield_(())));
            event.wait();
            over.set(true);
            panic::resume_unwind(caught.unwrap_err());
        });
        yields.next();
    }
}

#[test]
fn a_wait_in_a_generator_that_an_unwinding_destructor_drives_or_drops_goes_on() {
    fn unwinds(owned: impl Sized) {
        let _owned = owned;
        panic::resume_unwind(Box::new(()));
    }
    let all = std::thread::spawn(|| {
        for drives in [true, false] {
            let event = Rc::new(Event::new());
            let over = Rc::new(Cell::new(false));
            let owned = (Rc::clone(&event), Rc::clone(&over));
            let task = match drives {
                true => spawn_local(move || unwinds(Drives(owned.0, owned.1))),
                false => spawn_local(move || unwinds(Catches(owned.0, owned.1))),
            };
            while !std::thread::panicking() {
                yield_now();
            }
            task.cancel();
            yield_now();
            assert!(!over.get());
            event.set();
            task.join().unwrap_err();
            assert!(over.get());
        }
    });
    all.join().unwrap();
}
