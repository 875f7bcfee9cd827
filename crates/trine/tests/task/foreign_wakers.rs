//! Tasks awaited by a foreign executor, whose wakers panic.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};

use trine::sync::channel;
use trine::{Task, coroutine, future, thread};

use crate::common::waiting::until;
use crate::common::wakers::{panics_when_dropped, panics_when_woken};

/// Polls `task`, which has not ended, with `waker`.
fn register<T>(task: &mut Task<T>, waker: &Waker) {
    assert!(Pin::new(task).poll(&mut Context::from_waker(waker)).is_pending());
}

#[test]
fn a_task_ends_well_even_if_its_joiner_s_waker_panics() {
    let (open, gate) = channel::rendezvous::<()>();
    let mut tasks = [
        coroutine::spawn({
            let gate = gate.clone();
            move || _ = gate.recv()
        }),
        thread::spawn({
            let gate = gate.clone();
            move || _ = gate.recv()
        }),
        future::spawn(async move { _ = gate.recv_async().await }),
    ];
    tasks.iter_mut().for_each(|task| register(task, &panics_when_woken()));
    drop(open);
    until(|| tasks.iter().all(Task::is_finished));
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn a_detached_future_is_dropped_even_if_its_joiner_s_waker_panics() {
    struct NotesDrop(Arc<AtomicBool>);
    impl Drop for NotesDrop {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    impl Future for NotesDrop {
        type Output = ();

        /// Keeps no waker: its carrier drops it once it is detached.
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
    let is_dropped = Arc::new(AtomicBool::new(false));
    let mut task = future::spawn(NotesDrop(Arc::clone(&is_dropped)));
    until(|| task.state() == trine::State::Waiting);
    register(&mut task, &panics_when_dropped());
    drop(task);
    until(|| is_dropped.load(SeqCst));
}

#[test]
fn a_task_is_joined_after_a_waker_that_panics_was_left_with_it() {
    let (open, gate) = channel::rendezvous::<()>();
    let mut task = coroutine::spawn(move || gate.recv().is_err());
    register(&mut task, &panics_when_dropped());
    register(&mut task, &panics_when_dropped());
    drop(open);
    assert!(task.join().unwrap());
}
