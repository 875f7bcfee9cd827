//! Channels between processes: this test program runs itself as a child, which gets an end as its standard input.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Resource;
use serde::{Deserialize, Serialize};
use trine::ipc::channel::{AttachError, Reason, Receiver, Sender};
use trine::{coroutine, ipc, thread, time};

mod common;

use common::limits::limit_for_now;
use common::places::{PLACES, everywhere};
use common::processes::stay_for_ever;
use common::seeds::Rng;
use common::waiting::until_waiting;
use common::{child, role, this_program};

fn start(name: &str, role: &str, end: OwnedFd) -> Child {
    let mut command: Command = child(&this_program(), name, role);
    command.stdin(Stdio::from(end)).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().unwrap()
}

/// The end that a child has got.
fn own_end() -> OwnedFd {
    std::io::stdin().as_fd().try_clone_to_owned().unwrap()
}

fn descriptor<E: TryInto<OwnedFd, Error = AttachError>>(end: E) -> OwnedFd {
    end.try_into().unwrap()
}

fn ended_well(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Sends until nobody is left. A process that another test starts may hold a copy of the last end until it runs
/// its program.
fn until_refused(sender: &Sender<u64>) {
    loop {
        if let Err(error) = sender.send_timeout(1, LONG) {
            return assert!(error.is_disconnected(), "{error}");
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Number(u64),
    Text { name: String, lines: Vec<String> },
    Bytes(#[serde(with = "bytes")] Vec<u8>),
    Nothing,
}

/// As `serde_bytes`.
mod bytes {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Bytes)
    }
}

fn samples() -> Vec<Message> {
    let mut samples = vec![Message::Nothing, Message::Number(u64::MAX)];
    for len in [0, 1, 90, 100, 105, 106, 107, 108, 109, 110, 111, 112, 113, 200, 5000, 1 << 19] {
        samples.push(Message::Bytes((0..len).map(|n| (n * 7) as u8).collect()));
        let lines = (0..len / 50).map(|n| "line ".repeat(n % 9)).collect();
        samples.push(Message::Text { name: "n".repeat(len % 3000), lines });
    }
    samples
}

#[test]
fn messages_of_all_kinds_and_sizes_arrive_as_they_were() {
    let (sender, receiver) = ipc::channel(3).unwrap();
    let task = thread::spawn(move || {
        for sample in samples() {
            sender.send(sample).unwrap();
        }
    });
    for sample in samples() {
        assert!(receiver.recv().unwrap() == sample);
    }
    task.join().unwrap();
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn a_child_answers() {
    const ROUNDS: u64 = 2000;
    if role().is_some() {
        let there = Receiver::<(Option<u64>, Option<Sender<u64>>)>::try_from(own_end());
        // An end does not travel in a message yet; the type alone shows that it can be named.
        assert!(matches!(there, Err(AttachError::OtherType)));
        return;
    }
    let (sender, receiver) = ipc::channel::<u64>(8).unwrap();
    ended_well(start("a_child_answers", "other", descriptor(receiver)));
    until_refused(&sender);

    let (to, requests) = ipc::channel::<u64>(8).unwrap();
    let (answers, from) = ipc::channel::<u64>(8).unwrap();
    let requests = descriptor(requests);
    let echo = Command::new(this_program())
        .args(["echo_of_a_child", "--exact", "--nocapture", "--test-threads=1"])
        .env("TRINE_TEST_ROLE", "echo")
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
        let name = "a_killed_sender_is_told_at_once_to_whoever_waits";
        let mut child = start(name, "sender", descriptor(sender));
        assert_eq!(receiver.recv().unwrap(), 7);
        let wait = move || receiver.recv().unwrap_err().is_disconnected();
        let task = place.spawn(wait);
        until_waiting(&task);
        kill(&mut child);
        assert!(task.join_timeout(LONG).unwrap().unwrap());
    }
}

#[test]
fn ends_that_are_dropped_are_told_and_what_was_sent_arrives() {
    everywhere(|| {
        let (sender, receiver) = ipc::channel(4).unwrap();
        let more = sender.clone();
        sender.send(1).unwrap();
        drop(sender);
        more.send(2).unwrap();
        assert_eq!((receiver.len(), receiver.capacity()), (2, 4));
        drop(more);
        let all: Vec<i32> = receiver.iter().map(Result::unwrap).collect();
        assert_eq!(all, [1, 2]);
        assert!(receiver.try_recv().unwrap_err().is_disconnected());
        let (sender, receiver) = ipc::channel(1).unwrap();
        sender.send(1).unwrap();
        let task = thread::spawn(move || sender.send(2).unwrap_err());
        until_waiting(&task);
        drop(receiver);
        let error = task.join().unwrap();
        assert!(error.is_disconnected());
        assert_eq!(error.into_inner(), 2);
    });
}

#[test]
fn calls_end_when_their_time_is_up_or_their_task_is_cancelled() {
    everywhere(|| {
        let (sender, receiver) = ipc::channel(1).unwrap();
        let brief = Duration::from_millis(2);
        let begin = Instant::now();
        assert!(receiver.recv_timeout(brief).unwrap_err().is_timeout());
        assert!(begin.elapsed() >= brief);
        assert!(receiver.try_recv().unwrap_err().is_empty());
        sender.send_timeout(1, brief).unwrap();
        assert!(sender.try_send(2).unwrap_err().is_full());
        let error = sender.send_timeout(2, brief).unwrap_err();
        assert!(error.is_timeout() && error.into_inner() == 2);
        assert!(
            time::timeout(brief, || sender.send(2)).unwrap().unwrap_err().interrupted().is_some()
        );
        assert_eq!(receiver.recv().unwrap(), 1);
    });
    for place in PLACES {
        let (sender, receiver) = ipc::channel::<u64>(1).unwrap();
        let task = place.spawn(move || receiver.recv().unwrap_err().interrupted().is_some());
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap());
        until_refused(&sender);
    }
}

#[test]
fn many_send_to_many_and_every_message_arrives_once() {
    const EACH: u64 = 1000;
    for (capacity, bytes) in [(1, 64), (3, 300), (64, 64)] {
        let (sender, receiver) = ipc::channel_with::<(u64, Vec<u8>)>(capacity, 1000).unwrap();
        let senders: Vec<_> = (0..4)
            .map(|own| {
                let sender = sender.clone();
                let send = move || {
                    for n in 0..EACH {
                        sender.send((own * EACH + n, vec![own as u8; n as usize % bytes])).unwrap();
                    }
                };
                if own % 2 == 0 { thread::spawn(send) } else { coroutine::spawn(send) }
            })
            .collect();
        drop(sender);
        let receivers: Vec<_> = (0..4)
            .map(|own| {
                let receiver = receiver.clone();
                let receive = move || {
                    let mut last = [None; 4];
                    let mut got = Vec::new();
                    for message in &receiver {
                        let (n, bytes) = message.unwrap();
                        let from = (n / EACH) as usize;
                        assert!(bytes.iter().all(|&byte| byte as usize == from));
                        assert!(last[from].replace(n) < Some(n), "in the order of their sender");
                        got.push(n);
                    }
                    got
                };
                if own % 2 == 0 { thread::spawn(receive) } else { coroutine::spawn(receive) }
            })
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        let mut all: Vec<u64> =
            receivers.into_iter().flat_map(|task| task.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..4 * EACH));
    }
}

