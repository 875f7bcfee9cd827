//! UDP sockets.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use trine::net::UdpSocket;
use trine::{coroutine, time};

use crate::common::starts::no_child_starts;

use super::{ANY, KINDS, LONG, SHORT, everywhere, spawn};

fn pair() -> (UdpSocket, UdpSocket) {
    let (one, other) = (UdpSocket::bind(ANY).unwrap(), UdpSocket::bind(ANY).unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

#[test]
fn packets_keep_their_bounds() {
    everywhere(|| {
        let (one, other) = pair();
        assert_eq!(one.peer_addr().unwrap(), other.local_addr().unwrap());
        let late = coroutine::spawn(move || {
            for packet in ["one", "", "three and more"] {
                assert_eq!(one.send(packet.as_bytes()).unwrap(), packet.len());
            }
            one
        });
        let mut buffer = [0; 5];
        assert_eq!(other.peek(&mut buffer).unwrap(), 3);
        assert_eq!(other.recv(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"one");
        assert_eq!(other.recv(&mut buffer).unwrap(), 0, "an empty packet is one");
        assert_eq!(other.recv(&mut buffer).unwrap(), 5, "the rest is gone");
        assert_eq!(&buffer, b"three");
        other.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(other.recv(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(late.join().unwrap());
    });
}

#[test]
fn an_answer_goes_where_the_question_came_from() {
    everywhere(|| {
        let server = UdpSocket::bind(ANY).unwrap();
        let address = server.local_addr().unwrap();
        let echo = coroutine::spawn(move || {
            let mut buffer = [0; 100];
            for _ in 0..20 {
                let seen = server.peek_from(&mut buffer).unwrap();
                let (count, from) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(seen, (count, from));
                server.send_to(&buffer[..count], from).unwrap();
            }
        });
        // One at a time: no packet can be lost for lack of room.
        for n in 0..20_u8 {
            let client = UdpSocket::bind(ANY).unwrap();
            client.send_to(&[n; 10], address).unwrap();
            let mut answer = [0; 100];
            assert_eq!(client.recv_from(&mut answer).unwrap(), (10, address));
            assert_eq!(answer[..10], [n; 10]);
        }
        echo.join().unwrap();
    });
}

#[test]
fn each_packet_is_received_by_one_of_several() {
    let server = Arc::new(UdpSocket::bind(ANY).unwrap());
    let receivers: Vec<_> = (0..4)
        .map(|n| {
            let server = Arc::clone(&server);
            spawn(KINDS[n % 2], move || {
                let (mut buffer, mut seen) = ([0; 8], Vec::new());
                while server.recv(&mut buffer).unwrap() == 1 {
                    seen.push(buffer[0]);
                }
                seen
            })
        })
        .collect();
    let client = UdpSocket::bind(ANY).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    (0..100_u8).for_each(|n| assert_eq!(client.send(&[n]).unwrap(), 1));
    // An empty packet makes a receiver end.
    (0..4).for_each(|_| assert_eq!(client.send(&[]).unwrap(), 0));
    let mut seen: Vec<u8> =
        receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..100));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    everywhere(|| {
        let socket = UdpSocket::bind(ANY).unwrap();
        let address = socket.local_addr().unwrap();
        let nowhere: &[SocketAddr] = &[];
        assert_eq!(socket.send_to(b"x", nowhere).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(socket.connect(nowhere).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(socket.send_to(b"x", "nonsense").unwrap_err().kind(), ErrorKind::InvalidInput);
        let own = std::net::UdpSocket::bind(ANY).unwrap();
        for packet in [&vec![0; 70_000][..], &vec![0; 10 << 20]] {
            let ours = socket.send_to(packet, address).unwrap_err();
            let std = own.send_to(packet, address).unwrap_err();
            assert_eq!(ours.raw_os_error(), std.raw_os_error());
        }
        let (ours, std) = (socket.send(b"x").unwrap_err(), own.send(b"x").unwrap_err());
        assert_eq!(ours.raw_os_error(), std.raw_os_error());
        assert_eq!(UdpSocket::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn a_packet_that_found_nobody_is_told_to_a_connected_sender() {
    let _alone = no_child_starts();
    everywhere(|| {
        let (one, other) = pair();
        drop(other);
        one.send(b"anybody there?").unwrap();
        let error = one.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(one.take_error().unwrap().is_none());
    });
}

#[test]
fn timeouts_and_clones() {
    everywhere(|| {
        let (one, other) = pair();
        assert_eq!(
            one.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        one.set_read_timeout(Some(SHORT)).unwrap();
        one.set_write_timeout(Some(LONG)).unwrap();
        let clone = one.try_clone().unwrap();
        one.set_read_timeout(None).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(SHORT));
        assert_eq!(clone.write_timeout().unwrap(), Some(LONG));
        for error in [
            clone.recv(&mut [0]).unwrap_err(),
            clone.recv_from(&mut [0]).unwrap_err(),
            clone.peek(&mut [0]).unwrap_err(),
            clone.peek_from(&mut [0]).unwrap_err(),
            time::timeout(SHORT, || one.recv(&mut [0])).unwrap().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        other.send(b"x").unwrap();
        assert_eq!(clone.recv(&mut [0; 9]).unwrap(), 1);
    });
}

#[test]
fn options_are_what_they_were_set_to() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_broadcast(true).unwrap();
    assert!(socket.broadcast().unwrap());
    socket.set_ttl(7).unwrap();
    assert_eq!(socket.ttl().unwrap(), 7);
    socket.set_multicast_ttl_v4(8).unwrap();
    assert_eq!(socket.multicast_ttl_v4().unwrap(), 8);
    socket.set_multicast_loop_v4(false).unwrap();
    assert!(!socket.multicast_loop_v4().unwrap());
    let not_a_group = socket.join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::UNSPECIFIED);
    assert_eq!(not_a_group.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(format!("{socket:?}").starts_with("UdpSocket {"));
    let Ok(socket) = UdpSocket::bind("[::]:0") else { return };
    socket.set_multicast_loop_v6(false).unwrap();
    assert!(!socket.multicast_loop_v6().unwrap());
    socket.set_multicast_hops_v6(9).unwrap();
    assert_eq!(socket.multicast_hops_v6().unwrap(), 9);
    let not_a_group = socket.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0);
    assert_eq!(not_a_group.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_is_sent_to_a_group_is_received_by_those_who_have_joined() {
    let group = Ipv4Addr::new(239, 77, 3, 1);
    let member = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Without a route for multicast at loopback, the test has nothing to check.
    if member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).is_err() {
        return;
    }
    let port = member.local_addr().unwrap().port();
    let sender = UdpSocket::bind(ANY).unwrap();
    sender.set_multicast_loop_v4(true).unwrap();
    if sender.send_to(b"to all", (group, port)).is_err() {
        return;
    }
    member.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    if let Ok((count, from)) = coroutine::spawn(move || {
        let received = member.recv_from(&mut [0; 16]);
        member.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        received
    })
    .join()
    .unwrap()
    {
        assert_eq!((count, from), (6, sender.local_addr().unwrap()));
    }
}
