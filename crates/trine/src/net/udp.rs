//! Packets.

use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::ToSocketAddrs;
use super::address::invalid;
use super::timeout::Timeouts;
use crate::reactor::{Direction, Source};
use crate::sys;
use crate::sys::io::{Blocking, socket};

/// A socket for packets; as [`std::net::UdpSocket`].
///
/// Each packet is received whole, by one of those who wait, or not at all: what does not fit into the
/// buffer is gone. Packets may be lost, doubled or come in another order. Closed when dropped.
///
/// ```
/// use trine::coroutine;
/// use trine::net::UdpSocket;
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let address = server.local_addr()?;
/// let echo = coroutine::spawn(move || {
///     let mut buffer = [0; 1500];
///     let (count, from) = server.recv_from(&mut buffer)?;
///     server.send_to(&buffer[..count], from)
/// });
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.connect(address)?;
/// client.send(b"hello")?;
/// let mut answer = [0; 16];
/// assert_eq!(client.recv(&mut answer)?, 5);
/// assert_eq!(&answer[..5], b"hello");
/// echo.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    pub(super) source: Source<net::UdpSocket>,
    pub(super) timeouts: Timeouts,
}

impl UdpSocket {
    /// A socket that receives at `address`; at the first that can be had, if it stands for several. Port 0
    /// has the kernel choose a free one, which [`local_addr`](Self::local_addr) tells.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and others of the kernel; those of
    /// [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs).
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<UdpSocket> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let source = Source::new(net::UdpSocket::bind(&addresses[..])?)?;
        Ok(UdpSocket { source, timeouts: Timeouts::default() })
    }

    /// Has [`send`](Self::send) go to `address`, and only packets from there be received. Asks nobody, and
    /// does not wait unless for a name.
    ///
    /// # Errors
    ///
    /// The kernel's; those of [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs).
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        self.source.get().connect(&addresses[..])
    }

    /// Sends a packet to where it is connected to; waits while there is no room for it. The value is the
    /// number of bytes, which is all.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if an earlier packet found nobody there; the kernel's, if it is too long for
    /// a packet or nobody is connected; `TimedOut`; what interrupts the caller.
    pub fn send(&self, packet: &[u8]) -> io::Result<usize> {
        self.source.retry(Direction::Write, self.timeouts.write.get(), |socket| {
            socket::send(socket, packet, Blocking::No)
        })
    }

    /// Sends a packet to `address`, the first one if it stands for several; waits while there is no room for
    /// it. The value is the number of bytes, which is all.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); those of [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs).
    pub fn send_to<A: ToSocketAddrs>(&self, packet: &[u8], address: A) -> io::Result<usize> {
        let to = address.to_socket_addrs()?.next();
        let to = to.ok_or_else(|| invalid("no addresses to send data to"))?;
        self.source.retry(Direction::Write, self.timeouts.write.get(), |socket| {
            sys::io::net::send_to(socket, packet, &to)
        })
    }

    /// Waits for a packet, and says how many bytes of `buffer` it fills; 0 is an empty packet.
    ///
    /// # Errors
    ///
    /// `TimedOut`; `ConnectionRefused` if it is connected and an earlier packet found nobody there; what
    /// interrupts the caller.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.retry(Direction::Read, self.timeouts.read.get(), |socket| {
            socket::receive(socket, buffer, Blocking::No)
        })
    }

    /// As [`recv`](Self::recv), and says where the packet is from.
    ///
    /// # Errors
    ///
    /// As `recv`.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.retry(Direction::Read, self.timeouts.read.get(), |socket| {
            sys::io::net::receive_from(socket, buffer)
        })
    }

    /// As [`recv`](Self::recv), but the packet stays there to be received again.
    ///
    /// # Errors
    ///
    /// As `recv`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Direction::Read, self.timeouts.read.get(), |socket| socket::peek(socket, buffer))
    }

    /// As [`recv_from`](Self::recv_from), but the packet stays there to be received again.
    ///
    /// # Errors
    ///
    /// As `recv`.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.retry(Direction::Read, self.timeouts.read.get(), |socket| {
            sys::io::net::peek_from(socket, buffer)
        })
    }

    /// Another handle of the same socket, with timeouts of its own, which begin as this one's.
    ///
    /// # Errors
    ///
    /// If there is no room for one more descriptor.
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(UdpSocket { source, timeouts: self.timeouts.clone() })
    }

    /// The longest time that receiving waits; `None` is no limit. Where std says `WouldBlock` then, it is
    /// `TimedOut` here.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(limit)
    }

    /// The longest time that sending waits; `None` is no limit.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(limit)
    }

    /// The longest time that receiving waits.
    ///
    /// # Errors
    ///
    /// None; std has a `Result` here.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// The longest time that sending waits.
    ///
    /// # Errors
    ///
    /// None; std has a `Result` here.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.write.get())
    }

    /// Where it receives.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Where it is connected to.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Takes the error that waits in the socket (`SO_ERROR`), if one does.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }

    /// Whether it may send to a whole network (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.source.get().set_broadcast(broadcast)
    }

    /// Whether it may send to a whole network.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.source.get().broadcast()
    }

    /// How many routers its packets may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_ttl(ttl)
    }

    /// How many routers its packets may pass.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get().ttl()
    }

    /// Receives what is sent to `group` from now on, at the interface with that address; the unspecified one leaves the choice
    /// to the kernel.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get().join_multicast_v4(group, interface)
    }

    /// Receives what is sent to `group` from now on, at the interface of that number; 0 leaves the choice to the kernel.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get().join_multicast_v6(group, interface)
    }

    /// Leaves a group that was joined with the same arguments.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get().leave_multicast_v4(group, interface)
    }

    /// Leaves a group that was joined with the same arguments.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get().leave_multicast_v6(group, interface)
    }

    /// Whether this machine gets what is sent to IPv4 groups too (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_multicast_loop_v4(&self, looped: bool) -> io::Result<()> {
        self.source.get().set_multicast_loop_v4(looped)
    }

    /// Whether this machine gets what is sent to IPv4 groups too.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.source.get().multicast_loop_v4()
    }

    /// Whether this machine gets what is sent to IPv6 groups too (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_multicast_loop_v6(&self, looped: bool) -> io::Result<()> {
        self.source.get().set_multicast_loop_v6(looped)
    }

    /// Whether this machine gets what is sent to IPv6 groups too.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.source.get().multicast_loop_v6()
    }

    /// How many routers packets to IPv4 groups may pass (`IP_MULTICAST_TTL`); 1 at first.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_multicast_ttl_v4(ttl)
    }

    /// How many routers packets to IPv4 groups may pass.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.source.get().multicast_ttl_v4()
    }

    /// How many routers packets to IPv6 groups may pass (`IPV6_MULTICAST_HOPS`); 1 at first. std has no such method.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_multicast_hops_v6(&self, hops: u32) -> io::Result<()> {
        sys::io::net::set_multicast_hops_v6(&self.source, hops)
    }

    /// How many routers packets to IPv6 groups may pass. std has no such method.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn multicast_hops_v6(&self) -> io::Result<u32> {
        sys::io::net::multicast_hops_v6(&self.source)
    }
}
