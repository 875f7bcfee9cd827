//! Echo by a bare loop on epoll, edge-triggered: a short read ends the reading.
//!
//! ```text
//!   epoll_wait ──► recv ──► send ──► full buffer? recv again
//!                                    short read: the socket is empty, wait for the next edge
//! ```
//!
//! Each message takes two system calls, and a share of the wait.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::socket::{BUFFER, listener};

/// A connection with its buffer, the state that a coroutine would have.
struct Connection {
    stream: TcpStream,
    buffer: [u8; BUFFER],
}

pub fn serve() -> anyhow::Result<()> {
    let listener = listener()?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    // Indexed by descriptor: the kernel hands out the smallest free number.
    let mut connections: Vec<Option<Box<Connection>>> = vec![];
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let fd = event.data.u64();
            if fd == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    let fd = stream.as_raw_fd() as usize;
                    let edges = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
                    epoll::add(&epoll, &stream, EventData::new_u64(fd as u64), edges)?;
                    connections.resize_with(connections.len().max(fd + 1), || None);
                    connections[fd] = Some(Box::new(Connection { stream, buffer: [0; BUFFER] }));
                }
            } else if let Some(connection) = &mut connections[fd as usize]
                && !connection.echo()
            {
                connections[fd as usize] = None;
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;

impl Connection {
    /// Sends back all that has arrived; returns false once the connection has ended.
    #[inline]
    fn echo(&mut self) -> bool {
        loop {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    // Never blocks: the load sends nothing more before it has the answer.
                    if self.stream.write_all(&self.buffer[..count]).is_err() {
                        return false;
                    }
                    if count < BUFFER {
                        return true;
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}
