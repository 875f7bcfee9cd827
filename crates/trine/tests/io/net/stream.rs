//! No byte is lost, duplicated or kept back.

use std::io::{IoSlice, IoSliceMut, Read, Write, read_to_string};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use trine::net::{Shutdown, TcpListener, TcpStream};
use trine::{Kind, State, coroutine, thread};

use super::{ANY, KINDS, everywhere, pair, pattern, spawn, until};

/// Echoes each message of 64 bytes until the peer has no more.
fn serve(mut stream: TcpStream) {
    let mut message = [0; 64];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message).unwrap();
    }
}

#[test]
fn many_connections_are_served_at_once() {
    let _turn = crate::hundreds_of_descriptors();
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    let server = coroutine::spawn(move || {
        let serving: Vec<_> = listener
            .incoming()
            .take(200)
            .enumerate()
            .map(|(n, stream)| spawn(KINDS[usize::from(n % 20 == 0)], || serve(stream.unwrap())))
            .collect();
        serving.into_iter().for_each(|task| task.join().unwrap());
    });
    let clients: Vec<_> = (0..200_u64)
        .map(|n| {
            spawn(KINDS[usize::from(n % 20 == 1)], move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                for round in 0..20 {
                    let sent = [(n * 20 + round) as u8; 64];
                    stream.write_all(&sent).unwrap();
                    let mut answer = [0; 64];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, sent);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|task| task.join().unwrap());
    server.join().unwrap();
}

#[test]
fn each_connection_is_accepted_by_one_of_several() {
    let _turn = crate::hundreds_of_descriptors();
    const CLIENTS: usize = 120;
    let listener = Arc::new(TcpListener::bind(ANY).unwrap());
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let acceptors: Vec<_> = (0..6)
        .map(|n| {
            let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
            // The last two use clones of their own.
            let own = (n >= 4).then(|| listener.try_clone().unwrap());
            spawn(KINDS[n % 2], move || {
                for stream in own.as_ref().unwrap_or(&listener).incoming() {
                    let Ok(mut stream) = stream else { return };
                    let mut number = [0; 8];
                    stream.read_exact(&mut number).unwrap();
                    accepted.lock().unwrap().push(usize::from_ne_bytes(number));
                }
            })
        })
        .collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            spawn(KINDS[n % 7 % 2], move || {
                TcpStream::connect(address).unwrap().write_all(&n.to_ne_bytes()).unwrap();
            })
        })
        .collect();
    clients.into_iter().for_each(|task| task.join().unwrap());
    until(|| accepted.lock().unwrap().len() >= CLIENTS);
    for task in acceptors {
        task.cancel();
        task.join().unwrap();
    }
    let mut accepted = accepted.lock().unwrap().clone();
    accepted.sort_unstable();
    assert!(accepted.into_iter().eq(0..CLIENTS));
}

#[test]
fn one_reads_while_another_writes() {
    const LEN: usize = 2 << 20;
    for kinds in [[Kind::Coroutine; 2], KINDS, [Kind::Thread, Kind::Coroutine], [Kind::Thread; 2]] {
        let (one, other) = pair();
        let tasks: Vec<_> = [Arc::new(one), Arc::new(other)]
            .into_iter()
            .flat_map(|stream| {
                let write = Arc::clone(&stream);
                let writer = spawn(kinds[0], move || {
                    (&*write).write_all(&pattern(LEN)).unwrap();
                    write.shutdown(Shutdown::Write).unwrap();
                });
                let reader = spawn(kinds[1], move || {
                    let mut received = Vec::new();
                    (&*stream).read_to_end(&mut received).unwrap();
                    assert!(received == pattern(LEN));
                });
                [writer, reader]
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }
}

#[test]
fn a_slow_reader_keeps_its_writer_waiting_and_misses_nothing() {
    const LEN: usize = 16 << 20;
    for kind in KINDS {
        let (mut reader, mut writer) = pair();
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let task = spawn(kind, move || {
            for part in pattern(LEN).chunks(50_000) {
                writer.write_all(part).unwrap();
                count.fetch_add(part.len(), Ordering::Relaxed);
            }
        });
        // When the buffers are full, the writer waits.
        until(|| written.load(Ordering::Relaxed) > 0 && task.state() == State::Waiting);
        let mut received = Vec::with_capacity(LEN);
        let mut buffer = [0; 3000];
        for n in 0.. {
            let count = reader.read(&mut buffer[..1 + n % 3000]).unwrap();
            received.extend_from_slice(&buffer[..count]);
            assert!(written.load(Ordering::Relaxed) < received.len() + (12 << 20), "buffered");
            if count == 0 {
                break;
            }
        }
        assert!(received == pattern(LEN));
        task.join().unwrap();
    }
}

#[test]
fn a_half_closed_peer_reads_the_end_and_still_writes() {
    everywhere(|| {
        let (mut one, other) = pair();
        let peer = coroutine::spawn(move || {
            let request = read_to_string(&other).unwrap();
            (&other).write_all(request.to_uppercase().as_bytes()).unwrap();
        });
        one.write_all(b"request").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_string(&one).unwrap(), "REQUEST");
        assert_eq!(one.read(&mut [0]).unwrap(), 0, "the end stays");
        peer.join().unwrap();
    });
}

#[test]
fn vectored_calls_fill_and_send_the_buffers_in_order() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        // More buffers than the kernel takes at once, some of them empty.
        let sent = pattern(3000);
        let slices: Vec<_> =
            sent.chunks(2).flat_map(|two| [IoSlice::new(two), IoSlice::new(&[])]).collect();
        let count = one.write_vectored(&slices).unwrap();
        assert_eq!(count, 1024);
        one.write_all(&sent[count..]).unwrap();
        let mut received = Vec::new();
        while received.len() < 3000 {
            let mut parts = [[0; 100], [0; 100]];
            let [first, second] = &mut parts;
            let mut buffers =
                [IoSliceMut::new(first), IoSliceMut::new(&mut []), IoSliceMut::new(second)];
            let count = other.read_vectored(&mut buffers).unwrap();
            assert!(count > 0);
            received.extend_from_slice(&parts.concat()[..count]);
        }
        assert!(received == sent);
        assert_eq!(other.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        assert_eq!(one.write_vectored(&[]).unwrap(), 0);
    });
}

#[test]
fn peeking_takes_nothing() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        let late = coroutine::spawn(move || one.write_all(b"twice").map(|()| one));
        let mut buffer = [0; 8];
        assert_eq!(other.peek(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"twice");
        assert_eq!(other.peek(&mut buffer[..2]).unwrap(), 2);
        assert_eq!(other.read(&mut buffer).unwrap(), 5);
        drop(late.join().unwrap().unwrap());
        assert_eq!(other.peek(&mut buffer).unwrap(), 0, "the end can be seen too");
    });
}

#[test]
fn a_shutdown_wakes_those_who_wait_in_the_stream() {
    for kind in KINDS {
        let (one, _other) = pair();
        let one = Arc::new(one);
        let stream = Arc::clone(&one);
        let reader = spawn(kind, move || (&*stream).read(&mut [0; 8]).unwrap());
        super::until_it_waits(&reader);
        one.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
    }
}

#[test]
fn clones_are_the_same_connection() {
    everywhere(|| {
        let (one, other) = pair();
        let mut clones = [one.try_clone().unwrap(), one];
        let reader = thread::spawn(move || read_to_string(&other).unwrap());
        clones[0].write_all(b"a").unwrap();
        clones[1].write_all(b"b").unwrap();
        drop(clones);
        assert_eq!(reader.join().unwrap(), "ab");
    });
}
