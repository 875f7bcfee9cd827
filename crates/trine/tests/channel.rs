//! Channels, between coroutines, threads and both.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use trine::sync::channel::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError, TrySendError,
};
use trine::{State, Task, coroutine, future, thread, time};

mod common;

use common::waiting::{until, until_waiting};

type Pair<T> = (Sender<T>, Receiver<T>);

/// Every flavour, by name.
fn flavours<T>() -> Vec<(&'static str, Pair<T>)> {
    vec![
        ("rendezvous", channel::rendezvous()),
        ("bounded(1)", channel::bounded(1)),
        ("bounded(2)", channel::bounded(2)),
        ("bounded(64)", channel::bounded(64)),
        ("unbounded", channel::unbounded()),
    ]
}

/// Runs `f` as a coroutine or on a thread of its own, in turn.
fn spawn<T: Send + 'static>(nth: usize, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    if nth.is_multiple_of(2) { coroutine::spawn(f) } else { thread::spawn(f) }
}

/// A value that counts how many of its kind are alive.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Counted {
        alive.fetch_add(1, SeqCst);
        Counted(Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn every_message_arrives_once_and_those_of_one_sender_in_order() {
    const EACH: usize = 500;
    for (senders, receivers) in [(1, 1), (1, 4), (4, 1), (4, 4)] {
        // All coroutines, all threads, or in turn.
        for (step, offset) in [(2, 0), (2, 1), (1, 0)] {
            for (flavour, (sender, receiver)) in flavours::<(usize, usize)>() {
                let sending: Vec<_> = (0..senders)
                    .map(|who| {
                        let sender = sender.clone();
                        spawn(who * step + offset, move || {
                            for n in 0..EACH {
                                sender.send((who, n)).unwrap();
                            }
                        })
                    })
                    .collect();
                let receiving: Vec<Task<Vec<_>>> = (0..receivers)
                    .map(|who| {
                        let receiver = receiver.clone();
                        spawn(who * step + offset, move || receiver.into_iter().collect())
                    })
                    .collect();
                drop((sender, receiver));
                sending.into_iter().for_each(|task| task.join().unwrap());
                let mut seen = HashMap::new();
                for task in receiving {
                    let got = task.join().unwrap();
                    let mut last = HashMap::new();
                    for (who, n) in got {
                        let before = last.insert(who, n);
                        assert!(before < Some(n), "{flavour}: {n} of {who} after {before:?}");
                        *seen.entry((who, n)).or_insert(0) += 1;
                    }
                }
                assert_eq!(seen.len(), senders * EACH, "{flavour}");
                assert!(seen.values().all(|times| *times == 1), "{flavour}");
            }
        }
    }
}

#[test]
fn main_takes_part_like_any_other() {
    let (sender, receiver) = channel::bounded(1);
    let (back, answers) = channel::rendezvous();
    let task = coroutine::spawn(move || {
        for n in &receiver {
            back.send(n * 2).unwrap();
        }
    });
    for n in 0..1000 {
        sender.send(n).unwrap();
        assert_eq!(answers.recv(), Ok(n * 2));
    }
    drop(sender);
    task.join().unwrap();
    assert_eq!(answers.recv(), Err(RecvError::Disconnected));
}

#[test]
fn what_cannot_be_done_at_once_says_so() {
    let (sender, receiver) = channel::bounded(1);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!((receiver.is_empty(), receiver.is_full(), receiver.len()), (true, false, 0));
    assert_eq!(sender.try_send(1), Ok(()));
    assert_eq!((sender.is_empty(), sender.is_full(), sender.len()), (false, true, 1));
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(sender.try_send(3), Ok(()));
    drop(sender);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [3]);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(receiver.recv(), Err(RecvError::Disconnected));

    let (sender, receiver) = channel::unbounded();
    assert_eq!((sender.capacity(), sender.is_full()), (None, false));
    drop(receiver);
    assert_eq!(sender.try_send(4), Err(TrySendError::Disconnected(4)));
    assert_eq!(sender.send(5), Err(SendError::Disconnected(5)));

    let (sender, receiver) = channel::bounded(0);
    assert_eq!((sender.capacity(), sender.is_full(), sender.is_empty()), (Some(0), true, true));
    assert_eq!(sender.try_send(6), Err(TrySendError::Full(6)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(format!("{sender:?}"), "Sender { len: 0, capacity: 0, .. }");
}

#[test]
fn a_timeout_hands_the_value_back_and_the_receiver_never_sees_it() {
    for (flavour, (sender, receiver)) in [("0", channel::bounded(0)), ("1", channel::bounded(1))] {
        for nth in 0..2 {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            let task = spawn(nth, move || {
                let begin = Instant::now();
                let time = Duration::from_millis(2);
                assert_eq!(receiver.recv_timeout(time), Err(RecvTimeoutError::Timeout));
                if sender.capacity() == Some(1) {
                    sender.send("fills it").unwrap();
                }
                let error = sender.send_timeout("late", time).unwrap_err();
                assert!(error.is_timeout());
                assert_eq!(error.into_inner(), "late");
                assert!(begin.elapsed() >= 2 * time);
                receiver.try_iter().collect::<Vec<_>>()
            });
            let left = task.join().unwrap();
            assert!(!left.contains(&"late"), "{flavour}: {left:?}");
        }
    }
}

#[test]
fn sends_that_time_out_and_sends_that_arrive_add_up() {
    for capacity in [0, 1] {
        let (sender, receiver) = channel::bounded(capacity);
        let sending: Vec<_> = (0..4)
            .map(|nth| {
                let sender = sender.clone();
                spawn(nth, move || {
                    let mut sent = 0_u64;
                    for n in 1..=300 {
                        match sender.send_timeout(n, Duration::from_micros(n % 40)) {
                            Ok(()) => sent += n,
                            Err(error) => {
                                assert_eq!((error.is_timeout(), error.into_inner()), (true, n))
                            }
                        }
                    }
                    sent
                })
            })
            .collect();
        let receiving: Vec<_> = (0..2)
            .map(|nth| {
                let receiver = receiver.clone();
                spawn(nth, move || {
                    let mut received = 0;
                    loop {
                        match receiver.recv_timeout(Duration::from_micros(30)) {
                            Ok(n) => received += n,
                            Err(RecvTimeoutError::Timeout) => coroutine::yield_now(),
                            Err(_) => return received,
                        }
                    }
                })
            })
            .collect();
        drop((sender, receiver));
        let sum = |tasks: Vec<Task<u64>>| tasks.into_iter().map(|t| t.join().unwrap()).sum::<u64>();
        assert_eq!(sum(sending), sum(receiving), "capacity {capacity}");
    }
}

#[test]
fn a_rendezvous_is_over_when_the_value_was_taken() {
    for nth in 0..2 {
        let (sender, receiver) = channel::rendezvous();
        let taken = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&taken);
        let task = spawn(nth, move || {
            for n in 1..=500 {
                // A receiver that waits is given the value, so it may not have run yet; but it has
                // asked for it, after it counted the one before.
                sender.send(n).unwrap();
                assert!(seen.load(SeqCst) >= n - 1);
            }
        });
        for n in receiver {
            taken.store(n, SeqCst);
        }
        task.join().unwrap();
    }
}

#[test]
fn who_waits_learns_that_the_other_side_is_gone() {
    for nth in 0..2 {
        let (sender, receiver) = channel::bounded(1);
        sender.send(0).unwrap();
        let gate = Arc::new(Barrier::new(2));
        let opened = Arc::clone(&gate);
        let task = thread::spawn(move || {
            opened.wait();
            drop(receiver);
        });
        let sending = spawn(nth, move || sender.send(1));
        gate.wait();
        task.join().unwrap();
        assert_eq!(sending.join().unwrap(), Err(SendError::Disconnected(1)));

        let (sender, receiver) = channel::bounded::<u8>(1);
        let receiving = spawn(nth, move || receiver.recv());
        until(|| receiving.state() == trine::State::Waiting);
        drop(sender);
        assert_eq!(receiving.join().unwrap(), Err(RecvError::Disconnected));
    }
}

#[test]
fn ten_thousand_that_wait_are_released_at_once() {
    let (sender, receiver) = channel::unbounded::<u8>();
    let tasks: Vec<_> = (0..10_000)
        .map(|_| {
            let receiver = receiver.clone();
            coroutine::spawn(move || receiver.recv())
        })
        .collect();
    until(|| tasks.iter().all(|task| task.state() == trine::State::Waiting));
    drop(sender);
    for task in tasks {
        assert_eq!(task.join().unwrap(), Err(RecvError::Disconnected));
    }

    let (sender, receiver) = channel::rendezvous();
    let tasks: Vec<_> = (0..10_000)
        .map(|n| {
            let sender = sender.clone();
            coroutine::spawn(move || sender.send(n))
        })
        .collect();
    until(|| tasks.iter().all(|task| task.state() == trine::State::Waiting));
    drop(receiver);
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), Err(SendError::Disconnected(n)));
    }
}

