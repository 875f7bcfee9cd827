//! Loops of operations that never wait, beside another coroutine of the same carrier.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use trine::sync::channel::{self, Receiver};
use trine::sync::{Barrier, Event, Mutex, RwLock, Semaphore, select};
use trine::{coroutine, future, thread};

/// More operations than any turn has.
const MANY: usize = 100_000;

/// Makes `operation` again and again until another coroutine of this thread has run.
fn lets_others_run(name: &str, mut operation: impl FnMut()) {
    let has_run = Rc::new(Cell::new(false));
    let flag = Rc::clone(&has_run);
    let other = coroutine::spawn_local(move || flag.set(true));
    let others_ran = (0..MANY).any(|_| {
        operation();
        has_run.get()
    });
    assert!(others_ran, "{name}: another coroutine has not run in {MANY} operations");
    other.join().unwrap();
}

/// Runs `f` in a coroutine, and on a thread that has local coroutines.
fn beside_coroutines(f: impl Fn() + Clone + Send + 'static) {
    coroutine::spawn(f.clone()).join().unwrap();
    thread::spawn(f).join().unwrap();
}

#[test]
fn loops_around_channels_let_others_run() {
    beside_coroutines(|| {
        let (sender, receiver) = channel::unbounded();
        lets_others_run("send", || sender.send(()).unwrap());
        lets_others_run("len", || assert_ne!(sender.len(), 0));
        lets_others_run("recv", || {
            sender.send(()).unwrap();
            receiver.recv().unwrap();
        });
        lets_others_run("iter", || {
            sender.send(()).unwrap();
            receiver.iter().next().unwrap();
        });
        lets_others_run("recv_timeout", || {
            sender.send(()).unwrap();
            receiver.recv_timeout(Duration::ZERO).unwrap();
        });
        let (sender, receiver) = channel::bounded(1);
        lets_others_run("try_recv", || assert!(receiver.try_recv().is_err()));
        lets_others_run("try_iter", || assert_eq!(receiver.try_iter().next(), None));
        lets_others_run("is_empty", || assert!(receiver.is_empty()));
        sender.send(()).unwrap();
        lets_others_run("try_send", || assert!(sender.try_send(()).is_err()));
        lets_others_run("is_full", || assert!(sender.is_full()));
    });
}

#[test]
fn loops_around_a_select_let_others_run() {
    beside_coroutines(|| {
        let (_a, from_a) = channel::bounded::<()>(1);
        let (b, from_b) = channel::unbounded();
        lets_others_run("default", || {
            select! {
                recv(from_a) -> _ => unreachable!(),
                recv(from_b) -> _ => unreachable!(),
                default => {}
            }
        });
        lets_others_run("always ready", || {
            select! {
                recv(from_a) -> _ => unreachable!(),
                send(b, ()) -> sent => sent.unwrap(),
            }
        });
        let mut endless = coroutine::spawn(move || from_b.iter().count());
        lets_others_run("join", || {
            select! {
                join(endless) -> _ => unreachable!(),
                default => {}
            }
        });
        endless.cancel();
    });
}

#[test]
fn loops_around_locks_let_others_run() {
    beside_coroutines(|| {
        let mutex = Mutex::new(0);
        lets_others_run("lock", || *mutex.lock() += 1);
        let guard = mutex.lock();
        lets_others_run("try_lock", || assert!(mutex.try_lock().is_none()));
        drop(guard);
        let lock = RwLock::new(0);
        lets_others_run("write", || *lock.write() += 1);
        lets_others_run("read", || assert_ne!(*lock.read(), 0));
        lets_others_run("read_timeout", || drop(lock.read_timeout(Duration::ZERO).unwrap()));
        let guard = lock.write();
        lets_others_run("try_read", || assert!(lock.try_read().is_none()));
        lets_others_run("try_write", || assert!(lock.try_write().is_none()));
        drop(guard);
        let semaphore = Semaphore::new(1);
        lets_others_run("acquire", || drop(semaphore.acquire()));
        lets_others_run("available_permits", || assert_eq!(semaphore.available_permits(), 1));
        let permit = semaphore.acquire();
        lets_others_run("try_acquire", || assert!(semaphore.try_acquire().is_none()));
        drop(permit);
        let event = Event::new();
        lets_others_run("is_set", || assert!(!event.is_set()));
        event.set();
        lets_others_run("wait", || event.wait());
        let barrier = Barrier::new(1);
        lets_others_run("barrier", || assert!(barrier.wait().is_leader()));
    });
}

