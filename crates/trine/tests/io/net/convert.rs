//! Conversions from and to std.

use std::io::{ErrorKind, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use trine::net::{TcpListener, TcpStream, UdpSocket};
use trine::{State, coroutine};

use super::{ANY, LONG, SHORT, everywhere, pair, until_it_waits};

fn blocks(socket: impl AsFd) -> bool {
    let flags = rustix::fs::fcntl_getfl(socket).unwrap();
    !flags.contains(rustix::fs::OFlags::NONBLOCK)
}

fn closes_on_exec(socket: impl AsFd) -> bool {
    rustix::io::fcntl_getfd(socket).unwrap().contains(rustix::io::FdFlags::CLOEXEC)
}

#[test]
fn a_listener_goes_to_std_and_back() {
    everywhere(|| {
        let listener = TcpListener::bind(ANY).unwrap();
        assert!(!blocks(&listener) && closes_on_exec(&listener));
        let (number, address) = (listener.as_raw_fd(), listener.local_addr().unwrap());
        let listener = net::TcpListener::from(listener);
        assert!(blocks(&listener) && listener.as_raw_fd() == number);
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        let listener = TcpListener::from(OwnedFd::from(TcpListener::from(listener)));
        assert!(!blocks(&listener) && listener.as_raw_fd() == number);
        let client = coroutine::spawn(move || TcpStream::connect(address).unwrap());
        let (accepted, from) = listener.accept().unwrap();
        assert_eq!(from, client.join().unwrap().local_addr().unwrap());
        assert!(!blocks(&accepted) && closes_on_exec(&accepted));
    });
}

#[test]
fn a_stream_goes_to_std_and_back_with_its_timeouts() {
    everywhere(|| {
        let (one, mut other) = pair();
        assert!(!blocks(&one) && closes_on_exec(&one) && closes_on_exec(one.try_clone().unwrap()));
        // Waits first, so that a reactor knows the descriptor.
        one.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!((&one).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        one.set_read_timeout(Some(LONG)).unwrap();
        let mut std = net::TcpStream::from(one);
        assert!(blocks(&std));
        assert_eq!(std.read_timeout().unwrap(), Some(LONG));
        assert_eq!(std.write_timeout().unwrap(), None);
        other.write_all(b"std").unwrap();
        let mut text = [0; 3];
        std.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"std");
        std.set_write_timeout(Some(2 * LONG)).unwrap();
        let one = TcpStream::from(std);
        assert!(!blocks(&one));
        assert_eq!(one.read_timeout().unwrap(), Some(LONG));
        assert_eq!(one.write_timeout().unwrap(), Some(2 * LONG));
        one.set_read_timeout(None).unwrap();
        let mut one = TcpStream::from(OwnedFd::from(one));
        assert_eq!(one.read_timeout().unwrap(), None);
        let late = coroutine::spawn(move || other.write_all(b"way").map(|()| other));
        one.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"way");
        drop(late.join().unwrap().unwrap());
    });
}

#[test]
fn a_packet_socket_goes_to_std_and_back_with_its_timeouts() {
    everywhere(|| {
        let socket = UdpSocket::bind(ANY).unwrap();
        assert!(!blocks(&socket) && closes_on_exec(&socket));
        socket.set_write_timeout(Some(LONG)).unwrap();
        let std = net::UdpSocket::from(socket);
        assert!(blocks(&std) && std.write_timeout().unwrap() == Some(LONG));
        let socket = UdpSocket::from(OwnedFd::from(UdpSocket::from(std)));
        assert!(!blocks(&socket) && socket.write_timeout().unwrap() == Some(LONG));
        socket.send_to(b"self", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4);
    });
}

#[test]
fn a_stream_whose_clone_was_given_to_std_still_parks() {
    let (one, mut other) = pair();
    let std = net::TcpStream::from(one.try_clone().unwrap());
    assert!(blocks(&one) && blocks(&std));
    let task = coroutine::spawn(move || (&one).read(&mut [0; 8]).map(|count| (count, one)));
    until_it_waits(&task);
    assert_eq!(task.state(), State::Waiting);
    other.write_all(b"both").unwrap();
    let (count, one) = task.join().unwrap().unwrap();
    assert_eq!(count, 4);
    let task = coroutine::spawn(move || (&one).write_all(&vec![0; 32 << 20]));
    until_it_waits(&task);
    assert_eq!(task.state(), State::Waiting);
    task.cancel();
    assert_eq!(task.join().unwrap().unwrap_err().to_string(), "cancelled");
}
