//! Descriptors that another process has sent, and that may be anything.
//!
//! To close a descriptor is to run code of its file. The last close of a socket may wait until the
//! peer has taken all bytes (`SO_LINGER`), that of a file until its file system has answered, and
//! that of memory frees all its pages. The sender chooses which. So the thread that finds such a
//! descriptor useless does not close it.
//!
//! ```text
//!   Arrived dropped ──► QUEUE ──► thread `trine-close`: closes one after the other, ends
//! ```

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::{fs, net};

use crate::sys::process::fork_detect;
use crate::sys::signal::mask;

/// The most bytes of memory that are freed in place: a few milliseconds.
const SMALL: u64 = 16 << 20;

/// The time after which a thread that is still at the same descriptor gets another one beside it.
const STUCK: Duration = Duration::from_secs(1);
/// The most threads that close at the same time.
const MOST_CLOSERS: usize = 8;

/// Descriptors of another process. Those that are still here at the drop are closed by a thread of
/// their own, unless their closing is quick for certain, or their sender is trusted.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    descriptors: Vec<OwnedFd>,
    is_trusted: bool,
}

impl Arrived {
    /// Trusts the sender: the drop closes in place.
    pub(crate) fn trust(&mut self) {
        self.is_trusted = true;
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    pub(crate) fn len(&self) -> usize {
        self.descriptors.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.descriptors.is_empty()
    }

    /// Takes the last one.
    pub(crate) fn pop(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop()
    }

    /// Adds one at the end.
    pub(crate) fn push(&mut self, descriptor: OwnedFd) {
        self.descriptors.push(descriptor);
    }

    /// Splits the first `count` off, or fewer if there are not as many.
    #[inline]
    pub(crate) fn split_front(&mut self, count: usize) -> Arrived {
        // Nearly every value has none.
        if count == 0 {
            return Arrived::default();
        }
        let count = count.min(self.descriptors.len());
        let descriptors = self.descriptors.drain(..count).collect();
        Arrived { descriptors, is_trusted: self.is_trusted }
    }

    /// Takes all; the caller closes them.
    pub(crate) fn take(&mut self) -> Vec<OwnedFd> {
        mem::take(&mut self.descriptors)
    }
}

impl From<Vec<OwnedFd>> for Arrived {
    fn from(descriptors: Vec<OwnedFd>) -> Arrived {
        Arrived { descriptors, is_trusted: false }
    }
}

impl Drop for Arrived {
    #[inline]
    fn drop(&mut self) {
        if !self.descriptors.is_empty() && !self.is_trusted {
            close(mem::take(&mut self.descriptors));
        }
    }
}

/// The descriptors that wait for their end, and the threads that close them.
struct Queue {
    waiting: VecDeque<OwnedFd>,
    closers: usize,
    /// The moment at which a thread last took a descriptor.
    since: Option<Instant>,
    /// The process that the threads are in; a copy has none of them.
    process: u64,
}

static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { waiting: VecDeque::new(), closers: 0, since: None, process: 0 });

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// Adds a thread if there is none, or if all have been stuck for a while.
    fn adds_closer(&mut self) -> bool {
        let process = fork_detect::generation();
        if mem::replace(&mut self.process, process) != process {
            self.closers = 0;
        }
        let are_stuck = self.since.is_none_or(|since| since.elapsed() >= STUCK);
        let is_added = self.closers == 0 || (are_stuck && self.closers < MOST_CLOSERS);
        if is_added {
            self.closers += 1;
            self.since = Some(Instant::now());
        }
        is_added
    }

    /// Takes the next descriptor. Without one, the calling thread ends.
    fn next(&mut self) -> Option<OwnedFd> {
        let next = self.waiting.pop_front();
        match next {
            Some(_) => self.since = Some(Instant::now()),
            None => self.closers -= 1,
        }
        next
    }
}

#[cold]
fn close(descriptors: Vec<OwnedFd>) {
    let (quick, slow): (Vec<_>, Vec<_>) = descriptors.into_iter().partition(closes_quickly);
    drop(quick);
    if slow.is_empty() {
        return;
    }
    let is_added = {
        let mut queue = queue();
        queue.waiting.extend(slow);
        queue.adds_closer()
    };
    if is_added {
        let signals = mask::block_signals();
        let thread = thread::Builder::new().name("trine-close".into()).spawn(close_all);
        drop(signals);
        if thread.is_err() {
            // Until the next call. Open descriptors are better than a thread that sleeps for as
            // long as the sender likes.
            queue().closers -= 1;
        }
    }
}

/// Closes what is in the queue.
fn close_all() {
    loop {
        let Some(descriptor) = queue().next() else { return };
        // Only the sender wanted to wait. An error: it is no socket.
        let _ = net::sockopt::set_socket_linger(&descriptor, None);
        drop(descriptor);
    }
}

/// Returns true for memory with few pages: no other code runs at its end.
fn closes_quickly(descriptor: &OwnedFd) -> bool {
    fs::fcntl_get_seals(descriptor).is_ok()
        && fs::fstat(descriptor).is_ok_and(|stat| (stat.st_blocks as u64) < SMALL / 512)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::io::{Blocking, socket};

    #[test]
    fn all_that_is_left_is_closed() {
        let (left, mut other) = UnixStream::pair().unwrap();
        let (taken, mut kept) = UnixStream::pair().unwrap();
        let mut arrived = Arrived::from(vec![OwnedFd::from(left), OwnedFd::from(taken)]);
        let taken = arrived.pop();
        assert_eq!((arrived.len(), arrived.split_front(5).len()), (1, 1));
        // The end of the stream: the other side is closed.
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
        kept.set_nonblocking(true).unwrap();
        kept.read(&mut [0]).unwrap_err();
        drop(taken);
        assert_eq!(kept.read(&mut [0]).unwrap(), 0);
    }

    /// Makes a descriptor whose close lasts until the stream is dropped: a queue that holds a
    /// connection with unsent bytes.
    fn slow() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        connection.set_nonblocking(true).unwrap();
        while connection.write(&[0; 65536]).is_ok() {}
        let long = Some(Duration::from_secs(10_000));
        net::sockopt::set_socket_linger(&connection, long).unwrap();
        connection.set_nonblocking(false).unwrap();
        let (queue, sender) = socket::stream_pair().unwrap();
        socket::send_with(sender, b"!", &[connection.as_fd()], Blocking::No).unwrap();
        (queue, other)
    }

    fn closers() -> usize {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = threads.filter_map(|one| std::fs::read_to_string(one.path().join("comm")).ok());
        names.filter(|name| name.trim() == "trine-close").count()
    }

    #[test]
    fn one_thread_closes_what_untrusted_senders_have_sent() {
        let begin = Instant::now();
        let streams: Vec<_> = (0..4)
            .map(|_| {
                let (queue, stream) = slow();
                drop(Arrived::from(vec![queue]));
                stream
            })
            .collect();
        let (left, other) = UnixStream::pair().unwrap();
        drop(Arrived::from(vec![OwnedFd::from(left)]));
        let most = closers();
        // A stuck thread gets another one beside it.
        assert!(most as u64 <= 1 + begin.elapsed().as_secs(), "{most}");
        // A trusted sender's are closed here.
        let (trusted, mut end) = UnixStream::pair().unwrap();
        let mut arrived = Arrived::from(vec![OwnedFd::from(trusted)]);
        arrived.trust();
        drop(arrived);
        end.set_nonblocking(true).unwrap();
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
        drop(streams);
        assert_eq!((&other).read(&mut [0]).unwrap(), 0);
    }
}