#[test]
fn those_that_wait_are_served_in_turn() {
    let (sender, receiver) = channel::rendezvous();
    let mut tasks = Vec::new();
    for n in 0..10 {
        let sender = sender.clone();
        let task = coroutine::spawn(move || sender.send(n).unwrap());
        until(|| task.state() == trine::State::Waiting);
        tasks.push(task);
    }
    drop(sender);
    assert!(receiver.into_iter().eq(0..10));
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn values_are_dropped_once() {
    for (flavour, (sender, receiver)) in flavours::<Counted>() {
        let alive = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|nth| {
                let (sender, alive) = (sender.clone(), Arc::clone(&alive));
                spawn(nth, move || while sender.send(Counted::new(&alive)).is_ok() {})
            })
            .collect();
        drop(sender);
        let received: Vec<_> = receiver.iter().take(200).collect();
        assert!(alive.load(SeqCst) >= 200);
        drop(receiver);
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(alive.load(SeqCst), 200, "{flavour}: what the channel held is gone");
        drop(received);
        assert_eq!(alive.load(SeqCst), 0, "{flavour}");
    }
}

#[test]
fn messages_outlive_their_senders_and_die_with_the_last_receiver() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = channel::unbounded();
    for _ in 0..3 {
        sender.send(Counted::new(&alive)).unwrap();
    }
    let second = receiver.clone();
    drop((sender, receiver));
    assert_eq!(alive.load(SeqCst), 3);
    drop(second.recv());
    assert_eq!(alive.load(SeqCst), 2);
    drop(second);
    assert_eq!(alive.load(SeqCst), 0);

    let (sender, receiver) = channel::unbounded();
    sender.send(Counted::new(&alive)).unwrap();
    drop(receiver);
    assert_eq!(
        alive.load(SeqCst),
        0,
        "nobody will take it, so it does not wait for the sender's end"
    );
}

