//! Future tasks: wakers under any caller, panics, drops, joins, sleeps, and futures that no waker
//! can reach.

mod awaited;
mod sleeps;
mod tasks;
mod wakers;

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use trine::{State, Task, future};

use crate::common::waiting::until;

/// The state that a test and its [`Probe`] share.
#[derive(Default)]
struct Watch {
    polls: AtomicUsize,
    drops: AtomicUsize,
    inside: AtomicBool,
    ready: AtomicBool,
    ended: AtomicBool,
    /// The waker of the latest poll.
    waker: Mutex<Option<Waker>>,
    /// The name of the thread that dropped the future.
    dropped_on: Mutex<Option<String>>,
}

impl Watch {
    fn finish(&self) {
        self.ready.store(true, SeqCst);
    }

    fn waker(&self) -> Waker {
        self.waker.lock().unwrap().clone().expect("it was polled")
    }

    fn take_waker(&self) -> Waker {
        self.waker.lock().unwrap().take().expect("it was polled")
    }
}

/// A future that is ready when the test says so, and checks how it is polled and dropped.
struct Probe(Arc<Watch>);

impl Probe {
    fn new() -> (Probe, Arc<Watch>) {
        let watch = Arc::new(Watch::default());
        (Probe(Arc::clone(&watch)), watch)
    }

    /// Spawns a probe, and returns when its task has been polled and waits.
    fn waiting() -> (Task<u32>, Arc<Watch>) {
        let (probe, watch) = Probe::new();
        let task = future::spawn(probe);
        until(|| task.state() == State::Waiting);
        (task, watch)
    }
}

impl Future for Probe {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
        let watch = &self.0;
        assert!(!watch.inside.swap(true, SeqCst), "polled by two at once");
        assert!(!watch.ended.load(SeqCst), "polled after its end");
        watch.polls.fetch_add(1, SeqCst);
        let old = watch.waker.lock().unwrap().replace(context.waker().clone());
        drop(old);
        let poll = match watch.ready.load(SeqCst) {
            true => Poll::Ready(42),
            false => Poll::Pending,
        };
        watch.ended.store(poll.is_ready(), SeqCst);
        watch.inside.store(false, SeqCst);
        poll
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        *self.0.dropped_on.lock().unwrap() = Some(name);
        self.0.drops.fetch_add(1, SeqCst);
    }
}
