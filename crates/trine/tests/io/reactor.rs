//! Promises of the reactor, whatever ends a wait, with both back ends (`TRINE_REACTOR`): no byte is
//! lost or duplicated, and nothing is left behind.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::process::Output;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::common::filters::refuse;
use crate::common::starts::start;
use crate::common::{again, is_cancelled, role};
use crate::net::pair;
use trine::net::{TcpStream, UnixStream};
use trine::{coroutine, thread, time};

/// Makes a pseudo-random generator (Marsaglia's xorshift), so that the timing differs from one
/// round to the next.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    }
}

/// Sends the bytes 0, 1, … in pieces, with pauses that are about as long as the reader's timeout.
fn send_counted(mut stream: TcpStream, count: usize, seed: u64) {
    let mut number = numbers(seed);
    let bytes: Vec<u8> = (0..count).map(|at| at as u8).collect();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(1 + number(7) as usize));
        stream.write_all(piece).unwrap();
        rest = later;
        time::sleep(Duration::from_micros(number(60)));
    }
}

/// Reads until the end, and gives up again and again. Returns how often it gave up.
fn receive_counted(mut stream: TcpStream, count: usize, seed: u64) -> usize {
    let mut number = numbers(seed);
    let (mut seen, mut given_up) = (0, 0);
    let mut buffer = [0; 16];
    loop {
        let patience = Duration::from_micros(number(60));
        match time::timeout(patience, || stream.read(&mut buffer)).unwrap() {
            Ok(0) => break,
            Ok(read) => {
                for &byte in &buffer[..read] {
                    assert_eq!(byte, seen as u8, "at byte {seen}");
                    seen += 1;
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                given_up += 1;
            }
        }
    }
    assert_eq!(seen, count);
    given_up
}

#[test]
fn a_read_that_is_given_up_loses_no_byte() {
    const PAIRS: u64 = 8;
    const BYTES: usize = 3_000;
    let mut given_up = 0;
    let tasks: Vec<_> = (1..=PAIRS)
        .map(|seed| {
            let (here, there) = pair();
            let sender = coroutine::spawn(move || send_counted(here, BYTES, seed));
            (sender, coroutine::spawn(move || receive_counted(there, BYTES, seed + 100)))
        })
        .collect();
    for (sender, receiver) in tasks {
        sender.join().unwrap();
        given_up += receiver.join().unwrap();
    }
    assert!(given_up > 0, "no read was ever given up");
}

#[test]
fn the_same_on_a_thread() {
    let (here, there) = pair();
    let sender = thread::spawn(move || send_counted(here, 1_000, 3));
    let receiver = thread::spawn(move || receive_counted(there, 1_000, 4));
    sender.join().unwrap();
    assert!(receiver.join().unwrap() > 0, "no read was ever given up");
}

#[test]
fn a_cancelled_read_ends_with_its_completion_or_without_one() {
    // The peer's byte and the cancellation race: either this read gets the byte, or the next read
    // does.
    for round in 0..400_u64 {
        let (mut here, there) = pair();
        let there = Arc::new(there);
        let reading = Arc::clone(&there);
        let (ready, is_ready) = mpsc::channel();
        let reader = coroutine::spawn(move || {
            ready.send(()).unwrap();
            (&*reading).read(&mut [0; 4])
        });
        is_ready.recv().unwrap();
        let canceller = reader.canceller();
        let cancel = thread::spawn(move || {
            spin(round % 40);
            canceller.cancel();
        });
        spin((round / 40) * 4);
        here.write_all(b"x").unwrap();
        cancel.join().unwrap();
        match reader.join() {
            Ok(Ok(count)) => assert_eq!(count, 1),
            Ok(Err(error)) => {
                assert!(is_cancelled(&error), "{error}");
                let mut byte = [0; 1];
                (&*there).read_exact(&mut byte).unwrap();
                assert_eq!(&byte, b"x");
            }
            // Cancelled before its first turn.
            Err(error) => assert!(error.is_cancelled()),
        }
    }
}

fn spin(microseconds: u64) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_micros(microseconds) {
        std::hint::spin_loop();
    }
}

#[test]
fn two_thousand_reads_are_cancelled_at_once() {
    const READERS: usize = 2_000;
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let (mut here, there) = pair();
    let there = Arc::new(there);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let there = Arc::clone(&there);
            coroutine::spawn(move || {
                WAITING.fetch_add(1, SeqCst);
                (&*there).read(&mut [0; 1])
            })
        })
        .collect();
    while WAITING.load(SeqCst) < READERS {
        std::thread::yield_now();
    }
    readers.iter().for_each(|reader| reader.cancel());
    for reader in readers {
        match reader.join() {
            Ok(read) => assert!(is_cancelled(&read.unwrap_err())),
            Err(error) => assert!(error.is_cancelled()),
        }
    }
    here.write_all(b"still whole").unwrap();
    drop(here);
    let mut rest = String::new();
    (&*there).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "still whole");
}

/// Several coroutines of one carrier wait for one descriptor. A change wakes all: one gets the
/// byte, one finds nothing, and the others see at their turn that they were woken in vain. They
/// wait on.
#[test]
fn those_who_are_woken_for_nothing_wait_on() {
    const READERS: u8 = 6;
    let task = coroutine::spawn(|| {
        let (reader, mut writer) = trine::ipc::pipe().unwrap();
        let (reader, order) = (Arc::new(reader), Rc::new(RefCell::new(Vec::new())));
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (reader, order) = (Arc::clone(&reader), Rc::clone(&order));
                coroutine::spawn_local(move || {
                    let mut byte = [0];
                    (&*reader).read_exact(&mut byte).unwrap();
                    order.borrow_mut().push(byte[0]);
                })
            })
            .collect();
        for byte in 0..READERS {
            writer.write_all(&[byte]).unwrap();
            while order.borrow().len() <= usize::from(byte) {
                coroutine::yield_now();
            }
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(*order.borrow(), Vec::from_iter(0..READERS));
    });
    let Ok(ended) = task.join_timeout(Duration::from_secs(30)) else {
        panic!("a reader was forgotten")
    };
    ended.unwrap();
}

