use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::time::{Duration, Instant};

use trine::coroutine;
use trine::net::UnixDatagram;

use super::place;
use crate::common::places::{PLACES, ends_from_outside, everywhere, pattern};
use crate::common::starts::no_child_starts;
use crate::common::waiting::until_waiting;

#[test]
fn each_message_keeps_its_bounds() {
    for sending in PLACES {
        for receiving in PLACES {
            let (here, there) = UnixDatagram::pair().unwrap();
            let sender = sending.spawn(move || {
                for n in 0..3000 {
                    let len = n * 7 % 3000;
                    assert_eq!(here.send(&pattern(n, len)).unwrap(), len);
                }
            });
            let receiver = receiving.spawn(move || {
                let mut buffer = vec![0; 4000];
                for n in 0..3000 {
                    let len = there.recv(&mut buffer).unwrap();
                    assert!(buffer[..len] == pattern(n, n * 7 % 3000), "{n}");
                }
            });
            sender.join().unwrap();
            receiver.join().unwrap();
        }
    }
}

#[test]
fn who_sends_to_a_full_receiver_waits_for_room() {
    const MESSAGES: u32 = 200;
    for sending in PLACES {
        for connected in [true, false] {
            let place = place();
            let receiver = UnixDatagram::bind(&place).unwrap();
            let path = place.0.clone();
            let sender = sending.spawn(move || {
                let sender = UnixDatagram::unbound().unwrap();
                if connected {
                    sender.connect(&path).unwrap();
                }
                for n in 0..MESSAGES {
                    let message = n.to_le_bytes();
                    match connected {
                        true => sender.send(&message).unwrap(),
                        false => sender.send_to(&message, &path).unwrap(),
                    };
                }
            });
            // The queue holds fewer.
            until_waiting(&sender);
            for n in 0..MESSAGES {
                let mut message = [0; 4];
                let (len, from) = receiver.recv_from(&mut message).unwrap();
                assert!(from.is_unnamed());
                assert_eq!((len, u32::from_le_bytes(message)), (4, n));
            }
            sender.join().unwrap();
        }
    }
}

#[test]
fn many_send_to_one_and_nothing_is_lost() {
    let place = place();
    let receiver = UnixDatagram::bind(&place).unwrap();
    let senders: Vec<_> = (0..50_u64)
        .map(|n| {
            let path = place.0.clone();
            PLACES[usize::from(n % 10 == 9)].spawn(move || {
                let sender = UnixDatagram::unbound().unwrap();
                if n % 2 == 0 {
                    sender.connect(&path).unwrap();
                }
                for message in n * 20..(n + 1) * 20 {
                    match n % 2 {
                        0 => sender.send(&message.to_le_bytes()).unwrap(),
                        _ => sender.send_to(&message.to_le_bytes(), &path).unwrap(),
                    };
                }
            })
        })
        .collect();
    let mut seen: Vec<u64> = (0..1000)
        .map(|_| {
            let mut message = [0; 8];
            assert_eq!(receiver.recv(&mut message).unwrap(), 8);
            u64::from_le_bytes(message)
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..1000));
}

