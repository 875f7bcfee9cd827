//! What the reactor promises whatever ends a wait, with both back ends (`TRINE_REACTOR`): no byte is lost or
//! comes twice, and nothing is left behind.

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use trine::net::{TcpListener, TcpStream};
use trine::{coroutine, thread, time};

/// Two ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = thread::spawn(move || TcpStream::connect(address).unwrap());
    let (one, _) = listener.accept().unwrap();
    (one, other.join().unwrap())
}

/// Numbers of a simple generator (Marsaglia's xorshift), so that moments differ from run to run of a loop.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    }
}

/// Sends the bytes 0, 1, … in pieces, with pauses that are about as long as the reader's patience.
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

/// Reads until the end, giving up again and again; how often it did.
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
    // The peer's byte and the cancellation race: either the read has the byte, or the next one has.
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
                assert!(trine_says_cancelled(&error), "{error}");
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

fn trine_says_cancelled(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<trine::Interrupted>());
    inner.is_some_and(trine::Interrupted::is_cancelled)
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
            Ok(read) => assert!(trine_says_cancelled(&read.unwrap_err())),
            Err(error) => assert!(error.is_cancelled()),
        }
    }
    here.write_all(b"still whole").unwrap();
    drop(here);
    let mut rest = String::new();
    (&*there).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "still whole");
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
