//! The arm `join` beside other users of the same task, and in that task itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use trine::sync::channel;
use trine::sync::select;
use trine::{Task, coroutine};

use super::LONG;
use crate::common::places::spawn_nth;
use crate::common::waiting::until;

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_select_with_a_default_leaves_the_waker_of_an_earlier_poll() {
    for nth in 0..2 {
        let (go, wait) = channel::rendezvous::<()>();
        let (_other, never) = channel::bounded::<()>(1);
        let mut task = spawn_nth(nth, move || wait.recv().is_ok());
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        for _ in 0..3 {
            select! {
                join(task) -> _ => unreachable!(),
                recv(never) -> _ => unreachable!(),
                default => {}
            }
        }
        go.send(()).unwrap();
        until(|| count.0.load(SeqCst) == 1);
        match Pin::new(&mut task).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => assert!(outcome.unwrap()),
            Poll::Pending => unreachable!("it has woken its waker"),
        }
    }
}

/// Runs `f` in a task with the task's own handle.
fn with_own_handle(nth: usize, f: impl FnOnce(&mut Task<()>) + Send + 'static) {
    let (handle, own) = channel::bounded::<Task<()>>(1);
    let (done, end) = channel::bounded(1);
    let task = spawn_nth(nth, move || {
        let mut own = own.recv().unwrap();
        f(&mut own);
        done.send(()).unwrap();
    });
    handle.send(task).unwrap();
    end.recv().expect("the task has panicked");
}

#[test]
fn a_task_selects_its_own_end_beside_arms_that_can_come_first() {
    for nth in 0..2 {
        let (_other, never) = channel::bounded::<()>(1);
        with_own_handle(nth, move |own| {
            select! {
                join(*own) -> _ => unreachable!(),
                recv(never) -> _ => unreachable!(),
                default => {}
            }
            select! {
                join(*own) -> _ => unreachable!(),
                timeout(Duration::from_millis(1)) => {}
            }
        });
        let (sender, receiver) = channel::rendezvous();
        with_own_handle(nth, move |own| {
            let other = coroutine::spawn(move || sender.send(7));
            select! {
                join(*own) -> _ => unreachable!(),
                recv(receiver) -> message => assert_eq!(message, Ok(7)),
                timeout(LONG) => unreachable!(),
            }
            other.join().unwrap().unwrap();
        });
    }
}
