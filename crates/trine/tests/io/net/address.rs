//! Addresses are parsed as std parses them.

use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use trine::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::{ANY, everywhere};

fn all(addresses: impl ToSocketAddrs) -> Vec<SocketAddr> {
    addresses.to_socket_addrs().unwrap().collect()
}

#[test]
#[expect(clippy::needless_borrows_for_generic_args, reason = "references are what is tested")]
fn each_implementor_stands_for_what_it_says() {
    let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::LOCALHOST);
    let expected = vec![SocketAddr::from((v4, 80))];
    assert_eq!(all(expected[0]), expected);
    assert_eq!(all(SocketAddrV4::new(v4, 80)), expected);
    assert_eq!(all((IpAddr::V4(v4), 80)), expected);
    assert_eq!(all((v4, 80)), expected);
    assert_eq!(all(("192.0.2.1", 80)), expected);
    assert_eq!(all((String::from("192.0.2.1"), 80)), expected);
    assert_eq!(all("192.0.2.1:80"), expected);
    assert_eq!(all(String::from("192.0.2.1:80")), expected);
    assert_eq!(all(&String::from("192.0.2.1:80")), expected);
    assert_eq!(all(&&"192.0.2.1:80"), expected);
    assert_eq!(all(&expected[..]), expected);
    let expected = vec![SocketAddr::from((v6, 80))];
    assert_eq!(all(SocketAddrV6::new(v6, 80, 0, 0)), expected);
    assert_eq!(all((v6, 80)), expected);
    assert_eq!(all(("::1", 80)), expected);
    assert_eq!(all("[::1]:80"), expected);
}

#[test]
fn text_is_read_or_refused_as_std_does() {
    everywhere(|| {
        for text in [
            "",
            "x",
            ":",
            "x:y",
            "1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "1.2.3.4:-1",
            "[::1]",
            "::1:80",
            "[::1]:80",
            "[::1%2]:80",
            "[fe80::1%2]:80",
            "localhost:80",
            "a b:80",
            "nul\0nul:80",
            "☃:80",
            "256.1.1.1:4",
            "no-such-name.invalid:80",
        ] {
            let ours = text.to_socket_addrs().map(Vec::from_iter);
            let std = net::ToSocketAddrs::to_socket_addrs(text).map(Vec::from_iter);
            match (ours, std) {
                (Ok(ours), Ok(std)) => assert_eq!(ours, std, "{text:?}"),
                (Err(ours), Err(std)) => {
                    assert_eq!(ours.kind(), std.kind(), "{text:?}");
                    // The resolver's reason for an empty result varies.
                    assert!(!ours.to_string().is_empty());
                }
                (ours, std) => panic!("{text:?}: {ours:?}, {std:?}"),
            }
        }
    });
}

#[test]
fn a_name_leads_to_its_socket() {
    everywhere(|| {
        let listener = TcpListener::bind(ANY).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("localhost", port)).unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), port);
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        assert!(TcpStream::connect(format!("localhost:{port}")).is_ok());
    });
}

#[test]
fn the_sixth_version_is_served_where_there_is_one() {
    everywhere(|| {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        assert!(address.is_ipv6() && stream.peer_addr().unwrap() == address);
    });
}
