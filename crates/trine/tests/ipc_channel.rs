//! Channels between processes: this test program runs itself as a child, which gets an end as its standard input.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trine::ipc::channel::{AttachError, Receiver, Sender};
use trine::{coroutine, ipc, thread};

mod common;

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
    const ROUNDS: u64 = 10_000;
    if role().is_some() {
        let there = Receiver::<(Option<u64>, Option<Sender<u64>>)>::try_from(own_end());
        // An end does not travel in a message yet; the type alone shows that it can be named.
        assert!(matches!(there, Err(AttachError::OtherType)));
        return;
    }
    let (sender, receiver) = ipc::channel::<u64>(8).unwrap();
    ended_well(start("a_child_answers", "other", descriptor(receiver)));
    assert!(sender.send(1).unwrap_err().is_disconnected());

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
        loop {
            std::thread::park();
        }
    }
    for coroutine in [false, true] {
        let (sender, receiver) = ipc::channel::<u64>(4).unwrap();
        let name = "a_killed_sender_is_told_at_once_to_whoever_waits";
        let mut child = start(name, "sender", descriptor(sender));
        assert_eq!(receiver.recv().unwrap(), 7);
        let wait = move || receiver.recv().unwrap_err().is_disconnected();
        let task = if coroutine { coroutine::spawn(wait) } else { thread::spawn(wait) };
        while task.state() != trine::State::Waiting {
            std::thread::yield_now();
        }
        kill(&mut child);
        assert!(task.join_timeout(LONG).unwrap().unwrap());
    }
}