#[test]
fn addresses_lengths_and_ends_are_as_in_std() {
    let _alone = no_child_starts();
    everywhere(|| {
        let (a, b) = (place(), place());
        let one = UnixDatagram::bind(&a).unwrap();
        let other = UnixDatagram::bind(&b).unwrap();
        assert_eq!(one.send(b"x").unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(one.send_to(b"a message", &b).unwrap(), 9);
        let mut buffer = [0; 4];
        // The message is truncated.
        let (len, from) = other.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from.as_pathname()), (4, Some(a.as_ref())));
        other.connect_addr(&from).unwrap();
        assert_eq!(other.peer_addr().unwrap().as_pathname(), Some(a.as_ref()));
        assert_eq!(other.local_addr().unwrap().as_pathname(), Some(b.as_ref()));
        assert_eq!(other.send(b"").unwrap(), 0);
        assert_eq!(other.send(b"next").unwrap(), 4);
        assert_eq!(one.recv(&mut []).unwrap(), 0);
        assert_eq!(one.recv(&mut buffer).unwrap(), 4);
        let too_long = other.send(&vec![0; 10 << 20]).unwrap_err();
        let std_s = std_net::UnixDatagram::pair().unwrap().0.send(&vec![0; 10 << 20]).unwrap_err();
        assert_eq!(too_long.raw_os_error(), std_s.raw_os_error());
        drop(one);
        assert_eq!(other.send(b"x").unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(other.send_to(b"x", &a).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        std::fs::remove_file(&a).unwrap();
        assert_eq!(other.send_to(b"x", &a).unwrap_err().kind(), ErrorKind::NotFound);
        let long = "x".repeat(108);
        assert_eq!(other.send_to(b"x", &long).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(UnixDatagram::bind(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(UnixDatagram::bind(&b).unwrap_err().kind(), ErrorKind::AddrInUse);
        other.shutdown(Shutdown::Read).unwrap();
        assert_eq!(other.recv(&mut buffer).unwrap(), 0);
        let (len, from) = other.recv_from(&mut buffer).unwrap();
        assert!(len == 0 && from.is_unnamed());
        assert!(other.take_error().unwrap().is_none());

        let name = place().0.clone().into_os_string().into_encoded_bytes();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let one = UnixDatagram::bind_addr(&address).unwrap();
        assert_eq!(UnixDatagram::unbound().unwrap().send_to_addr(b"abc", &address).unwrap(), 3);
        assert_eq!(one.recv(&mut buffer).unwrap(), 3);
    });
}

#[test]
fn a_timeout_ends_a_call() {
    everywhere(|| {
        let limit = Duration::from_millis(2);
        let place = place();
        let receiver = UnixDatagram::bind(&place).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let connected = UnixDatagram::unbound().unwrap();
        connected.connect(&place).unwrap();
        for socket in [&receiver, &sender, &connected] {
            let zero = Some(Duration::ZERO);
            assert_eq!(socket.set_read_timeout(zero).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(socket.set_write_timeout(zero).unwrap_err().kind(), ErrorKind::InvalidInput);
            socket.set_read_timeout(Some(limit)).unwrap();
            socket.set_write_timeout(Some(limit)).unwrap();
            assert_eq!(socket.read_timeout().unwrap(), Some(limit));
            assert_eq!(socket.write_timeout().unwrap(), Some(limit));
        }
        let begin = Instant::now();
        assert_eq!(receiver.recv(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(receiver.recv_from(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() >= 2 * limit);
        let error = loop {
            if let Err(error) = sender.send_to(b"x", &place) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(connected.send(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn sending_and_receiving_end_from_outside() {
    ends_from_outside(|| UnixDatagram::unbound()?.recv(&mut [0]).map(drop));
    ends_from_outside(|| UnixDatagram::unbound()?.recv_from(&mut [0]).map(drop));
    ends_from_outside(|| {
        let place = place();
        let _receiver = UnixDatagram::bind(&place)?;
        let sender = UnixDatagram::unbound()?;
        loop {
            sender.send_to(b"x", &place)?;
        }
    });
    ends_from_outside(|| {
        let (one, _other) = UnixDatagram::pair()?;
        loop {
            one.send(b"x")?;
        }
    });
}

#[test]
fn a_shutdown_by_another_ends_a_receive_that_waits() {
    for place in PLACES {
        let (here, there) = UnixDatagram::pair().unwrap();
        let handle = here.try_clone().unwrap();
        let receiver = place.spawn(move || {
            let len = here.recv(&mut [0; 9]).unwrap();
            (len, here.recv(&mut [0; 9]).unwrap())
        });
        there.send(b"abc").unwrap();
        until_waiting(&receiver);
        handle.shutdown(Shutdown::Read).unwrap();
        assert_eq!(receiver.join().unwrap(), (3, 0));
    }
}

#[test]
fn to_std_and_back() {
    everywhere(|| {
        let (one, other) = UnixDatagram::pair().unwrap();
        one.set_read_timeout(Some(Duration::from_millis(8))).unwrap();
        let one = std_net::UnixDatagram::from(one);
        let begin = Instant::now();
        assert_eq!(one.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(begin.elapsed() >= Duration::from_millis(8));
        let one = UnixDatagram::from(one);
        assert_eq!(one.recv(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        one.set_read_timeout(None).unwrap();
        let one = UnixDatagram::from(OwnedFd::from(one));
        let clone = one.try_clone().unwrap();
        assert_ne!(one.as_raw_fd(), clone.as_raw_fd());
        let waits = coroutine::spawn(move || clone.recv(&mut [0; 9]).unwrap());
        until_waiting(&waits);
        other.send(b"abc").unwrap();
        assert_eq!(waits.join().unwrap(), 3);
    });
}
