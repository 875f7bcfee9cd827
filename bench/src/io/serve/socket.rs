//! Listeners of the servers, and how a server announces its address.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

/// The room that every echo server has for what it reads.
pub const BUFFER: usize = 2_048;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4_096;

/// A listener on the loopback with a long backlog, announced.
pub fn listener() -> anyhow::Result<TcpListener> {
    let family = AddressFamily::INET;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    announce(&listener.local_addr()?.to_string())?;
    Ok(listener)
}

/// Tells the measurement where the server is.
pub fn announce(address: &str) -> anyhow::Result<()> {
    println!("{address}");
    Ok(std::io::stdout().flush()?)
}

/// An address that is free now, for servers that cannot say which one they were given.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
