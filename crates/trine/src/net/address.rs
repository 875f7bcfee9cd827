//! Socket addresses, and names to look up.

use std::io;
use std::iter::Cloned;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{net, option, slice, vec};

use crate::reactor::blocking::{self, Lane};
use crate::task::Interrupted;

/// A value that stands for one or more socket addresses: the counterpart of
/// [`std::net::ToSocketAddrs`].
///
/// Looking up a name parks the calling coroutine; std would block its carrier. At most `max(64, 4 ×
/// cores)` names are looked up at once, and the others wait for their turn.
///
/// | type | addresses |
/// |---|---|
/// | [`SocketAddr`], [`SocketAddrV4`], [`SocketAddrV6`] | itself |
/// | ([`IpAddr`], `u16`), also with [`Ipv4Addr`] or [`Ipv6Addr`] | address and port |
/// | (`&str`, `u16`), (`String`, `u16`) | an address or a name, and a port |
/// | `&str`, `String` | `"address:port"`, `"[address]:port"` or `"name:port"` |
/// | `&[SocketAddr]` | each of them, in that order |
///
/// Only names are looked up. Text that can be read as an address is one.
///
/// ```
/// use trine::net::ToSocketAddrs;
///
/// let loopback = "127.0.0.1:80".to_socket_addrs()?.next().unwrap();
/// assert_eq!(loopback, ([127, 0, 0, 1], 80).into());
/// let named: Vec<_> = ("localhost", 80).to_socket_addrs()?.collect();
/// assert!(named.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToSocketAddrs {
    /// Iterator over the addresses.
    type Iter: Iterator<Item = SocketAddr>;

    /// Returns the addresses, of which a name has any number.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the value cannot be read as an address, with the resolver's
    /// error for a name, and when the caller is interrupted.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Looks up the addresses of a name, on a thread for blocking calls.
fn resolve_name(name: &str, port: u16) -> io::Result<vec::IntoIter<SocketAddr>> {
    let name = name.to_owned();
    blocking::detached(Lane::Names, move || net::ToSocketAddrs::to_socket_addrs(&(name, port)))?
}

/// Calls `attempt` with each address until it succeeds; returns the error of the last one
/// otherwise.
///
/// # Errors
///
/// Fails at once when the caller is interrupted: attempts with other addresses would fail in the
/// same way.
pub(super) fn first<T>(
    addresses: impl ToSocketAddrs,
    mut attempt: impl FnMut(&SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses.to_socket_addrs()? {
        match attempt(&address) {
            Err(error) if !Interrupted::is_in(&error) => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| invalid("could not resolve to any addresses")))
}

pub(super) fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl ToSocketAddrs for SocketAddr {
    type Iter = option::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(Some(*self).into_iter())
    }
}

impl ToSocketAddrs for SocketAddrV4 {
    type Iter = option::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::V4(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for SocketAddrV6 {
    type Iter = option::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::V6(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (IpAddr, u16) {
    type Iter = option::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::from(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (Ipv4Addr, u16) {
    type Iter = option::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::from(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (Ipv6Addr, u16) {
    type Iter = option::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::from(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)].into_iter()),
            Err(_) => resolve_name(host, port),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        if let Ok(address) = self.parse::<SocketAddr>() {
            return Ok(vec![address].into_iter());
        }
        let (host, port) =
            self.rsplit_once(':').ok_or_else(|| invalid("invalid socket address"))?;
        let port: u16 = port.parse().map_err(|_| invalid("invalid port value"))?;
        (host, port).to_socket_addrs()
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = Cloned<slice::Iter<'a, SocketAddr>>;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}
