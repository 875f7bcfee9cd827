//! Calls that only look: they never wait, and never give the turn away.

use std::cell::Cell;
use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::common::places::{PLACES, ends_from_outside, everywhere};
use crate::common::waiting::{TIMEOUT, keeps_its_turn, until, until_waiting};
use crate::net::pair;
use trine::coroutine::spawn_local;
use trine::net::{
    Readiness, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use trine::{future, ipc};

/// Calls `f` in all places, and on the thread of the test.
fn in_all_places(f: impl Fn() + Clone + Send + 'static) {
    everywhere(f.clone());
    f();
}

#[track_caller]
fn would_block<T: Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[track_caller]
fn timed_out(result: io::Result<()>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
}

fn packets() -> (UdpSocket, UdpSocket) {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

/// Makes a Unix listener, and its address.
fn unix_listener() -> (UnixListener, SocketAddr) {
    static SO_FAR: AtomicUsize = AtomicUsize::new(0);
    let name = format!("looks {} {}", std::process::id(), SO_FAR.fetch_add(1, Relaxed));
    let address = SocketAddr::from_abstract_name(name).unwrap();
    (UnixListener::bind_addr(&address).unwrap(), address)
}

#[test]
fn a_stream_that_has_nothing_is_not_waited_for() {
    in_all_places(|| {
        let (one, other) = pair();
        let mut buffer = [0; 10];
        would_block(one.try_read(&mut buffer));
        would_block(one.try_peek(&mut buffer));
        timed_out(one.wait_readable_timeout(Duration::ZERO));
        assert_eq!(other.try_write(b"hello").unwrap(), 5);
        one.wait_readable().unwrap();
        assert_eq!(one.try_peek(&mut buffer).unwrap(), 5);
        assert_eq!(one.try_read(&mut buffer[..4]).unwrap(), 4);
        assert_eq!(one.try_read(&mut buffer).unwrap(), 1);
        would_block(one.try_read(&mut buffer));
        drop(other);
        one.wait_readable_timeout(TIMEOUT).unwrap();
        assert_eq!(one.try_read(&mut buffer).unwrap(), 0);
    });
    in_all_places(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let mut buffer = [0; 10];
        would_block(one.try_read(&mut buffer));
        would_block(one.try_peek(&mut buffer));
        assert_eq!(other.try_write(b"hello").unwrap(), 5);
        assert_eq!(one.try_peek(&mut buffer).unwrap(), 5);
        assert_eq!(one.try_read(&mut buffer).unwrap(), 5);
        timed_out(one.wait_readable_timeout(Duration::ZERO));
        drop(other);
        one.wait_readable_timeout(Duration::ZERO).unwrap();
        assert_eq!(one.try_read(&mut buffer).unwrap(), 0);
        assert_eq!(one.try_write(b"!").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
    in_all_places(|| {
        let (reader, writer) = ipc::pipe().unwrap();
        let mut buffer = [0; 10];
        would_block(reader.try_read(&mut buffer));
        timed_out(reader.wait_readable_timeout(Duration::ZERO));
        assert_eq!(writer.try_write(b"hello").unwrap(), 5);
        assert_eq!(reader.try_read(&mut buffer).unwrap(), 5);
        drop(writer);
        reader.wait_readable().unwrap();
        assert_eq!(reader.try_read(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn a_stream_that_is_full_is_not_waited_for() {
    in_all_places(|| {
        let (one, other) = UnixStream::pair().unwrap();
        one.wait_writable_timeout(Duration::ZERO).unwrap();
        let mut sent = 0;
        while let Ok(count) = one.try_write(&[7; 4096]) {
            sent += count;
        }
        would_block(one.try_write(b"!"));
        timed_out(one.wait_writable_timeout(Duration::ZERO));
        let mut buffer = vec![0; 1 << 16];
        let mut received = 0;
        while let Ok(count) = other.try_read(&mut buffer) {
            received += count;
        }
        assert_eq!(sent, received);
        one.wait_writable().unwrap();
        assert_eq!(one.try_write(b"!").unwrap(), 1);
        let (reader, writer) = ipc::pipe().unwrap();
        while writer.try_write(&[7; 4096]).is_ok() {}
        timed_out(writer.wait_writable_timeout(Duration::ZERO));
        drop(reader);
        writer.wait_writable().unwrap();
        assert_eq!(writer.try_write(b"!").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_socket_without_a_message_is_not_waited_for() {
    in_all_places(|| {
        let (one, other) = packets();
        let mut buffer = [0; 10];
        would_block(one.try_recv(&mut buffer));
        would_block(one.try_recv_from(&mut buffer));
        would_block(one.try_peek(&mut buffer));
        would_block(one.try_peek_from(&mut buffer));
        for message in [b"one", b"two"] {
            assert_eq!(other.try_send(message).unwrap(), 3);
            one.wait_readable().unwrap();
        }
        let from = other.local_addr().unwrap();
        assert_eq!(one.try_peek(&mut buffer).unwrap(), 3);
        assert_eq!(one.try_peek_from(&mut buffer).unwrap(), (3, from));
        assert_eq!(one.try_recv(&mut buffer).unwrap(), 3);
        one.wait_readable().unwrap();
        assert_eq!(one.try_recv_from(&mut buffer).unwrap(), (3, from));
        timed_out(one.wait_readable_timeout(Duration::ZERO));
        let third = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(third.try_send_to(b"three", to.local_addr().unwrap()).unwrap(), 5);
        to.wait_readable().unwrap();
        assert_eq!(to.try_recv(&mut buffer).unwrap(), 5);
    });
    in_all_places(|| {
        let (one, other) = UnixDatagram::pair().unwrap();
        let mut buffer = [0; 10];
        would_block(one.try_recv(&mut buffer));
        would_block(one.try_recv_from(&mut buffer));
        would_block(one.try_peek(&mut buffer));
        assert_eq!(other.try_send(b"one").unwrap(), 3);
        assert_eq!(one.try_peek(&mut buffer).unwrap(), 3);
        assert_eq!(one.try_recv_from(&mut buffer).unwrap().0, 3);
        while other.try_send(b"many").is_ok() {}
        would_block(other.try_send(b"many"));
        timed_out(other.wait_writable_timeout(Duration::ZERO));
        while one.try_recv(&mut buffer).is_ok() {}
        other.wait_writable().unwrap();
        one.shutdown(trine::net::Shutdown::Read).unwrap();
        assert_eq!(one.try_recv(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn a_listener_without_a_connection_is_not_waited_for() {
    in_all_places(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        would_block(listener.try_accept());
        timed_out(listener.wait_readable_timeout(Duration::ZERO));
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.wait_readable().unwrap();
        let (_stream, from) = listener.try_accept().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        would_block(listener.try_accept());
        listener.set_nonblocking(true).unwrap();
        would_block(listener.accept());
        would_block(listener.try_clone().unwrap().accept());
        would_block(listener.incoming().next().unwrap());
    });
    in_all_places(|| {
        let (listener, address) = unix_listener();
        would_block(listener.try_accept());
        timed_out(listener.wait_readable_timeout(Duration::ZERO));
        let _client = UnixStream::connect_addr(&address).unwrap();
        listener.wait_readable_timeout(Duration::ZERO).unwrap();
        listener.try_accept().unwrap();
        listener.set_nonblocking(true).unwrap();
        would_block(listener.accept());
        would_block(listener.try_clone().unwrap().accept());
    });
}

#[test]
fn a_look_gives_no_turn_away() {
    let (readable, mut writer) = io::pipe().unwrap();
    let readiness = Readiness::new(readable);
    writer.write_all(b"!").unwrap();
    let (silent, _silent_writer) = io::pipe().unwrap();
    let nothing = Readiness::new(silent);
    keeps_its_turn("a readiness without", move || {
        timed_out(nothing.wait_readable_timeout(Duration::ZERO));
        timed_out(nothing.wait_readable_timeout(Duration::ZERO));
    });
    keeps_its_turn("a readiness", move || readiness.wait_readable_timeout(Duration::ZERO).unwrap());
    let (one, _other) = UnixStream::pair().unwrap();
    keeps_its_turn("a stream", move || {
        timed_out(one.wait_readable_timeout(Duration::ZERO));
        would_block(one.try_read(&mut [0]));
        one.try_write(b"!").unwrap();
        one.set_nonblocking(true).unwrap();
        would_block((&one).read(&mut [0]));
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    keeps_its_turn("a listener", move || {
        would_block(listener.try_accept());
        listener.set_nonblocking(true).unwrap();
        would_block(listener.accept());
    });
    let (one, _other) = packets();
    keeps_its_turn("a socket for packets", move || {
        would_block(one.try_recv(&mut [0]));
        one.set_nonblocking(true).unwrap();
        would_block(one.recv(&mut [0]));
    });
}

#[test]
fn a_loop_of_looks_lets_others_run() {
    let (one, other) = UnixStream::pair().unwrap();
    let ran = Rc::new(Cell::new(false));
    let there = Rc::clone(&ran);
    let looking = spawn_local(move || while one.try_read(&mut [0]).is_err() {});
    let writing = spawn_local(move || {
        other.try_write(b"!").unwrap();
        there.set(true);
    });
    looking.join().unwrap();
    assert!(ran.get());
    writing.join().unwrap();
}

#[test]
fn a_handle_that_never_waits_sees_bytes_that_have_just_come() {
    in_all_places(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let mut buffer = [0; 10];
        // Known to the back end from here on, as a socket without anything to read.
        one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!((&one).read(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
        one.set_nonblocking(true).unwrap();
        for _ in 0..100 {
            would_block((&one).read(&mut buffer));
            (&other).write_all(b"now").unwrap();
            assert_eq!((&one).read(&mut buffer).unwrap(), 3);
        }
        // The timeout is still there, and other handles wait.
        assert_eq!(one.read_timeout().unwrap(), Some(Duration::from_millis(1)));
        would_block((&one.try_clone().unwrap()).read(&mut buffer));
        one.set_nonblocking(false).unwrap();
        assert_eq!((&one).read(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_write_of_a_handle_that_never_waits_takes_what_fits() {
    in_all_places(|| {
        let (one, _other) = pair();
        one.set_nonblocking(true).unwrap();
        one.set_write_timeout(Some(TIMEOUT)).unwrap();
        while (&one).write(&[0; 1 << 16]).is_ok() {}
        would_block((&one).write(&[0; 1 << 16]));
        let (one, _other) = UnixDatagram::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        while one.send(b"!").is_ok() {}
        would_block(one.send(b"!"));
        let (receiver, address) = unix_datagram();
        one.set_nonblocking(true).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.send_to_addr(b"!", &address).is_ok() {}
        would_block(sender.send_to_addr(b"!", &address));
        would_block(sender.try_send_to_addr(b"!", &address));
        drop(receiver);
    });
}

fn unix_datagram() -> (UnixDatagram, SocketAddr) {
    static SO_FAR: AtomicUsize = AtomicUsize::new(0);
    let name = format!("looked at {} {}", std::process::id(), SO_FAR.fetch_add(1, Relaxed));
    let address = SocketAddr::from_abstract_name(name).unwrap();
    (UnixDatagram::bind_addr(&address).unwrap(), address)
}

#[test]
fn a_mode_goes_along_into_the_type_of_std() {
    fn is_nonblocking(socket: impl AsFd) -> bool {
        rustix::fs::fcntl_getfl(socket).unwrap().contains(rustix::fs::OFlags::NONBLOCK)
    }
    for mode in [true, false] {
        let (one, _other) = pair();
        one.set_nonblocking(mode).unwrap();
        assert_eq!(is_nonblocking(std::net::TcpStream::from(one)), mode);
        let (one, _other) = UnixStream::pair().unwrap();
        one.set_nonblocking(mode).unwrap();
        assert_eq!(is_nonblocking(std::os::unix::net::UnixStream::from(one)), mode);
        let (one, _other) = packets();
        one.set_nonblocking(mode).unwrap();
        assert_eq!(is_nonblocking(std::net::UdpSocket::from(one)), mode);
        let (listener, _) = unix_listener();
        listener.set_nonblocking(mode).unwrap();
        assert_eq!(is_nonblocking(std::os::unix::net::UnixListener::from(listener)), mode);
    }
}

#[test]
fn any_number_of_futures_wait_for_one_socket() {
    let (one, other) = pair();
    let one = Arc::new(one);
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let one = Arc::clone(&one);
            future::spawn(async move { one.readable().await })
        })
        .collect();
    let calling: Vec<_> = PLACES
        .map(|place| {
            let one = Arc::clone(&one);
            place.spawn(move || one.wait_readable())
        })
        .into();
    waiting.iter().chain(&calling).for_each(until_waiting);
    waiting[0].cancel();
    until(|| waiting[0].is_finished());
    assert_eq!(other.try_write(b"!").unwrap(), 1);
    for task in waiting.into_iter().skip(1).chain(calling) {
        task.join().unwrap().unwrap();
    }
    future::block_on(one.writable()).unwrap();
}

#[test]
fn a_wait_for_a_socket_ends_from_outside() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    ends_from_outside(move || listener.wait_readable());
    let (one, other) = UnixStream::pair().unwrap();
    let ends = Arc::new((one, other));
    while ends.0.try_write(&[0; 4096]).is_ok() {}
    ends_from_outside(move || ends.0.wait_writable());
}

#[test]
fn two_halves_have_two_owners() {
    for place in PLACES {
        let (one, other) = pair();
        let (mut reader, mut writer) = one.into_split();
        let echo = place.spawn(move || io::copy(&mut &other, &mut &other));
        let writing = place.spawn(move || {
            for _ in 0..100 {
                writer.write_all(&[7; 10_000]).unwrap();
            }
            // Dropped here: the peer reads the end.
        });
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 1_000_000);
        writing.join().unwrap();
        assert_eq!(echo.join().unwrap().unwrap(), 1_000_000);
    }
}

#[test]
fn halves_become_whole_again_only_with_their_own() {
    let (one, other) = UnixStream::pair().unwrap();
    let (reader, writer) = one.into_split();
    let (foreign_reader, foreign_writer) = other.into_split();
    let error = reader.reunite(foreign_writer).unwrap_err();
    assert_eq!(error.to_string(), "the two halves are of two connections");
    let (reader, foreign_writer) = (error.0, error.1);
    let one = writer.reunite(reader).unwrap();
    let other = foreign_reader.reunite(foreign_writer).unwrap();
    // Neither was shut down.
    assert_eq!(one.try_write(b"one").unwrap(), 3);
    assert_eq!(other.try_write(b"other").unwrap(), 5);
    let (reader, writer) = one.into_split();
    writer.forget();
    assert_eq!(other.try_read(&mut [0; 10]).unwrap(), 3);
    would_block(other.try_read(&mut [0; 10]));
    assert_eq!(reader.as_ref().try_read(&mut [0; 10]).unwrap(), 5);
    drop(reader);
    assert_eq!(other.try_read(&mut [0; 10]).unwrap(), 0);
}