#[test]
fn a_task_that_panics_leaves_the_channel_whole() {
    for nth in 0..2 {
        let (sender, receiver) = channel::bounded(1);
        let taking = receiver.clone();
        let task = spawn(nth, move || {
            let first: u32 = taking.recv().unwrap();
            panic!("with {first} in hand");
        });
        let sending = spawn(nth + 1, move || (0..100).try_for_each(|n| sender.send(n)));
        assert!(task.join().unwrap_err().is_panic());
        assert_eq!(receiver.iter().count(), 99);
        sending.join().unwrap().unwrap();
    }
}

#[test]
fn a_message_may_hold_a_channel_and_its_drop_may_use_one() {
    struct Tells(Sender<&'static str>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    let (tell, told) = channel::bounded(4);
    let (sender, receiver) = channel::bounded(4);
    sender.send(Tells(tell.clone())).unwrap();
    sender.send(Tells(tell)).unwrap();
    drop(receiver);
    assert_eq!(told.iter().collect::<Vec<_>>(), ["dropped"; 2]);
}

#[test]
fn futures_that_are_dropped_lose_nothing() {
    for (flavour, (sender, receiver)) in flavours() {
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(receiver.recv_async());
            let mut second = pin!(receiver.recv_async());
            assert!(first.as_mut().poll(&mut context).is_pending());
            assert!(second.as_mut().poll(&mut context).is_pending());
            sender.try_send(1).unwrap();
            // Both are dropped; the first was given the message, which passes through the second.
        }
        if sender.capacity() == Some(0) {
            // There is room for a message that comes back, and it is the next.
            assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        }
        assert_eq!(receiver.try_recv(), Ok(1), "{flavour}");
        assert!(receiver.try_recv().unwrap_err().is_empty());

        while sender.capacity().is_some() && sender.try_send(0).is_ok() {}
        if sender.capacity().is_some() {
            let mut late = Box::pin(sender.send_async(3));
            assert!(late.as_mut().poll(&mut context).is_pending());
            drop(late);
            assert!(receiver.try_iter().all(|n| n == 0), "{flavour}: it was taken back");
        }
    }
}

