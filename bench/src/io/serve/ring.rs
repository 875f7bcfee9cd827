//! Echo by a bare loop on io_uring, in two ways.
//!
//! ```text
//!   Receive   RECV in the ring ─► send(2) ─► RECV …         as trine's coroutines do it
//!   Poll      POLL_ADD, once for all ─► RECV ─► SEND, both in the ring
//! ```
//!
//! One ring for one thread, which does its completions' work when it asks for them
//! (`SINGLE_ISSUER`, `DEFER_TASKRUN`). Accepting is an operation of its own, asked for once.
//!
//! A connection's stream and buffer stay where they are until no operation of it is under way:
//!
//! | | is under way | ends |
//! |---|---|---|
//! | Receive | its RECV, always | when that says that the client has gone |
//! | Poll | its POLL_ADD, always; a RECV or SEND while `busy` | RECV says that the client has gone: POLL_ADD is removed, and its last completion is awaited |

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::socket::{BUFFER, listener};

/// How messages come and go.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Receive,
    Poll,
}

/// What was asked for: the upper half of a completion's `user_data`; the lower is the descriptor.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const POLL: u64 = 3;
const UNPOLL: u64 = 4;

/// RECV: do not try before the socket has said that it is readable.
const POLL_FIRST: u16 = 1;

/// Room for operations, and for completions.
const ENTRIES: u32 = 4_096;

struct Talk {
    stream: TcpStream,
    buffer: [u8; BUFFER],
    /// A RECV or a SEND is under way.
    busy: bool,
    /// More came meanwhile.
    more: bool,
    /// The client has gone.
    gone: bool,
}

struct Loop {
    ring: IoUring,
    way: Way,
    /// By descriptor: they are small numbers, and given again.
    talks: Vec<Option<Box<Talk>>>,
}

pub fn serve(way: Way) -> anyhow::Result<()> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(ENTRIES * 4).setup_coop_taskrun().setup_taskrun_flag();
    builder.setup_single_issuer().setup_defer_taskrun();
    let ring = builder.build(ENTRIES)?;
    ring.submitter().register_ring_fd()?;
    let listener = listener()?;
    let mut this = Loop { ring, way, talks: vec![] };
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
    fn complete(&mut self, what: u64, fd: RawFd, result: i32, goes_on: bool) -> anyhow::Result<()> {
        match what {
            ACCEPT => {
                anyhow::ensure!(result >= 0 && goes_on, "accepting ended with {result}");
                // SAFETY: the ring has just made this descriptor, for us.
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
        self.talks.resize_with(self.talks.len().max(slot + 1), || None);
        let (busy, more, gone) = (false, false, false);
        self.talks[slot] = Some(Box::new(Talk { stream, buffer: [0; BUFFER], busy, more, gone }));
        match self.way {
            Way::Receive => self.receive(fd, POLL_FIRST, 0),
            Way::Poll => self.poll(fd),
        }
        Ok(())
    }

    /// `Receive`: the answer goes out by a call, and the next message is asked for.
    #[inline]
    fn answer_at_once(&mut self, fd: RawFd, received: i32) {
        let talk = self.talk(fd);
        let count = received.max(0) as usize;
        // The answers of a load that waits for them always have room.
        if count > 0 && talk.stream.write_all(&talk.buffer[..count]).is_ok() {
            self.receive(fd, POLL_FIRST, 0);
        } else {
            self.talks[fd as usize] = None;
        }
    }

    /// `Poll`: something has come, or the watch has ended.
    #[inline]
    fn polled(&mut self, fd: RawFd, goes_on: bool) {
        let talk = self.talk(fd);
        if talk.gone {
            if !goes_on {
                self.talks[fd as usize] = None;
            }
            return;
        }
        let busy = std::mem::replace(&mut talk.busy, true);
        talk.more = busy;
        if !goes_on {
            self.poll(fd);
        }
        if !busy {
            self.receive(fd, 0, libc::MSG_DONTWAIT);
        }
    }

    /// `Poll`: the answer goes out by the ring.
    #[inline]
    fn answer(&mut self, fd: RawFd, received: i32) {
        let talk = self.talk(fd);
        if received > 0 {
            let send = opcode::Send::new(Fd(fd), talk.buffer.as_ptr(), received.cast_unsigned());
            self.push(send.flags(libc::MSG_NOSIGNAL).build().user_data(tag(SEND, fd)));
        } else if received == -libc::EAGAIN {
            self.sent(fd);
        } else {
            talk.gone = true;
            let remove = opcode::PollRemove::new(tag(POLL, fd));
            self.push(remove.build().user_data(tag(UNPOLL, fd)));
        }
    }

    /// `Poll`: the buffer is free.
    #[inline]
    fn sent(&mut self, fd: RawFd) {
        let talk = self.talk(fd);
        talk.busy = std::mem::take(&mut talk.more);
        if talk.busy {
            self.receive(fd, 0, libc::MSG_DONTWAIT);
        }
    }

    #[inline]
    fn receive(&mut self, fd: RawFd, when: u16, flags: i32) {
        let buffer = self.talk(fd).buffer.as_mut_ptr();
        let receive = opcode::Recv::new(Fd(fd), buffer, BUFFER as u32).ioprio(when).flags(flags);
        self.push(receive.build().user_data(tag(RECEIVE, fd)));
    }

    fn poll(&mut self, fd: RawFd) {
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let poll = opcode::PollAdd::new(Fd(fd), events).multi(true);
        self.push(poll.build().user_data(tag(POLL, fd)));
    }

    #[inline]
    fn talk(&mut self, fd: RawFd) -> &mut Talk {
        self.talks[fd as usize].as_mut().expect("an operation of it was under way")
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: an operation's buffer is in its `Talk`, boxed, which stands until no operation of it is
        // under way (the table above), and is not looked at meanwhile.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // No room: what stands there is handed in. It fails only for want of room, which passes.
            let _ = self.ring.submit();
        }
    }
}
