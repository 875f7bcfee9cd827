//! Echo by a bare loop on epoll: edge-triggered, and a short read ends it.
//!
//! ```text
//!   epoll_wait ──► recv ──► send ──► full buffer? recv again
//!                                    short read: nothing is left, the next edge tells
//! ```
//!
//! Two calls for each message beside the wait, which many share.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::socket::{BUFFER, listener};

/// A connection with its buffer, as a coroutine would have it.
struct Talk {
    stream: TcpStream,
    buffer: [u8; BUFFER],
}

pub fn serve() -> anyhow::Result<()> {
    let listener = listener()?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    // By descriptor: they are small numbers, and given again.
    let mut talks: Vec<Option<Box<Talk>>> = vec![];
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
                    talks.resize_with(talks.len().max(fd + 1), || None);
                    talks[fd] = Some(Box::new(Talk { stream, buffer: [0; BUFFER] }));
                }
            } else if let Some(talk) = &mut talks[fd as usize]
                && !talk.echo()
            {
                talks[fd as usize] = None;
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;

impl Talk {
    /// Sends back what has come; whether the connection goes on.
    #[inline]
    fn echo(&mut self) -> bool {
        loop {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    // The answers of a load that waits for them always have room.
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
