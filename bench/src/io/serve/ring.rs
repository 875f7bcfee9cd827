//! Echo by a bare loop on io_uring, in two ways.
//!
//! ```text
//!   Receive   RECV in the ring ─► send(2) ─► RECV …         as trine's coroutines do it
//!   Poll      POLL_ADD, multishot ─► RECV ─► SEND, all in the ring
//! ```
//!
//! One thread has one ring. The kernel runs the work of a completion when the thread waits for
//! completions (`SINGLE_ISSUER`, `DEFER_TASKRUN`). One multishot operation accepts all connections.
//!
//! A connection's stream and buffer stay in place while one of its operations is in flight:
//!
//! | way | in flight | end of the connection |
//! |---|---|---|
//! | Receive | its RECV, always | RECV reports that the client has closed |
//! | Poll | its POLL_ADD, always; a RECV or SEND while `busy` | RECV reports that the client has |
//! | | | closed: POLL_ADD is removed, then its last completion arrives |

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::socket::{BUFFER, listener};

/// The way messages are received and sent.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Receive,
    Poll,
}

/// Operations: the upper half of a completion's `user_data`. The lower half is the descriptor.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const POLL: u64 = 3;
const UNPOLL: u64 = 4;

/// A flag of RECV: wait until the socket is readable before the first try.
const POLL_FIRST: u16 = 1;

/// Entries of the submission queue; a quarter of the completion queue's.
const ENTRIES: u32 = 4_096;

struct Connection {
    stream: TcpStream,
    buffer: [u8; BUFFER],
    /// True while a RECV or a SEND is in flight.
    busy: bool,
    /// True if the socket became readable while the connection was busy.
    more: bool,
    /// True once the client has closed.
    closed: bool,
}

struct Loop {
    ring: IoUring,
    way: Way,
    /// Indexed by descriptor: the kernel hands out the smallest free number.
    connections: Vec<Option<Box<Connection>>>,
}

pub fn serve(way: Way) -> anyhow::Result<()> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(ENTRIES * 4).setup_coop_taskrun().setup_taskrun_flag();
    builder.setup_single_issuer().setup_defer_taskrun();
    let ring = builder.build(ENTRIES)?;
    ring.submitter().register_ring_fd()?;
    let listener = listener()?;
    let mut this = Loop { ring, way, connections: vec![] };
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()));
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    this.push(accept.flags(flags).build().user_data(tag(ACCEPT, 0)));

    let mut completed = vec![];
    loop {
        match this.ring.submit_and_wait(1) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {
                return Err(error.into());
            }
            _ => {}
        }
        completed.clear();
        let entry = |entry: cqueue::Entry| (entry.user_data(), entry.result(), entry.flags());
        completed.extend(this.ring.completion().map(entry));
        for &(tag, result, flags) in &completed {
            this.complete(tag >> 32, tag as RawFd, result, cqueue::more(flags))?;
        }
    }
}

fn tag(operation: u64, fd: RawFd) -> u64 {
    operation << 32 | u64::from(fd.cast_unsigned())
}

impl Loop {
    #[inline]
    fn complete(
        &mut self,
        operation: u64,
        fd: RawFd,
        result: i32,
        goes_on: bool,
    ) -> anyhow::Result<()> {
        match operation {
            ACCEPT => {
                anyhow::ensure!(result >= 0 && goes_on, "accepting ended with {result}");
                // SAFETY: the ring has just created this descriptor for us.
                let stream = unsafe { TcpStream::from_raw_fd(result) };
                self.begin(stream)?;
            }
            RECEIVE if self.way == Way::Receive => self.answer_at_once(fd, result),
            RECEIVE => self.answer(fd, result),
            SEND => self.sent(fd),
            POLL => self.polled(fd, goes_on),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd();
        let slot = fd as usize;
        self.connections.resize_with(self.connections.len().max(slot + 1), || None);
        self.connections[slot] = Some(Box::new(Connection {
            stream,
            buffer: [0; BUFFER],
            busy: false,
            more: false,
            closed: false,
        }));
        match self.way {
            Way::Receive => self.receive(fd, POLL_FIRST, 0),
            Way::Poll => self.poll(fd),
        }
        Ok(())
    }

    /// `Receive`: sends the answer with a system call, and starts to receive the next message.
    #[inline]
    fn answer_at_once(&mut self, fd: RawFd, received: i32) {
        let connection = self.connection(fd);
        let count = received.max(0) as usize;
        // Never blocks: the load sends nothing more before it has the answer.
        if count > 0 && connection.stream.write_all(&connection.buffer[..count]).is_ok() {
            self.receive(fd, POLL_FIRST, 0);
        } else {
            self.connections[fd as usize] = None;
        }
    }

    /// `Poll`: handles a readable socket, or the end of its POLL_ADD.
    #[inline]
    fn polled(&mut self, fd: RawFd, goes_on: bool) {
        let connection = self.connection(fd);
        if connection.closed {
            if !goes_on {
                self.connections[fd as usize] = None;
            }
            return;
        }
        let busy = std::mem::replace(&mut connection.busy, true);
        connection.more = busy;
        if !goes_on {
            self.poll(fd);
        }
        if !busy {
            self.receive(fd, 0, libc::MSG_DONTWAIT);
        }
    }

    /// `Poll`: sends the answer through the ring.
    #[inline]
    fn answer(&mut self, fd: RawFd, received: i32) {
        let connection = self.connection(fd);
        if received > 0 {
            let buffer = connection.buffer.as_ptr();
            let send = opcode::Send::new(Fd(fd), buffer, received.cast_unsigned());
            self.push(send.flags(libc::MSG_NOSIGNAL).build().user_data(tag(SEND, fd)));
        } else if received == -libc::EAGAIN {
            self.sent(fd);
        } else {
            connection.closed = true;
            let remove = opcode::PollRemove::new(tag(POLL, fd));
            self.push(remove.build().user_data(tag(UNPOLL, fd)));
        }
    }

    /// `Poll`: the buffer is free again; receives if more has arrived meanwhile.
    #[inline]
    fn sent(&mut self, fd: RawFd) {
        let connection = self.connection(fd);
        connection.busy = std::mem::take(&mut connection.more);
        if connection.busy {
            self.receive(fd, 0, libc::MSG_DONTWAIT);
        }
    }

    #[inline]
    fn receive(&mut self, fd: RawFd, when: u16, flags: i32) {
        let buffer = self.connection(fd).buffer.as_mut_ptr();
        let receive = opcode::Recv::new(Fd(fd), buffer, BUFFER as u32).ioprio(when).flags(flags);
        self.push(receive.build().user_data(tag(RECEIVE, fd)));
    }

    fn poll(&mut self, fd: RawFd) {
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let poll = opcode::PollAdd::new(Fd(fd), events).multi(true);
        self.push(poll.build().user_data(tag(POLL, fd)));
    }

    #[inline]
    fn connection(&mut self, fd: RawFd) -> &mut Connection {
        self.connections[fd as usize].as_mut().expect("one of its operations was in flight")
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: an operation's buffer is in its boxed `Connection`, which lives until none of its
        // operations is in flight (the table above), and is not accessed meanwhile.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // The queue is full: hand its entries to the kernel, which makes room. An error means
            // that the kernel has no room either, and passes.
            let _ = self.ring.submit();
        }
    }
}
