//! Message queues: within the process, between programs, and with bad input.

use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::common::limits::limit;
use crate::common::places::{PLACES, Place, ends_from_outside, everywhere};
use crate::common::temporary::unique;
use crate::common::waiting::until_waiting;
use crate::common::{again, kind_and_text, role, run};
use rustix::process::Resource;
use trine::ipc::MessageQueue;

/// A name that no other test has; drop removes the queue.
struct Name(String);

impl Name {
    fn new() -> Name {
        Name(unique("queue"))
    }

    fn small(&self) -> MessageQueue {
        let options = MessageQueue::options().max_messages(2).message_size(16);
        options.create_new(true).open(&self.0).unwrap()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = MessageQueue::unlink(&self.0);
    }
}

#[test]
fn messages_keep_their_bounds_and_come_by_priority_then_by_age() {
    everywhere(|| {
        let name = Name::new();
        let queue = MessageQueue::create_new(&name.0, 0o600).unwrap();
        assert_eq!((queue.max_messages(), queue.message_size()), (10, 8192));
        assert!(queue.is_empty().unwrap());
        for (message, priority) in [("a", 1), ("b", 5), ("", 1), ("c", 5), ("d", 32_767)] {
            queue.send(message.as_bytes(), priority).unwrap();
        }
        assert_eq!(queue.len().unwrap(), 5);
        let other = MessageQueue::open(format!("/{}", name.0)).unwrap();
        let mut buffer = [0; 8192];
        assert_eq!(other.receive_into(&mut buffer).unwrap(), (1, 32_767));
        assert_eq!(buffer[0], b'd');
        let rest: Vec<_> = (0..4).map(|_| queue.receive().unwrap()).collect();
        let expected = [("b", 5), ("c", 5), ("a", 1), ("", 1)];
        assert!(
            rest.iter().map(|(m, p)| (&m[..], *p)).eq(expected.map(|(m, p)| (m.as_bytes(), p)))
        );
        let longest = vec![7; 8192];
        queue.try_clone().unwrap().send(&longest, 0).unwrap();
        assert_eq!(queue.try_receive().unwrap(), (longest, 0));
        assert_eq!(kind_and_text(queue.try_receive()).0, ErrorKind::WouldBlock);
    });
}

#[test]
fn senders_and_receivers_wait_for_each_other() {
    for sending in PLACES {
        for receiving in PLACES {
            let name = Name::new();
            let (sender, receiver) = (name.small(), MessageQueue::open(&name.0).unwrap());
            let sender = sending.spawn(move || {
                (0..2000_u64).for_each(|n| sender.send(&n.to_le_bytes(), 3).unwrap());
            });
            let receiver = receiving.spawn(move || {
                for n in 0..2000_u64 {
                    assert_eq!(receiver.receive().unwrap(), (n.to_le_bytes().to_vec(), 3));
                }
            });
            sender.join().unwrap();
            receiver.join().unwrap();
        }
    }
}

