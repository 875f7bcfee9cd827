//! Rare behaviour of the kernel, with both back ends: reads that end short though there is more,
//! wake-ups without a byte, wakers that panic.

use std::future::Future;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream as StdStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Resource, setrlimit};
use trine::net::{Readiness, UnixStream};
use trine::{State, coroutine, ipc, thread, time};

use crate::common::limits::limit_for_now;
use crate::common::{alone, is_cancelled, role};
use crate::net::pair;

/// Longer than any wait that ends.
const LONG: Duration = Duration::from_secs(20);

/// Runs `f` as a coroutine in a process of its own, with one carrier, with each back end.
fn with_each_reactor(f: impl FnOnce() + Send + 'static) {
    if role().is_some() {
        // Aborts a test that hangs.
        std::thread::spawn(|| {
            std::thread::sleep(2 * LONG);
            std::process::abort();
        });
        return coroutine::spawn(f).join().unwrap();
    }
    for reactor in ["uring", "epoll"] {
        let output = alone(&[("TRINE_CARRIERS", "1"), ("TRINE_REACTOR", reactor)]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{reactor}: {text}");
    }
}

/// Reads until there are `count` bytes, each time with room for more.
fn read(mut from: impl Read, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 64];
    while bytes.len() < count {
        let read = time::timeout(LONG, || from.read(&mut buffer)).unwrap().unwrap();
        assert!(read > 0);
        bytes.extend_from_slice(&buffer[..read]);
    }
    bytes
}

/// Waits once in a read of `there`, so that the reactor watches it from now on.
fn wait_once<S: Write + Send + 'static>(mut here: S, there: impl Read) -> S {
    let writer = coroutine::spawn(move || {
        here.write_all(b"!").unwrap();
        here
    });
    assert_eq!(read(there, 1), b"!");
    writer.join().unwrap()
}

#[test]
fn a_descriptor_on_its_way_ends_a_read_and_more_is_behind_it() {
    with_each_reactor(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let mut here = wait_once(here, &there);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let descriptors = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let flags = SendFlags::empty();
        rustix::net::sendmsg(&here, &[IoSlice::new(b"one")], &mut control, flags).unwrap();
        here.write_all(b"two").unwrap();
        assert_eq!(read(&there, 6), b"onetwo");
    });
}

#[test]
fn a_byte_out_of_band_ends_a_read_and_more_is_behind_it() {
    with_each_reactor(|| {
        let (here, there) = pair();
        here.set_nodelay(true).unwrap();
        let mut here = wait_once(here, &there);
        for _ in 0..3 {
            here.write_all(b"one").unwrap();
            // SAFETY: the byte lives until the call returns.
            let sent =
                unsafe { libc::send(here.as_raw_fd(), b"?".as_ptr().cast(), 1, libc::MSG_OOB) };
            assert_eq!(sent, 1);
            here.write_all(b"two").unwrap();
            assert_eq!(read(&there, 6), b"onetwo");
        }
        here.write_all(b"three").unwrap();
        assert_eq!(read(&there, 5), b"three");
    });
}

#[test]
fn a_read_that_others_are_quicker_than_ends_with_its_cancellation() {
    with_each_reactor(|| {
        // After 128 wake-ups without a byte, a ring waits with a read in place of a poll.
        for wake_ups in 124..136 {
            let (mut here, there) = pair();
            let mut thief = StdStream::from(there.as_fd().try_clone_to_owned().unwrap());
            let there = Arc::new(there);
            let reading = Arc::clone(&there);
            let reader = coroutine::spawn(move || (&*reading).read(&mut [0; 8]));
            time::sleep(Duration::from_micros(200));
            // The reader may get the byte first once it waits with a read.
            let stolen = (0..wake_ups).all(|_| {
                here.write_all(b"!").unwrap();
                let stolen = thief.read(&mut [0]).is_ok();
                time::sleep(Duration::from_micros(200));
                stolen
            });
            reader.cancel();
            let ended = reader.join().unwrap();
            if stolen {
                let error = ended.unwrap_err();
                assert!(is_cancelled(&error), "{wake_ups}: {error:?}");
            }
            here.write_all(b"whole").unwrap();
            assert_eq!(read(&*there, 5), b"whole");
        }
    });
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("this panic is part of the test");
        }
    }
    with_each_reactor(|| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = Readiness::new(reader);
        let waker = Waker::from(Arc::new(Panics));
        let mut one = pin!(reader.readable());
        assert!(one.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let (mut first, mut second) = (ipc::pipe().unwrap(), ipc::pipe().unwrap());
        let other = coroutine::spawn(move || {
            first.1.write_all(b"!").unwrap();
            read(&mut second.0, 1)
        });
        read(&mut first.0, 1);
        writer.write_all(b"!").unwrap();
        second.1.write_all(b"?").unwrap();
        assert_eq!(other.join().unwrap(), b"?");
        // The other waiters of the descriptor are woken too.
        let mut two = pin!(reader.readable());
        assert!(two.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    });
}

#[test]
fn who_never_has_to_wait_lets_others_run() {
    with_each_reactor(|| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        // The feeder is not on the carrier: there is always something to read.
        let feeder = thread::spawn(move || while here.write(&[0; 4096]).is_ok() {});
        let reader = coroutine::spawn(move || {
            let mut there = there;
            while !is_over.load(SeqCst) {
                assert_eq!(there.read(&mut [0; 1]).unwrap(), 1);
            }
        });
        // Timers, descriptors, ready coroutines and new coroutines all have their turns.
        for _ in 0..20 {
            time::sleep(Duration::from_micros(50));
            let (here, there) = UnixStream::pair().unwrap();
            let asked = coroutine::spawn(move || wait_once(here, &there));
            coroutine::yield_now();
            asked.join().unwrap();
        }
        over.store(true, SeqCst);
        reader.join().unwrap();
        feeder.join().unwrap();
    });
}

#[test]
fn a_first_wait_without_a_descriptor_for_the_epoll() {
    with_each_reactor(|| {
        let (here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
        let here = Arc::new(UnixStream::from(here));
        // The lowest free number is the first that is too high.
        let free = here.as_fd().try_clone_to_owned().unwrap().as_raw_fd().unsigned_abs();
        let limit = limit_for_now(Resource::Nofile, u64::from(free));

        let reader = || {
            let here = Arc::clone(&here);
            let task = coroutine::spawn(move || {
                let mut byte = [0];
                (&*here).read_exact(&mut byte).map(|()| byte[0])
            });
            while task.info().state != State::Waiting {
                time::sleep(Duration::ZERO);
            }
            task
        };
        let task = reader();
        there.write_all(b"1").unwrap();
        assert_eq!(task.join().unwrap().unwrap(), b'1');

        let task = reader();
        task.cancel();
        assert_eq!(task.join().unwrap().unwrap_err().to_string(), "cancelled");

        here.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let error = (&*here).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        here.set_read_timeout(None).unwrap();

        // The waiting task goes on when there is room, and so do others.
        let task = reader();
        setrlimit(Resource::Nofile, limit).unwrap();
        there.write_all(b"2").unwrap();
        assert_eq!(task.join().unwrap().unwrap(), b'2');
        let task = reader();
        there.write_all(b"3").unwrap();
        assert_eq!(task.join().unwrap().unwrap(), b'3');
    });
}
