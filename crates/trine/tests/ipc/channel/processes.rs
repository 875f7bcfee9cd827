//! Between processes, any of which may die.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};

use trine::ipc::channel::{AttachError, Receiver, Sender};
use trine::{ipc, thread};

use super::{LONG, Message, descriptor, until_refused};
use crate::common::places::PLACES;
use crate::common::processes::stay_for_ever;
use crate::common::seeds::Rng;
use crate::common::waiting::until_waiting;
use crate::common::{again, beside, child, role, run, this_program};

fn start(role: &str, end: OwnedFd) -> Child {
    let mut command = again(role);
    command.stdin(Stdio::from(end)).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().unwrap()
}

/// Returns the end that the child has inherited.
fn own_end() -> OwnedFd {
    std::io::stdin().as_fd().try_clone_to_owned().unwrap()
}

fn ended_well(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_child_answers() {
    const ROUNDS: u64 = 2000;
    if role().is_some() {
        let there = Receiver::<(Option<u64>, Option<Sender<u64>>)>::try_from(own_end());
        // An end cannot travel in a message yet; the type alone can be named.
        assert!(matches!(there, Err(AttachError::OtherType)));
        return;
    }
    let (sender, receiver) = ipc::channel::<u64>(8).unwrap();
    ended_well(start("other", descriptor(receiver)));
    until_refused(&sender);

    let (to, requests) = ipc::channel::<u64>(8).unwrap();
    let (answers, from) = ipc::channel::<u64>(8).unwrap();
    let requests = descriptor(requests);
    let echo = child(&this_program(), &beside("echo_of_a_child"), "echo")
        .stdin(Stdio::from(requests))
        .stderr(Stdio::from(descriptor(answers)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for n in 0..ROUNDS {
        to.send(n).unwrap();
        assert_eq!(from.recv().unwrap(), n + 1);
    }
    drop(to);
    ended_well(echo);
    assert!(from.recv().unwrap_err().is_disconnected());
}

#[test]
fn echo_of_a_child() {
    if role().is_some() {
        let requests = Receiver::<u64>::try_from(own_end()).unwrap();
        let answers = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
        let answers = Sender::<u64>::try_from(answers).unwrap();
        for request in &requests {
            answers.send(request.unwrap() + 1).unwrap();
        }
    }
}

#[test]
fn a_killed_sender_is_told_at_once_to_whoever_waits() {
    if role().is_some() {
        let sender = Sender::<u64>::try_from(own_end()).unwrap();
        sender.send(7).unwrap();
        stay_for_ever()
    }
    for place in PLACES {
        let (sender, receiver) = ipc::channel::<u64>(4).unwrap();
        let mut child = start("sender", descriptor(sender));
        assert_eq!(receiver.recv().unwrap(), 7);
        let wait = move || receiver.recv().unwrap_err().is_disconnected();
        let task = place.spawn(wait);
        until_waiting(&task);
        kill(&mut child);
        assert!(task.join_timeout(LONG).unwrap().unwrap());
    }
}

#[test]
fn senders_that_are_killed_at_any_moment_lose_no_message_of_others() {
    type Sent = (u32, u64, Vec<u8>);
    if role().is_some() {
        let sender = Sender::<Sent>::try_from(own_end()).unwrap();
        for n in 0.. {
            let bytes = vec![n as u8; if n % 3 == 0 { 1000 } else { n as usize % 50 }];
            sender.send((std::process::id(), n, bytes)).unwrap();
        }
    }
    let mut rng = Rng(1);
    for round in 0..6 {
        let capacity = [1, 2, 16][round % 3];
        let (sender, receiver) = ipc::channel_with::<Sent>(capacity, 2000).unwrap();
        let mut children: Vec<Child> =
            (0..2).map(|_| start("sender", descriptor(sender.clone()))).collect();
        drop(sender);
        let mut next = std::collections::HashMap::new();
        let mut take = |message: Sent| {
            let (who, n, bytes) = message;
            let next = next.entry(who).or_insert(0);
            assert_eq!(n, *next, "each once, and in order");
            assert!(bytes.iter().all(|&byte| byte == n as u8));
            *next += 1;
        };
        for child in &mut children {
            for _ in 0..rng.below(1000) {
                take(receiver.recv_timeout(LONG).unwrap());
            }
            child.kill().unwrap();
        }
        loop {
            match receiver.recv_timeout(LONG) {
                Ok(message) => take(message),
                Err(error) if error.is_disconnected() => break,
                Err(error) => panic!("{error}"),
            }
        }
        for mut child in children {
            child.wait().unwrap();
        }
    }
}

#[test]
fn receivers_that_are_killed_at_any_moment_lose_one_message_each() {
    if role().is_some() {
        let receiver = Receiver::<(u64, Vec<u8>)>::try_from(own_end()).unwrap();
        let answers = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
        let answers = Sender::<u64>::try_from(answers).unwrap();
        for message in &receiver {
            answers.send(message.unwrap().0).unwrap();
        }
        return;
    }
    let start_with = |receiver: Receiver<(u64, Vec<u8>)>, answers: Sender<u64>| {
        let mut command = again("receiver");
        command.stdin(Stdio::from(descriptor(receiver))).stdout(Stdio::null());
        command.stderr(Stdio::from(descriptor(answers))).spawn().unwrap()
    };
    const EACH: u64 = 1500;
    let mut rng = Rng(2);
    for round in 0..6 {
        let capacity = [1, 2, 16][round % 3];
        let (sender, receiver) = ipc::channel_with(capacity, 2000).unwrap();
        let (answers, answered) = ipc::channel::<u64>(4).unwrap();
        let mut children: Vec<Child> =
            (0..3).map(|_| start_with(receiver.clone(), answers.clone())).collect();
        drop((receiver, answers));
        let sent = thread::spawn(move || {
            for n in 0..EACH {
                let bytes = if n % 3 == 0 { vec![1; 1000] } else { Vec::new() };
                sender.send_timeout((n, bytes), LONG).unwrap();
            }
        });
        let mut seen = vec![false; EACH as usize];
        let mut count = 0;
        let mut take = |n: u64| {
            assert!(!std::mem::replace(&mut seen[n as usize], true), "no message comes twice");
            count += 1;
        };
        for child in &mut children[..2] {
            for _ in 0..rng.below(500) {
                take(answered.recv_timeout(LONG).unwrap());
            }
            kill(child);
        }
        loop {
            match answered.recv_timeout(LONG) {
                Ok(n) => take(n),
                Err(error) if error.is_disconnected() => break,
                Err(error) => panic!("{error}"),
            }
        }
        sent.join().unwrap();
        assert!(count >= EACH - 2, "{count}: one killed holds one message");
        ended_well(children.pop().unwrap());
    }
}

#[test]
fn ends_are_arguments_and_results_of_process_tasks() {
    use trine::process;
    let (sender, requests) = ipc::channel::<u64>(4).unwrap();
    let (answers, receiver) = ipc::channel::<Message>(4).unwrap();
    let task = process::spawn((requests, answers), |(requests, answers)| {
        let (requests, answers): (Receiver<u64>, Sender<Message>) = (requests, answers);
        for request in &requests {
            answers.send(Message::Number(request.unwrap() + 1)).unwrap();
        }
        answers
    });
    for n in 0..1000 {
        sender.send(n).unwrap();
        assert_eq!(receiver.recv().unwrap(), Message::Number(n + 1));
    }
    drop(sender);
    let answers: Sender<Message> = task.join().unwrap();
    answers.send(Message::Nothing).unwrap();
    assert_eq!(receiver.recv().unwrap(), Message::Nothing);
    drop(answers);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn a_crash_of_a_process_task_leaves_the_channel_whole() {
    use trine::process;
    let (sender, receiver) = ipc::channel::<u64>(4).unwrap();
    let task = process::spawn(sender.clone(), |sender: Sender<u64>| -> () {
        for n in 0.. {
            sender.send(n).unwrap();
            if n == 100 {
                std::process::abort();
            }
        }
    });
    for n in 0..=100 {
        assert_eq!(receiver.recv().unwrap(), n);
    }
    assert!(task.join().unwrap_err().is_crash());
    sender.send(7).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    drop(sender);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn an_end_that_a_task_returns_is_the_last_of_its_side() {
    fn take_one(receiver: Receiver<u32>) -> Receiver<u32> {
        receiver.recv().unwrap();
        receiver
    }

    // Alone: a program that another test starts has copies of all descriptors until its `exec`.
    if role().is_none() {
        run(again("alone"));
        return;
    }
    let pool = trine::process::Pool::new(1);
    for round in 0..200 {
        let (sender, receiver) = ipc::channel(8).unwrap();
        let task = if round % 2 == 0 {
            trine::process::spawn(receiver, take_one)
        } else {
            pool.spawn(receiver, take_one)
        };
        sender.send(1).unwrap();
        drop(task.join().unwrap());
        let error = sender.try_send(2).expect_err("no receiver is left");
        assert!(error.is_disconnected(), "round {round}: {error}");
    }
}
