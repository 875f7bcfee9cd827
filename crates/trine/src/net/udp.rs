//! The UDP socket.

use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::ToSocketAddrs;
use super::address::invalid;
use super::timeout::Timeouts;
use crate::reactor::{Direction, Source};
use crate::sys;
use crate::sys::io::{Blocking, socket};

/// A UDP socket: the counterpart of [`std::net::UdpSocket`].
///
/// One receiver gets each packet. Bytes that do not fit into its buffer are lost. Packets may be
/// lost, duplicated or reordered. Dropping it closes the socket.
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
    /// Binds a socket to `address`, or to the first of its addresses that is available. For port 0
    /// the kernel chooses a free port, which [`local_addr`](Self::local_addr) returns.
    ///
    /// # Errors
    ///
    /// Fails with `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and other errors of the
    /// kernel, and as [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs) does.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<UdpSocket> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let source = Source::new(net::UdpSocket::bind(&addresses[..])?)?;
        Ok(UdpSocket { source, timeouts: Timeouts::default() })
    }

    /// Makes `address` the destination of [`send`](Self::send), and receives packets only from
    /// there. Sends nothing, and waits only to look up a name.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::connect`] and
    /// [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs) do.
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        self.source.get().connect(&addresses[..])
    }

    /// Sends a packet to the connected address, and waits while there is no room for it. Returns
    /// its length.
    ///
    /// # Errors
    ///
    /// Fails with `ConnectionRefused` if an earlier packet found no socket there; if the packet is
    /// too long or the socket is not connected; with `TimedOut`; and when the caller is
    /// interrupted.
    pub fn send(&self, packet: &[u8]) -> io::Result<usize> {
        self.source.retry(Direction::Write, self.timeouts.write.limit(), |socket| {
            socket::send(socket, packet, Blocking::No)
        })
    }

    /// Sends a packet to `address`, or to the first of its addresses, and waits while there is no
    /// room for it. Returns its length.
    ///
    /// # Errors
    ///
    /// Fails as [`send`](Self::send) and [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs) do.
    pub fn send_to<A: ToSocketAddrs>(&self, packet: &[u8], address: A) -> io::Result<usize> {
        let to = address.to_socket_addrs()?.next();
        let to = to.ok_or_else(|| invalid("no addresses to send data to"))?;
        self.source.retry(Direction::Write, self.timeouts.write.limit(), |socket| {
            sys::io::net::send_to(socket, packet, &to)
        })
    }

    /// Waits for a packet, and returns the number of bytes of `buffer` that it fills; 0 for an
    /// empty packet.
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`; with `ConnectionRefused` if the socket is connected and an earlier
    /// packet found no socket there; and when the caller is interrupted.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.retry(Direction::Read, self.timeouts.read.limit(), |socket| {
            socket::receive(socket, buffer, Blocking::No)
        })
    }

    /// Waits for a packet, and returns its length and its sender's address.
    ///
    /// # Errors
    ///
    /// Fails as [`recv`](Self::recv) does.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.retry(Direction::Read, self.timeouts.read.limit(), |socket| {
            sys::io::net::receive_from(socket, buffer)
        })
    }

    /// Waits for a packet without removing it, so that it is received again. Returns its length.
    ///
    /// # Errors
    ///
    /// Fails as [`recv`](Self::recv) does.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.retry(Direction::Read, self.timeouts.read.limit(), |socket| {
            socket::peek(socket, buffer)
        })
    }

    /// Waits for a packet without removing it, so that it is received again. Returns its length and
    /// its sender's address.
    ///
    /// # Errors
    ///
    /// Fails as [`recv`](Self::recv) does.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.retry(Direction::Read, self.timeouts.read.limit(), |socket| {
            sys::io::net::peek_from(socket, buffer)
        })
    }

    /// Creates a second handle of the socket. It has timeouts of its own, which start as this
    /// handle's.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(UdpSocket { source, timeouts: self.timeouts.clone() })
    }

    /// Sets the longest wait for a packet; `None` sets no limit. A call that exceeds it fails with
    /// `TimedOut`, where std's fails with `WouldBlock`.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the limit is zero.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(limit)
    }

    /// Sets the longest wait of a send; `None` sets no limit.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the limit is zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(limit)
    }

    /// Returns the longest wait for a packet.
    ///
    /// # Errors
    ///
    /// Never fails; std's signature has a `Result`.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// Returns the longest wait of a send.
    ///
    /// # Errors
    ///
    /// Never fails; std's signature has a `Result`.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.write.get())
    }

    /// Returns the address to which the socket is bound.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::local_addr`] does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Returns the address to which the socket is connected.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::peer_addr`] does.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Takes the pending error of the socket (`SO_ERROR`), if it has one.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::take_error`] does.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }

    /// Allows sending to a whole network (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::set_broadcast`] does.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.source.get().set_broadcast(broadcast)
    }

    /// Returns true if the socket may send to a whole network.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::broadcast`] does.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.source.get().broadcast()
    }

    /// Sets the number of routers that its packets may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::set_ttl`] does.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_ttl(ttl)
    }

    /// Returns the number of routers that its packets may pass.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::ttl`] does.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get().ttl()
    }

    /// Joins an IPv4 group, at the interface with that address; the unspecified address leaves the
    /// choice to the kernel.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::join_multicast_v4`] does.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get().join_multicast_v4(group, interface)
    }

    /// Joins an IPv6 group, at the interface of that index; 0 leaves the choice to the kernel.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::join_multicast_v6`] does.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get().join_multicast_v6(group, interface)
    }

    /// Leaves a group that was joined with the same arguments.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::leave_multicast_v4`] does.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get().leave_multicast_v4(group, interface)
    }

    /// Leaves a group that was joined with the same arguments.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::leave_multicast_v6`] does.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get().leave_multicast_v6(group, interface)
    }

    /// Sends packets to IPv4 groups to this machine, too (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::set_multicast_loop_v4`] does.
    pub fn set_multicast_loop_v4(&self, looped: bool) -> io::Result<()> {
        self.source.get().set_multicast_loop_v4(looped)
    }

    /// Returns true if this machine gets the packets to IPv4 groups, too.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::multicast_loop_v4`] does.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.source.get().multicast_loop_v4()
    }

    /// Sends packets to IPv6 groups to this machine, too (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::set_multicast_loop_v6`] does.
    pub fn set_multicast_loop_v6(&self, looped: bool) -> io::Result<()> {
        self.source.get().set_multicast_loop_v6(looped)
    }

    /// Returns true if this machine gets the packets to IPv6 groups, too.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::multicast_loop_v6`] does.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.source.get().multicast_loop_v6()
    }

    /// Sets the number of routers that packets to IPv4 groups may pass (`IP_MULTICAST_TTL`); 1 by
    /// default.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::set_multicast_ttl_v4`] does.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_multicast_ttl_v4(ttl)
    }

    /// Returns the number of routers that packets to IPv4 groups may pass.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::UdpSocket::multicast_ttl_v4`] does.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.source.get().multicast_ttl_v4()
    }

    /// Sets the number of routers that packets to IPv6 groups may pass (`IPV6_MULTICAST_HOPS`); 1
    /// by default. std has no such method.
    ///
    /// ```no_run
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("[::]:0")?;
    /// socket.set_multicast_hops_v6(4)?;
    /// assert_eq!(socket.multicast_hops_v6()?, 4);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the kernel refuses the option.
    pub fn set_multicast_hops_v6(&self, hops: u32) -> io::Result<()> {
        sys::io::net::set_multicast_hops_v6(&self.source, hops)
    }

    /// Returns the number of routers that packets to IPv6 groups may pass. std has no such method.
    ///
    /// # Errors
    ///
    /// Fails if the kernel refuses the option.
    pub fn multicast_hops_v6(&self) -> io::Result<u32> {
        sys::io::net::multicast_hops_v6(&self.source)
    }
}
