//! Listeners of the servers, and how a server announces its address.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

/// The size of every echo server's buffer.
pub const BUFFER: usize = 2_048;

/// Connections that the kernel queues until the server accepts them.
const BACKLOG: i32 = 4_096;

/// Listens on the loopback, with a long backlog, and announces the address.
pub fn listener() -> anyhow::Result<TcpListener> {
    let family = AddressFamily::INET;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    announce(&listener.local_addr()?.to_string())?;
    Ok(listener)
}

/// Prints the server's address for the measurement.
pub fn announce(address: &str) -> anyhow::Result<()> {
    println!("{address}");
    Ok(std::io::stdout().flush()?)
}

/// Returns an unused address, for servers that cannot report the address they are bound to.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