#[test]
fn async_and_plain_code_share_a_channel() {
    for (flavour, (sender, receiver)) in flavours::<u64>() {
        let sending: Vec<_> = (0..4)
            .map(|nth| {
                let sender = sender.clone();
                spawn(nth, move || {
                    for n in 1..=300 {
                        if nth < 2 {
                            sender.send(n).unwrap();
                        } else {
                            future::block_on(sender.send_async(n)).unwrap();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let plain = receiver.clone();
        let task = coroutine::spawn(move || plain.iter().sum::<u64>());
        let sum = future::block_on(async {
            let mut sum = 0;
            while let Ok(n) = receiver.recv_async().await {
                sum += n;
            }
            sum
        });
        assert_eq!(sum + task.join().unwrap(), 4 * 300 * 301 / 2, "{flavour}");
        sending.into_iter().for_each(|task| task.join().unwrap());
    }
}

#[test]
fn a_cancelled_send_hands_its_value_back() {
    for capacity in [0, 1] {
        for nth in 0..2 {
            let (sender, receiver) = channel::bounded(capacity);
            while sender.try_send("fills it").is_ok() {}
            let sending = spawn(nth, move || sender.send("late"));
            until_waiting(&sending);
            sending.cancel_because("no longer wanted");
            let error = sending.join().unwrap().unwrap_err();
            assert_eq!(error.interrupted().unwrap().reason(), Some("no longer wanted"));
            assert_eq!(error.into_inner(), "late");
            assert!(receiver.iter().all(|left| left == "fills it"));
        }
    }
}

#[test]
fn a_cancelled_receive_says_so_and_an_iteration_unwinds() {
    for capacity in [0, 1] {
        for nth in 0..2 {
            let (sender, receiver) = channel::bounded::<u8>(capacity);
            let own = receiver.clone();
            let receiving = spawn(nth, move || own.recv());
            until_waiting(&receiving);
            receiving.cancel();
            let error = receiving.join().unwrap().unwrap_err();
            assert!(error.interrupted().unwrap().is_cancelled());

            let own = receiver.clone();
            let iterating = spawn(nth, move || own.into_iter().count());
            until_waiting(&iterating);
            iterating.cancel();
            assert!(iterating.join().unwrap_err().is_cancelled());

            // They have left the queue.
            assert_eq!(sender.try_send(1).is_ok(), capacity == 1);
            assert_eq!(receiver.try_recv().is_ok(), capacity == 1);
        }
    }
}

#[test]
fn a_cancelled_task_sends_and_receives_what_needs_no_waiting() {
    for nth in 0..2 {
        let (sender, receiver) = channel::bounded(2);
        sender.send(1).unwrap();
        let task = spawn(nth, move || {
            while !trine::cancelled() {
                coroutine::yield_now();
            }
            assert_eq!(receiver.recv(), Ok(1));
            sender.send(2).unwrap();
            assert_eq!(receiver.iter().next(), Some(2));
            let error = receiver.recv().unwrap_err();
            assert!(error.interrupted().unwrap().is_cancelled());
        });
        until(|| task.state() != State::New);
        task.cancel();
        task.join().unwrap();
    }
}

#[test]
fn a_timeout_around_them_ends_the_waits() {
    const SHORT: Duration = Duration::from_millis(2);
    for nth in 0..2 {
        let task = spawn(nth, || {
            let (sender, receiver) = channel::rendezvous::<u8>();
            let ended = time::timeout(SHORT, || receiver.recv()).unwrap();
            assert!(ended.unwrap_err().interrupted().unwrap().is_timeout());
            let ended = time::timeout(SHORT, || receiver.recv_timeout(Duration::MAX)).unwrap();
            assert!(ended.unwrap_err().interrupted().unwrap().is_timeout());
            let ended = time::timeout(SHORT, || sender.send(3)).unwrap().unwrap_err();
            assert!(ended.interrupted().unwrap().is_timeout());
            assert_eq!(ended.into_inner(), 3);
            assert!(time::timeout(SHORT, || receiver.iter().next()).is_err());
            assert!(sender.try_send(4).unwrap_err().is_full(), "none of them waits any more");
        });
        task.join().unwrap();
    }
}

#[test]
fn a_cancellation_and_a_message_meet_at_all_moments() {
    for round in 0..2000 {
        let (sender, receiver) = channel::bounded(round % 3);
        let own = receiver.clone();
        let iterates = round % 4 < 2;
        let receiving =
            spawn(round, move || if iterates { own.iter().next() } else { own.recv().ok() });
        if round % 8 < 4 {
            until(|| receiving.state() == State::Waiting);
        }
        let sending = spawn(round / 2, move || sender.send(round));
        receiving.cancel();
        let taken = receiving.join().unwrap_or(None);
        // Disconnects at a rendezvous, unless the other has it.
        let left = receiver.recv_timeout(Duration::from_secs(if taken.is_some() { 0 } else { 60 }));
        drop(receiver);
        match (taken, left) {
            (Some(message), Err(_)) | (None, Ok(message)) => assert_eq!(message, round),
            both => panic!("round {round}: {both:?}"),
        }
        sending.join().unwrap().unwrap();
    }
}

#[test]
fn a_cancelled_send_and_its_receiver_meet_at_all_moments() {
    for round in 0..2000 {
        let (sender, receiver) = channel::bounded(round % 2);
        while sender.try_send(usize::MAX).is_ok() {}
        let sending = spawn(round, move || sender.send(round));
        if round % 8 < 4 {
            until(|| sending.state() == State::Waiting || sending.is_finished());
        }
        let receiving = spawn(round / 2, move || receiver.iter().filter(|n| *n == round).count());
        sending.cancel();
        let is_sent = match sending.join() {
            Ok(Ok(())) => 1,
            Ok(Err(error)) => {
                assert!(error.interrupted().is_some());
                assert_eq!(error.into_inner(), round);
                0
            }
            // It had not begun.
            Err(error) => {
                assert!(error.is_cancelled());
                0
            }
        };
        assert_eq!(receiving.join().unwrap(), is_sent);
    }
}
