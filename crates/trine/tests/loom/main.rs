//! The protocols of locks, channels, the state of future tasks and the memory that processes share,
//! checked by [loom] in every order that the memory model allows, up to a number of preemptions. A
//! lost wake-up is a thread that waits forever: loom reports it as a deadlock.
//!
//! The files are those of the library. The atomics and the parking below them are loom's here.
//! Processes are threads here, and a killed one stops at one of its steps (`sys/life.rs`).
//!
//! ```text
//! RUSTFLAGS='--cfg trine_loom' cargo test -p trine --release --target-dir target/loom --test loom
//! ```
//!
//! [loom]: https://docs.rs/loom
#![cfg(trine_loom)]

/// Ignores labelled steps: a model may die at any step.
macro_rules! crash_point {
    ($label:literal) => {};
}

mod channels;
mod ipc;
mod locks;
mod process;
mod selects;
mod signals;
#[allow(dead_code, reason = "the models do not use all of it")]
mod sys;
mod task;

/// The library's files, over loom's atomics.
#[allow(dead_code, unused_imports, reason = "the models do not use all of it")]
mod sync {
    pub(crate) mod atomic;
    #[path = "../../../src/sync/barrier.rs"]
    pub(crate) mod barrier;
    #[path = "../../../src/sync/channel/mod.rs"]
    pub(crate) mod channel;
    #[path = "../../../src/sync/condvar.rs"]
    pub(crate) mod condvar;
    #[path = "../../../src/sync/event.rs"]
    pub(crate) mod event;
    #[path = "../../../src/sync/hold.rs"]
    mod hold;
    mod lock;
    #[path = "../../../src/sync/mutex/mod.rs"]
    pub(crate) mod mutex;
    #[path = "../../../src/sync/notify.rs"]
    pub(crate) mod notify;
    #[path = "../../../src/sync/once/mod.rs"]
    pub(crate) mod once;
    mod once_models;
    #[path = "../../../src/sync/owner.rs"]
    mod owner;
    #[path = "../../../src/sync/permits.rs"]
    mod permits;
    #[path = "../../../src/sync/queue.rs"]
    mod queue;
    #[path = "../../../src/sync/rwlock/mod.rs"]
    pub(crate) mod rwlock;
    #[path = "../../../src/sync/select.rs"]
    mod select;
    #[path = "../../../src/sync/semaphore/mod.rs"]
    pub(crate) mod semaphore;
    #[path = "../../../src/sync/lock.rs"]
    mod short_lock;
    mod short_locks;

    pub(crate) use mutex::Mutex;
}

/// The state of a future task.
mod coroutine {
    pub(crate) mod atomic;
    mod futures;
    #[path = "../../../src/coroutine/future/state.rs"]
    mod state;
    mod turns;
}

use std::sync::Arc;
use std::time::Duration;

use sync::atomic::pool;

/// A wait that gives up at its first look at the clock, whatever the others have done by then. With
/// zero it would only look.
const NO_TIME: Duration = Duration::from_nanos(1);

/// Runs `threads` concurrently on the result of `make`, in all orders with at most `preemptions`.
/// Then `end` checks the result.
fn check<S: Send + Sync + 'static>(
    preemptions: usize,
    make: fn() -> S,
    threads: &'static [fn(&S)],
    end: fn(&S),
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        pool::fill();
        sys::io::socket::connect();
        sys::time::begin();
        let shared = Arc::new(make());
        let (first, others) = threads.split_first().expect("somebody");
        let others: Vec<_> = others
            .iter()
            .map(|run| {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || run(&shared))
            })
            .collect();
        first(&shared);
        for other in others {
            other.join().unwrap();
        }
        end(&shared);
        drop(shared);
        pool::clear();
        sys::io::socket::disconnect();
    });
}