#[test]
fn what_was_chosen_can_be_asked() {
    let in_use = trine::reactor();
    match std::env::var("TRINE_REACTOR").as_deref() {
        Ok("epoll") => assert_eq!(in_use.kind(), trine::Reactor::Epoll),
        _ if in_use.refused().is_none() => assert_eq!(in_use.kind(), trine::Reactor::IoUring),
        _ => assert!(in_use.to_string().starts_with("epoll: io_uring was refused")),
    }
}

/// Runs the test once more, in a process of its own with these variables and no other choice of a
/// back end.
fn alone(variables: &[(&str, &str)]) -> Output {
    let mut command = again("alone");
    command.env_remove("TRINE_REACTOR").envs(variables.iter().copied());
    start(&mut command).unwrap().wait_with_output().unwrap()
}

const OLDER: &str = "the kernel is older than Linux 6.1";

#[test]
fn where_io_uring_is_forbidden_epoll_serves() {
    if role().is_some() {
        let errno = std::env::var("FORBIDDEN_BY").unwrap().parse().unwrap();
        let call = std::env::var("FORBIDDEN").unwrap().parse().unwrap();
        // Containers do the same.
        refuse(call, errno);
        let (here, there) = pair();
        let sender = coroutine::spawn(move || send_counted(here, 500, 5));
        let receiver = coroutine::spawn(move || receive_counted(there, 500, 6));
        sender.join().unwrap();
        receiver.join().unwrap();
        assert_eq!(trine::reactor().kind(), trine::Reactor::Epoll);
        let mut why = io::Error::from_raw_os_error(errno).to_string();
        // Such a kernel refuses the ring before any call enters it.
        if call == libc::SYS_io_uring_enter && trine::reactor().refused() == Some(OLDER) {
            why = OLDER.to_owned();
        }
        assert_eq!(trine::reactor().refused(), Some(&*why));
        assert_eq!(trine::reactor().to_string(), format!("epoll: io_uring was refused ({why})"));
        return;
    }
    let (setup, enter) = (libc::SYS_io_uring_setup, libc::SYS_io_uring_enter);
    for (call, errno) in
        [(setup, libc::EPERM), (setup, libc::ENOSYS), (setup, libc::ENOMEM), (enter, libc::EPERM)]
    {
        let (call, errno) = (call.to_string(), errno.to_string());
        for (wanted, is_told) in [("", false), ("uring", true)] {
            let mut variables = vec![("FORBIDDEN_BY", &*errno), ("FORBIDDEN", &*call)];
            variables.extend((!wanted.is_empty()).then_some(("TRINE_REACTOR", wanted)));
            let output = alone(&variables);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{text}");
            assert_eq!(text.contains("trine: no io_uring ("), is_told, "{text}");
        }
    }
}

#[test]
fn more_completions_at_once_than_the_ring_holds() {
    const STREAMS: usize = 4_500;
    if role().is_some() {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let pairs: Vec<_> = (0..STREAMS).map(|_| UnixStream::pair().unwrap()).collect();
        let (mut here, there): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let waiting = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = there
            .into_iter()
            .map(|mut stream| {
                let waiting = Arc::clone(&waiting);
                coroutine::spawn(move || {
                    let mut byte = [0];
                    // The first read leaves the hint that there is no more; the second waits.
                    let first = stream.read(&mut [0; 2]).unwrap();
                    waiting.fetch_add(1, SeqCst);
                    (first, stream.read(&mut byte).unwrap(), byte)
                })
            })
            .collect();
        here.iter_mut().for_each(|stream| stream.write_all(b"a").unwrap());
        while waiting.load(SeqCst) < STREAMS {
            std::thread::yield_now();
        }
        // The only carrier is blocked while all events arrive.
        let (held, is_held) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let hog = coroutine::spawn(move || {
            held.send(()).unwrap();
            released.recv().unwrap();
        });
        is_held.recv().unwrap();
        here.iter_mut().for_each(|stream| stream.write_all(b"b").unwrap());
        release.send(()).unwrap();
        hog.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), (1, 1, [b'b']));
        }
        return;
    }
    for reactor in ["uring", "epoll"] {
        let output = alone(&[("TRINE_CARRIERS", "1"), ("TRINE_REACTOR", reactor)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_thread_that_has_ended_has_no_descriptor_left() {
    if role().is_some() {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (one, _other) = UnixStream::pair().unwrap();
        one.set_read_timeout(Some(Duration::from_micros(1))).unwrap();
        let one = Arc::new(one);
        let wait_and_carry = || {
            let one = Arc::clone(&one);
            let thread = std::thread::spawn(move || {
                (&*one).read(&mut [0]).unwrap_err();
                // A thread keeps what it has for its coroutines, which may be woken at any time.
                coroutine::spawn_local(|| ()).join().unwrap();
            });
            thread.join().unwrap();
        };
        wait_and_carry();
        let before = descriptors();
        (0..20).for_each(|_| wait_and_carry());
        assert_eq!(descriptors(), before);
        return;
    }
    let output = alone(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