#[test]
fn many_send_and_many_receive_one_queue() {
    let name = Name::new();
    let queue = name.small();
    let place = |n: u64| if n % 5 == 4 { Place::Thread } else { Place::Coroutine };
    let senders: Vec<_> = (0..20_u64)
        .map(|n| {
            let queue = queue.try_clone().unwrap();
            place(n).spawn(move || {
                (0..100).for_each(|k| queue.send(&(n * 100 + k).to_le_bytes(), 0).unwrap());
            })
        })
        .collect();
    let receivers: Vec<_> = (0..10)
        .map(|n| {
            let queue = queue.try_clone().unwrap();
            place(n).spawn(move || {
                let number = |_| queue.receive().unwrap().0.try_into().map(u64::from_le_bytes);
                (0..200).map(number).map(Result::unwrap).collect::<Vec<u64>>()
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let mut seen: Vec<_> = receivers.into_iter().flat_map(|it| it.join().unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..2000));
}

#[test]
fn waits_end_by_their_timeout_and_from_outside() {
    everywhere(|| {
        let name = Name::new();
        let queue = name.small();
        let (begin, limit) = (Instant::now(), Duration::from_millis(3));
        assert_eq!(kind_and_text(queue.receive_timeout(limit)).0, ErrorKind::TimedOut);
        assert!(begin.elapsed() >= limit);
        queue.send_timeout(b"1", 0, limit).unwrap();
        queue.try_send(b"2", 0).unwrap();
        assert_eq!(kind_and_text(queue.try_send(b"3", 0)).0, ErrorKind::WouldBlock);
        assert_eq!(kind_and_text(queue.send_timeout(b"3", 0, limit)).0, ErrorKind::TimedOut);
        assert_eq!(queue.receive_timeout(Duration::MAX).unwrap().0, b"1");
    });
    ends_from_outside(|| {
        let name = Name::new();
        name.small().receive().map(drop)
    });
    ends_from_outside(|| {
        let name = Name::new();
        let queue = name.small();
        (0..3).try_for_each(|_| queue.send(b"x", 0))
    });
}

#[test]
fn another_program_sends_and_receives() {
    const ROUNDS: u64 = 1000;
    if let Some(name) = role() {
        // Acts as a program in C does.
        let c_name = |end: &str| CString::new(format!("/{name}{end}")).unwrap();
        // SAFETY: the calls of C on names that end with NUL and a buffer that is large enough.
        unsafe {
            let questions = libc::mq_open(c_name("").as_ptr(), libc::O_RDONLY);
            let answers = libc::mq_open(c_name("-answers").as_ptr(), libc::O_WRONLY);
            assert!(questions >= 0 && answers >= 0, "{}", io::Error::last_os_error());
            let (mut message, mut priority) = ([0_u8; 16], 0);
            for _ in 0..ROUNDS {
                let (bytes, len) = (message.as_mut_ptr().cast(), message.len());
                let count = libc::mq_receive(questions, bytes, len, &raw mut priority);
                assert_eq!((count, priority), (8, 1));
                assert_eq!(libc::mq_send(answers, message.as_ptr().cast(), 8, 2), 0);
            }
        }
        return;
    }
    for place in PLACES {
        let questions = Name::new();
        let answers = Name(format!("{}-answers", questions.0));
        let (asks, hears) = (questions.small(), answers.small());
        let other = again(&questions.0).spawn().unwrap();
        let task = place.spawn(move || {
            for n in 0..ROUNDS {
                asks.send(&n.to_le_bytes(), 1).unwrap();
                assert_eq!(hears.receive().unwrap(), (n.to_le_bytes().to_vec(), 2));
            }
        });
        let output = other.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        task.join().unwrap();
    }
}

#[test]
fn a_receiver_that_waits_outlives_the_name() {
    for place in PLACES {
        let name = Name::new();
        let queue = name.small();
        let waits = queue.try_clone().unwrap();
        let task = place.spawn(move || waits.receive().unwrap());
        until_waiting(&task);
        MessageQueue::unlink(&name.0).unwrap();
        assert_eq!(kind_and_text(MessageQueue::unlink(&name.0)).0, ErrorKind::NotFound);
        let another = name.small();
        another.send(b"another", 0).unwrap();
        queue.send(b"this", 0).unwrap();
        assert_eq!(task.join().unwrap().0, b"this");
    }
}

#[test]
fn what_is_no_name_is_said() {
    let long = "x".repeat(256);
    for (name, why) in [
        ("", "is empty"),
        ("/", "is empty"),
        ("//", "slash"),
        ("a/b", "slash"),
        ("/a/", "slash"),
        (".", "directory"),
        ("/..", "directory"),
        ("a\0b", "NUL"),
        (&long, "256 bytes; it may have 255"),
    ] {
        for told in [
            kind_and_text(MessageQueue::open(name)),
            kind_and_text(MessageQueue::create(name, 0o600)),
            kind_and_text(MessageQueue::unlink(name)),
        ] {
            assert!(
                told.0 == ErrorKind::InvalidInput && told.1.contains(why),
                "{name:?}: {told:?}"
            );
        }
    }
    let longest = format!("{:x<255}", Name::new().0);
    MessageQueue::create_new(&longest, 0o600).unwrap();
    MessageQueue::unlink(&longest).unwrap();
}

#[test]
fn openings_that_cannot_be_say_why() {
    let name = Name::new();
    let (kind, text) = kind_and_text(MessageQueue::open(&name.0));
    assert_eq!(kind, ErrorKind::NotFound);
    assert_eq!(
        text,
        format!("cannot open the message queue /{}: there is none of this name", name.0)
    );
    let queue = name.small();
    assert_eq!(kind_and_text(MessageQueue::create_new(&name.0, 0o600)).0, ErrorKind::AlreadyExists);
    // An existing queue keeps its size.
    let same = MessageQueue::options().create(true).max_messages(9).open(&name.0).unwrap();
    assert_eq!((same.max_messages(), same.message_size()), (2, 16));

    let neither = MessageQueue::options().read(false).write(false).open(&name.0);
    assert_eq!(kind_and_text(neither).0, ErrorKind::InvalidInput);
    let none = MessageQueue::options().create(true).max_messages(0).open(&name.0);
    assert_eq!(kind_and_text(none).0, ErrorKind::InvalidInput);

    let (kind, text) = kind_and_text(queue.send(&[0; 17], 0));
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(
        text.starts_with("a message of 17 bytes is too long") && text.ends_with("at most 16"),
        "{text}"
    );
    assert!(kind_and_text(queue.try_send(&[0; 17], 0)).1.contains("17 bytes"));
    let (kind, text) = kind_and_text(queue.send(b"x", MessageQueue::MAX_PRIORITY + 1));
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert_eq!(text, "32768 is not a valid priority: the highest is 32767");
    let (kind, text) = kind_and_text(queue.receive_into(&mut [0; 15]));
    assert!(kind == ErrorKind::InvalidInput && text.contains("buffer of 15 bytes"), "{text}");

    let reader = MessageQueue::options().write(false).open(&name.0).unwrap();
    let (kind, text) = kind_and_text(reader.send(b"x", 0));
    assert!(kind == ErrorKind::PermissionDenied && text.ends_with("not opened to write"), "{text}");
    let writer = MessageQueue::options().read(false).open(&name.0).unwrap();
    let (kind, text) = kind_and_text(writer.receive());
    assert!(kind == ErrorKind::PermissionDenied && text.ends_with("not opened to read"), "{text}");
}

/// Becomes a user without queues and privileges. Returns false if this process may not.
fn become_another(user: u32) -> bool {
    // SAFETY: the only thread that matters gives up its rights.
    unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) == 0 }
}

#[test]
fn limits_of_the_kernel_are_explained() {
    let options = || MessageQueue::options().create_new(true);
    let most = std::fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap();
    match role().as_deref() {
        // Limits that bind the privileged, too.
        None => {
            let name = Name::new();
            let (kind, text) = kind_and_text(options().max_messages(70_000).open(&name.0));
            assert_eq!(kind, ErrorKind::InvalidInput);
            assert!(text.contains("70000 messages are more than fs.mqueue.msg_max"), "{text}");
            let (kind, text) = kind_and_text(options().message_size(20 << 20).open(&name.0));
            assert_eq!(kind, ErrorKind::InvalidInput);
            assert!(
                text.contains("20971520 bytes are longer than fs.mqueue.msgsize_max"),
                "{text}"
            );
            let _queue = name.small();
            let roles = ["bytes", "descriptors", &name.0];
            for role in roles {
                run(again(role));
            }
        }
        Some("bytes") => {
            let other = become_another(61_003);
            limit(Resource::Msgqueue, 5000);
            let name = Name::new();
            let eight = |size| options().max_messages(8).message_size(size).open(&name.0);
            let (kind, text) = kind_and_text(eight(1000));
            assert_eq!(kind, ErrorKind::QuotaExceeded);
            assert!(text.contains("8 messages of 1000 bytes take 8768 bytes"), "{text}");
            assert!(text.contains("the 5000 that RLIMIT_MSGQUEUE (`ulimit -q`)"), "{text}");
            if other {
                // The text counts bytes as the kernel does.
                limit(Resource::Msgqueue, 1768);
                drop(eight(125).unwrap());
                MessageQueue::unlink(&name.0).unwrap();
                limit(Resource::Msgqueue, 1767);
                assert!(kind_and_text(eight(125)).1.contains("take 1768 bytes"));
            }
        }
        Some("descriptors") => {
            let name = Name::new();
            limit(Resource::Nofile, 0);
            let (_, text) = kind_and_text(options().open(&name.0));
            assert!(text.contains("RLIMIT_NOFILE") && !text.contains("MSGQUEUE"), "{text}");
        }
        Some(parents) => {
            if !become_another(65_534) {
                return;
            }
            let (kind, text) = kind_and_text(MessageQueue::open(parents));
            assert_eq!(kind, ErrorKind::PermissionDenied);
            assert!(text.contains(parents) && text.contains("mode"), "{text}");
            assert_eq!(kind_and_text(MessageQueue::unlink(parents)).0, ErrorKind::PermissionDenied);
            let name = Name::new();
            let (kind, text) = kind_and_text(options().max_messages(60_000).open(&name.0));
            assert_eq!(kind, ErrorKind::InvalidInput);
            let expected = format!("fs.mqueue.msg_max allows ({})", most.trim());
            assert!(text.contains(&expected) && text.contains("sysctl"), "{text}");
        }
    }
}