#[test]
fn senders_that_are_killed_at_any_moment_lose_no_message_of_others() {
    let name = "senders_that_are_killed_at_any_moment_lose_no_message_of_others";
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
            (0..2).map(|_| start(name, "sender", descriptor(sender.clone()))).collect();
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
    let name = "receivers_that_are_killed_at_any_moment_lose_one_message_each";
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
        let mut command = child(&this_program(), name, "receiver");
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
fn what_is_no_end_is_told() {
    let refused = |descriptor: OwnedFd| match Sender::<u32>::try_from(descriptor) {
        Err(AttachError::NotAChannel(_)) => {}
        other => panic!("{other:?}"),
    };
    refused(std::fs::File::open("/dev/null").unwrap().into());
    let (reader, writer) = std::io::pipe().unwrap();
    refused(reader.into());
    refused(writer.into());
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    refused(one.into());
    refused(other.into());
    let (sender, receiver) = ipc::channel::<u32>(1).unwrap();
    let end = descriptor(sender);
    let copy = end.try_clone().unwrap();
    drop(Sender::<u32>::try_from(end).unwrap());
    refused(copy);
    let other_side = Sender::<u32>::try_from(descriptor(receiver.clone()));
    assert!(matches!(other_side, Err(AttachError::OtherSide)));
    let other_type = Receiver::<i32>::try_from(descriptor(receiver));
    assert!(matches!(other_type, Err(AttachError::OtherType)));
    for (capacity, bytes) in [(0, 10), (usize::MAX, 10), (1, usize::MAX), (1 << 20, 1 << 31)] {
        let error = ipc::channel_with::<u32>(capacity, bytes).unwrap_err();
        assert!(error.to_string().contains("1048576") || error.raw_os_error().is_some(), "{error}");
    }
}

#[test]
fn without_descriptors_it_is_an_error_and_nothing_is_left() {
    if role().is_none() {
        let name = "without_descriptors_it_is_an_error_and_nothing_is_left";
        common::run(child(&this_program(), name, "exhausted"));
        return;
    }
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (sender, receiver) = ipc::channel::<u32>(4).unwrap();
    let end = descriptor(sender.clone());
    let before = open();
    for more in 0..7 {
        limit_for_now(Resource::Nofile, (before + more) as u64);
        match ipc::channel::<u32>(4) {
            Ok(_) => assert!(more > 4, "{more}"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{more}: {error}"),
        }
    }
    limit_for_now(Resource::Nofile, 3);
    assert!(Sender::<u32>::try_from(end).is_err());
    // What is there goes on, also where a wait would want a descriptor.
    let task = coroutine::spawn(move || receiver.recv());
    sender.send(1).unwrap();
    assert_eq!(task.join().unwrap().unwrap(), 1);
    limit_for_now(Resource::Nofile, 1024);
    assert!(open() <= before);
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
fn a_message_of_the_greatest_length_arrives_and_a_longer_one_is_told() {
    for most in [10, 111, 112, 113, 120, 5000, 100_000] {
        let (sender, receiver) = ipc::channel_with::<Vec<u8>>(2, most).unwrap();
        // The length takes one to three bytes of its own.
        let fits = (0..=most).rev().find(|&len| sender.try_send(vec![7; len]).is_ok()).unwrap();
        assert!(fits + 3 >= most, "{fits} of {most}");
        assert_eq!(receiver.recv().unwrap(), vec![7; fits]);
        let error = sender.send(vec![7; fits + 1]).unwrap_err();
        assert!(matches!(error.reason(), Reason::TooLarge { most: told } if *told == most));
        assert_eq!(error.into_inner().len(), fits + 1);
        sender.send(vec![7; fits]).unwrap();
        assert_eq!(receiver.recv().unwrap().len(), fits);
    }
}
