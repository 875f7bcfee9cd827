//! Failures have std's kinds of errors.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use trine::coroutine;
use trine::net::{Shutdown, TcpListener, TcpStream};

use crate::common::starts::no_child_starts;

use super::{ANY, KINDS, LONG, SHORT, everywhere, pair, spawn, until_it_waits};

/// Returns an address without a listener.
fn deserted() -> SocketAddr {
    TcpListener::bind(ANY).unwrap().local_addr().unwrap()
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    let _alone = no_child_starts();
    everywhere(|| {
        let address = deserted();
        for refused in [
            TcpStream::connect(address),
            TcpStream::connect_timeout(&address, LONG),
            TcpStream::connect("127.0.0.1:0"),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn the_first_address_that_answers_is_taken() {
    let _alone = no_child_starts();
    everywhere(|| {
        let listener = TcpListener::bind(ANY).unwrap();
        let here = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[deserted(), here, deserted()][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), here);
        let error = TcpStream::connect(&[deserted(), deserted()][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let nowhere: &[SocketAddr] = &[];
        assert_eq!(TcpStream::connect(nowhere).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(TcpListener::bind(nowhere).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_port_in_use_is_refused_and_can_be_had_again_afterwards() {
    let _alone = no_child_starts();
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    // A connection that this end has closed lingers at the port.
    let client = TcpStream::connect(address).unwrap();
    drop(listener.accept().unwrap());
    drop((client, listener));
    TcpListener::bind(address).unwrap();
    let elsewhere = TcpListener::bind("192.0.2.1:0").unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    let _alone = no_child_starts();
    everywhere(|| {
        let (mut one, other) = pair();
        other.set_linger(Some(Duration::ZERO)).unwrap();
        drop(other);
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(one.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(one.write(b"").unwrap_err().kind(), ErrorKind::BrokenPipe, "as std");
        assert_eq!(one.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        let (one, other) = pair();
        other.set_linger(Some(Duration::ZERO)).unwrap();
        drop(other);
        let error = one.take_error().unwrap().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(one.take_error().unwrap().is_none());
    });
}

#[test]
fn a_reset_ends_a_write_that_waits() {
    for kind in KINDS {
        let (mut one, other) = pair();
        let writer = spawn(kind, move || one.write_all(&vec![7; 32 << 20]).unwrap_err());
        until_it_waits(&writer);
        other.set_linger(Some(Duration::ZERO)).unwrap();
        drop(other);
        let kind = writer.join().unwrap().kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
    }
}

#[test]
fn after_a_shutdown_there_is_nothing_to_read_and_no_way_to_write() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        one.shutdown(Shutdown::Both).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
        assert_eq!(one.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn empty_buffers_do_not_wait_and_huge_ones_are_no_obstacle() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        assert_eq!(one.read(&mut []).unwrap(), 0);
        assert_eq!(one.peek(&mut []).unwrap(), 0);
        assert_eq!(one.write(&[]).unwrap(), 0);
        // Also if there is no room.
        one.set_write_timeout(Some(SHORT)).unwrap();
        while one.write(&[0; 65536]).is_ok() {}
        assert_eq!(one.write(&[]).unwrap(), 0);
        let mut huge = vec![0; 256 << 20];
        assert!(other.read(&mut huge).unwrap() > 0);
        assert!(other.write(&huge).unwrap() > 0);
    });
}

#[test]
fn a_timeout_is_timed_out_and_takes_nothing() {
    everywhere(|| {
        let (mut one, mut other) = pair();
        assert_eq!(one.read_timeout().unwrap(), None);
        one.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(one.read_timeout().unwrap(), Some(SHORT));
        for _ in 0..3 {
            let begin = Instant::now();
            assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(one.peek(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(begin.elapsed() >= 2 * SHORT);
        }
        one.set_read_timeout(Some(Duration::MAX)).unwrap();
        let late = coroutine::spawn(move || other.write_all(b"late").map(|()| other));
        let mut text = [0; 4];
        one.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"late");
        one.set_write_timeout(Some(SHORT)).unwrap();
        assert_eq!(one.write_timeout().unwrap(), Some(SHORT));
        let error = loop {
            if let Err(error) = one.write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(late.join().unwrap().unwrap());
    });
}

#[test]
fn a_timeout_of_zero_is_refused_and_the_old_one_stays() {
    let (one, _other) = pair();
    let zero = Some(Duration::ZERO);
    one.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(one.set_read_timeout(zero).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(one.set_write_timeout(zero).unwrap_err().kind(), ErrorKind::InvalidInput);
    let connect = TcpStream::connect_timeout(&deserted(), Duration::ZERO);
    assert_eq!(connect.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(one.read_timeout().unwrap(), Some(LONG));
}

#[test]
fn options_are_what_they_were_set_to() {
    let (one, _other) = pair();
    assert!(!one.nodelay().unwrap());
    one.set_nodelay(true).unwrap();
    assert!(one.nodelay().unwrap());
    one.set_ttl(7).unwrap();
    assert_eq!(one.ttl().unwrap(), 7);
    assert_eq!(one.linger().unwrap(), None);
    one.set_linger(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(one.linger().unwrap(), Some(Duration::from_secs(3)));
    assert!(one.take_error().unwrap().is_none());
    let text = format!("{one:?}");
    assert!(text.starts_with("TcpStream {") && text.contains("127.0.0.1"), "{text}");
    let listener = TcpListener::bind(ANY).unwrap();
    listener.set_ttl(9).unwrap();
    assert_eq!(listener.ttl().unwrap(), 9);
    assert!(listener.take_error().unwrap().is_none());
    assert!(format!("{listener:?}").starts_with("TcpListener {"));
}
