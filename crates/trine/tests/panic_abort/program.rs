//! A program that is built with `panic = "abort"`. Its argument names what it does.

use std::sync::Arc;
use std::time::Duration;

use trine::coroutine::Generator;
use trine::sync::{Event, channel};
use trine::{coroutine, process, race, scope, thread, time};

const SHORT: Duration = Duration::from_millis(1);

fn forever() {
    time::sleep(Duration::MAX);
}

fn main() {
    let begun = Arc::new(Event::new());
    let case = std::env::args().nth(1).expect("the name of a case");
    match &*case {
        // Interruptions of waits that cannot fail.
        "coroutine" => {
            let task = coroutine::Builder::new().name("sleeper").spawn(forever);
            while task.state() != trine::State::Waiting {
                coroutine::yield_now();
            }
            task.cancel();
            drop(task.join());
        }
        "thread" => {
            let task = thread::Builder::new().name("sleeper").spawn(forever);
            while task.state() != trine::State::Waiting {
                coroutine::yield_now();
            }
            task.cancel();
            drop(task.join());
        }
        "timeout" => drop(time::timeout(SHORT, forever)),
        "event" => drop(time::timeout(SHORT, || Event::new().wait())),
        "loop" => drop(time::timeout(SHORT, || -> () {
            let mut ticks = time::interval(SHORT);
            loop {
                ticks.tick();
            }
        })),
        "scope" => drop(scope(|scope| {
            let begun = &begun;
            scope.coroutine(move || {
                begun.set();
                forever();
            });
            begun.wait();
            scope.cancel();
        })),
        "race" => {
            let other = Arc::clone(&begun);
            let winner = coroutine::spawn(move || other.wait());
            let loser = coroutine::spawn(move || {
                begun.set();
                forever();
            });
            drop(race([winner, loser]));
        }
        // All that ends in good order.
        "others" => others(),
        _ => unreachable!("{case}"),
    }
    println!("the end");
}

/// Waits and tasks that need no unwinding.
fn others() {
    let (_sender, receiver) = channel::bounded::<u8>(1);
    let received = time::timeout(SHORT, || receiver.recv());
    assert!(received.is_err() || received.is_ok_and(|received| received.is_err()));
    let task = coroutine::spawn(move || receiver.recv().is_err());
    while task.state() != trine::State::Waiting {
        coroutine::yield_now();
    }
    task.cancel();
    assert!(task.join().unwrap());
    let sum = scope(|scope| scope.coroutine(|| 1).join().unwrap() + 1).unwrap();
    assert_eq!(sum, 2);
    let mut half = Generator::new(|yielder, ()| (0..).for_each(|n| yielder.yield_(n)));
    assert_eq!(half.next(), Some(0));
    drop(half);
    let panics = process::spawn((), |()| -> () { panic!("in a worker") });
    assert!(panics.join().unwrap_err().is_crash());
    let sleeps = process::spawn((), |()| forever());
    while sleeps.state() == trine::State::New {
        coroutine::yield_now();
    }
    sleeps.cancel();
    let error = sleeps.join().unwrap_err();
    assert!(error.is_cancelled() || error.is_crash(), "{error}");
    println!("{error}");
}
