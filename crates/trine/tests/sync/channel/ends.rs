//! Ends that are dropped, and the values in the channel.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier};

use trine::sync::channel::{self, RecvError, SendError, Sender};
use trine::{coroutine, thread};

use crate::common::places::spawn_nth;

use super::flavours;
use crate::common::waiting::until;

/// A value that counts its living instances.
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
        let sending = spawn_nth(nth, move || sender.send(1));
        gate.wait();
        task.join().unwrap();
        assert_eq!(sending.join().unwrap(), Err(SendError::Disconnected(1)));

        let (sender, receiver) = channel::bounded::<u8>(1);
        let receiving = spawn_nth(nth, move || receiver.recv());
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
fn values_are_dropped_once() {
    for (flavour, (sender, receiver)) in flavours::<Counted>() {
        let alive = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|nth| {
                let (sender, alive) = (sender.clone(), Arc::clone(&alive));
                spawn_nth(nth, move || while sender.send(Counted::new(&alive)).is_ok() {})
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
    assert_eq!(alive.load(SeqCst), 0, "without a receiver it does not wait for the sender's end");
}

#[test]
fn a_task_that_panics_leaves_the_channel_whole() {
    for nth in 0..2 {
        let (sender, receiver) = channel::bounded(1);
        let taking = receiver.clone();
        let task = spawn_nth(nth, move || {
            let first: u32 = taking.recv().unwrap();
            panic!("with {first} in hand");
        });
        let sending = spawn_nth(nth + 1, move || (0..100).try_for_each(|n| sender.send(n)));
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
