//! `Barrier`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use trine::sync::Barrier;

use super::{kind_of, spawn};

#[test]
fn nobody_goes_on_before_all_have_arrived_generation_after_generation() {
    const N: usize = 40;
    const ROUNDS: usize = 50;
    let barrier = Arc::new(Barrier::new(N));
    let arrived = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..N)
        .map(|n| {
            let (barrier, arrived) = (Arc::clone(&barrier), Arc::clone(&arrived));
            spawn(kind_of(n), move || {
                let mut led = 0;
                for round in 1..=ROUNDS {
                    arrived.fetch_add(1, SeqCst);
                    led += usize::from(barrier.wait().is_leader());
                    assert!(arrived.load(SeqCst) >= round * N);
                    // No task is a round ahead.
                    assert!(arrived.load(SeqCst) <= (round + 1) * N);
                }
                led
            })
        })
        .collect();
    let led: usize = tasks.into_iter().map(|task| task.join().unwrap()).sum();
    assert_eq!(led, ROUNDS, "one leader in each generation");
}

#[test]
fn one_alone_never_waits() {
    assert!(Barrier::new(0).wait().is_leader());
    let barrier = Barrier::new(1);
    assert!(barrier.wait().is_leader());
    assert!(barrier.wait().is_leader());
}