#[test]
fn loops_that_look_at_a_task_let_others_run() {
    beside_coroutines(|| {
        let task = thread::spawn(|| trine::time::sleep(Duration::MAX));
        lets_others_run("is_finished", || assert!(!task.is_finished()));
        lets_others_run("state", || assert_ne!(task.state(), trine::State::Terminated));
        task.cancel();
    });
}

#[test]
fn few_operations_between_two_waits_leave_no_turn_to_others() {
    coroutine::spawn(|| {
        let turns = Rc::new(Cell::new(0));
        let count = Rc::clone(&turns);
        let other = coroutine::spawn_local(move || {
            while count.get() < 50 {
                count.set(count.get() + 1);
                coroutine::yield_now();
            }
        });
        let (_sender, receiver) = channel::bounded::<()>(1);
        while turns.get() < 50 {
            coroutine::yield_now();
            let before = turns.get();
            (0..100).for_each(|_| assert!(receiver.try_recv().is_err()));
            assert_eq!(turns.get(), before);
        }
        other.join().unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn a_destructor_during_an_unwinding_leaves_no_turn_to_others() {
    struct Looks(Rc<Cell<bool>>, Receiver<()>);

    impl Drop for Looks {
        fn drop(&mut self) {
            (0..MANY).for_each(|_| assert!(self.1.try_recv().is_err()));
            assert!(!self.0.get());
        }
    }

    coroutine::spawn(|| {
        let has_run = Rc::new(Cell::new(false));
        let flag = Rc::clone(&has_run);
        let other = coroutine::spawn_local(move || flag.set(true));
        let (_sender, receiver) = channel::bounded(1);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _looks = Looks(has_run, receiver);
            std::panic::resume_unwind(Box::new("as expected"));
        }));
        assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"as expected"));
        other.join().unwrap();
    })
    .join()
    .unwrap();
}

/// Awaits `future`, and counts its polls that are pending.
async fn counting<F: Future>(pending: &mut usize, future: F) -> F::Output {
    let mut future = pin!(future);
    let counted = poll_fn(|context| {
        let poll = future.as_mut().poll(context);
        *pending += usize::from(poll.is_pending());
        poll
    });
    counted.await
}

/// Sends and receives many messages, which never has to wait. Returns the number of pending polls.
async fn pending_polls() -> usize {
    let (sender, receiver) = channel::unbounded();
    let mut pending = 0;
    for _ in 0..1000 {
        counting(&mut pending, sender.send_async(())).await.unwrap();
        counting(&mut pending, receiver.recv_async()).await.unwrap();
    }
    pending
}

#[test]
fn a_neighbour_that_waits_in_a_destructor_keeps_no_others_from_their_turn() {
    /// Waits when it is dropped.
    struct Waits(Rc<Event>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.wait();
        }
    }

    coroutine::spawn(|| {
        let gate = Rc::new(Event::new());
        let waits = Waits(Rc::clone(&gate));
        let unwinds = coroutine::spawn_local(move || {
            let _waits = waits;
            std::panic::resume_unwind(Box::new(()))
        });
        while unwinds.state() != trine::State::Waiting {
            coroutine::yield_now();
        }
        lets_others_run("try_recv", || assert!(!gate.is_set()));
        gate.set();
        let unwound: Result<(), _> = unwinds.join();
        assert!(unwound.unwrap_err().is_panic());
    })
    .join()
    .unwrap();
}

#[test]
fn a_thread_has_a_whole_turn_after_its_local_coroutines() {
    let event = Rc::new(Event::new());
    let turns = Rc::new(Cell::new(0));
    let local = coroutine::spawn_local({
        let (event, turns) = (Rc::clone(&event), Rc::clone(&turns));
        move || {
            while turns.get() < 3 {
                turns.set(turns.get() + 1);
                // All that a turn has.
                (0..128).for_each(|_| assert!(!event.is_set()));
                coroutine::yield_now();
            }
        }
    });
    for _ in 0..2 {
        coroutine::yield_now();
        let before = turns.get();
        (0..100).for_each(|_| assert!(!event.is_set()));
        assert_eq!(turns.get(), before, "the thread has used up no turn");
    }
    local.join().unwrap();
}

#[test]
fn a_future_task_that_always_finds_a_message_gives_others_a_turn() {
    assert_ne!(future::spawn(pending_polls()).join().unwrap(), 0);
    // Elsewhere `Pending` would be taken for an answer.
    assert_eq!(future::block_on(pending_polls()), 0);
    assert_eq!(coroutine::spawn(|| future::block_on(pending_polls())).join().unwrap(), 0);
}
