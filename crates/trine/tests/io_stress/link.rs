//! Connections of either family, and the bytes on them.
//!
//! Each byte follows from the key of its direction and its place, so a byte that is lost,
//! duplicated or moved is noticed.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use trine::coroutine::LocalTask;
use trine::net::{Shutdown, TcpListener, TcpStream, UnixListener, UnixStream};
use trine::{Interrupted, Task, coroutine, thread};

use crate::books::{BOOKS, add, count};
use crate::must;
use crate::seeds::Rng;

/// A connection.
pub enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Link::Tcp($stream) => $call,
            Link::Unix($stream) => $call,
        }
    };
}

impl Link {
    /// Makes two ends of a new connection.
    pub fn pair(rng: &mut Rng) -> (Link, Link) {
        if rng.one_in(3) {
            count(&BOOKS.connections);
            let (one, other) = UnixStream::pair().unwrap();
            return (Link::Unix(one), Link::Unix(other));
        }
        Link::tcp_pair(rng)
    }

    pub fn tcp_pair(rng: &mut Rng) -> (Link, Link) {
        count(&BOOKS.connections);
        let listener = listen(rng);
        let address = listener.local_addr().unwrap();
        // The kernel completes the connection before `accept`.
        let one = TcpStream::connect(address).unwrap();
        let (other, from) = listener.accept().unwrap();
        must!(from == one.local_addr().unwrap(), "{from} was accepted, which is another client");
        (Link::Tcp(one), Link::Tcp(other))
    }

    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self, stream => stream.shutdown(how))
    }

    pub fn set_read_timeout(&self, limit: Option<Duration>) {
        either!(self, stream => stream.set_read_timeout(limit)).unwrap();
    }

    pub fn set_write_timeout(&self, limit: Option<Duration>) {
        either!(self, stream => stream.set_write_timeout(limit)).unwrap();
    }

    /// Closes it so that unsent bytes are dropped, and the peer gets an error.
    pub fn reset(self) {
        count(&BOOKS.resets);
        if let Link::Tcp(stream) = &self {
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

impl Read for &Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => (&*stream).read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        either!(self, stream => (&*stream).read_vectored(buffers))
    }
}

impl Write for &Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => (&*stream).write(bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => (&*stream).write_vectored(buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Listens at a loopback address. It is chosen at random among many, since a port lingers for a
/// minute after its connection.
pub fn listen(rng: &mut Rng) -> TcpListener {
    if rng.one_in(8)
        && let Ok(listener) = TcpListener::bind((IpAddr::V6(Ipv6Addr::LOCALHOST), 0))
    {
        return listener;
    }
    let mut number = || 1 + rng.below(250) as u8;
    let address = Ipv4Addr::new(127, number(), number(), number());
    TcpListener::bind((IpAddr::V4(address), 0)).unwrap()
}

/// A listener of either family.
pub enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    pub fn new(rng: &mut Rng) -> Door {
        if rng.one_in(3) {
            // An abstract name, which only this process uses at this moment.
            let name = format!("trine-io-stress-{}-{}", std::process::id(), rng.number());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            return Door::Unix(UnixListener::bind_addr(&address).unwrap());
        }
        Door::Tcp(listen(rng))
    }

    pub fn accept(&self) -> io::Result<Link> {
        match self {
            Door::Tcp(listener) => listener.accept().map(|(stream, _)| Link::Tcp(stream)),
            Door::Unix(listener) => listener.accept().map(|(stream, _)| Link::Unix(stream)),
        }
    }

    /// Connects to it.
    pub fn enter(&self) -> Link {
        count(&BOOKS.connections);
        match self {
            Door::Tcp(listener) => {
                Link::Tcp(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
            }
            Door::Unix(listener) => {
                Link::Unix(UnixStream::connect_addr(&listener.local_addr().unwrap()).unwrap())
            }
        }
    }
}

/// Returns a number of at most `bits` bits, of all orders of magnitude.
pub fn magnitude(rng: &mut Rng, bits: usize) -> usize {
    let bits = 1 + rng.below(bits);
    rng.below(1 << bits)
}

/// A task of any kind, which its spawner joins.
pub enum Started<T: 'static> {
    Task(Task<T>),
    Local(LocalTask<T>),
}

/// Starts `f` as a coroutine here or anywhere, or on a thread.
pub fn start<T: Send + 'static>(
    rng: &mut Rng,
    f: impl FnOnce() -> T + Send + 'static,
) -> Started<T> {
    match rng.below(8) {
        0 => Started::Task(thread::spawn(f)),
        1..4 => Started::Local(coroutine::spawn_local(f)),
        _ => Started::Task(coroutine::spawn(f)),
    }
}

impl<T> Started<T> {
    pub fn join(self) -> T {
        let joined = match self {
            Started::Task(task) => task.join(),
            Started::Local(task) => task.join(),
        };
        joined.unwrap_or_else(|error| crate::books::fail(format_args!("{error}")))
    }

    /// Cancels and joins the task; `None` if it had not begun.
    pub fn cancel(self) -> Option<T> {
        count(&BOOKS.cancellations);
        let joined = match self {
            Started::Task(task) => {
                task.cancel();
                task.join()
            }
            Started::Local(task) => {
                task.cancel();
                task.join()
            }
        };
        match joined {
            Ok(value) => Some(value),
            Err(error) => {
                must!(error.is_cancelled(), "{error}");
                None
            }
        }
    }
}

/// Returns true if the error is that of a cancelled task's call.
pub fn is_cancelled(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Interrupted>());
    inner.is_some_and(Interrupted::is_cancelled)
}

/// A prime, so that the bytes do not repeat at the distance of a buffer's length.
const PERIOD: usize = 65_521;
const LONGEST: usize = 1 << 18;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = Rng(1);
    let bytes: Vec<u8> = (0..PERIOD).map(|_| rng.number() as u8).collect();
    bytes.iter().copied().cycle().take(PERIOD + LONGEST).collect()
});

/// Returns `count` bytes of a direction from the place `at` on.
fn bytes(key: u64, at: u64, count: usize) -> &'static [u8] {
    let from = (key.wrapping_add(at) % PERIOD as u64) as usize;
    &BYTES[from..from + count]
}

/// One direction of a connection: the bytes up to `end`, of which those before `at` have been
/// moved.
#[derive(Clone, Copy)]
pub struct Course {
    pub key: u64,
    pub at: u64,
    pub end: u64,
}

impl Course {
    pub fn new(rng: &mut Rng, end: u64) -> Course {
        Course { key: rng.number() >> 1, at: 0, end }
    }

    pub fn is_over(&self) -> bool {
        self.at == self.end
    }

    /// Chooses the length of the next piece: of all orders of magnitude, but not so small that it
    /// takes forever.
    fn piece(&self, rng: &mut Rng) -> usize {
        let most = [7, 300, 5_000, 70_000, LONGEST][rng.below(5)].max((self.end / 64) as usize);
        1 + rng.below(most.min(LONGEST))
    }

    /// Writes once.
    pub fn send(&mut self, rng: &mut Rng, mut to: impl Write) -> io::Result<()> {
        let length = self.piece(rng).min((self.end - self.at) as usize);
        let piece = bytes(self.key, self.at, length);
        let sent = if rng.one_in(3) {
            let middle = rng.below(length);
            let (head, tail) = piece.split_at(middle);
            let last = rng.below(tail.len());
            let (tail, rest) = tail.split_at(last);
            to.write_vectored(&[head, tail, rest].map(IoSlice::new))?
        } else {
            to.write(piece)?
        };
        must!(0 < sent && sent <= length, "{sent} of {length} bytes are written");
        self.at += sent as u64;
        add(&BOOKS.sent, sent as u64);
        Ok(())
    }

    /// Writes to the end.
    pub fn send_all(&mut self, rng: &mut Rng, mut to: impl Write) -> io::Result<()> {
        while !self.is_over() {
            self.send(rng, &mut to)?;
        }
        Ok(())
    }

    /// Reads once and compares. Returns the number of bytes.
    pub fn receive(&mut self, rng: &mut Rng, mut from: impl Read) -> io::Result<usize> {
        let length = self.piece(rng);
        let mut buffer = vec![0; length];
        let count = if rng.one_in(3) {
            let (head, tail) = buffer.split_at_mut(rng.below(length));
            from.read_vectored(&mut [head, tail].map(IoSliceMut::new))?
        } else {
            from.read(&mut buffer)?
        };
        must!(count <= length, "{count} bytes are in a buffer for {length}");
        must!(
            count as u64 <= self.end - self.at,
            "{count} bytes behind {} of {}",
            self.at,
            self.end
        );
        let expected = bytes(self.key, self.at, count);
        if buffer[..count] != *expected {
            let wrong = (0..count).find(|&n| buffer[n] != expected[n]).unwrap_or(0);
            let at = self.at + wrong as u64;
            crate::books::fail(format_args!("byte {at} of {} is another: {count} read", self.end));
        }
        self.at += count as u64;
        add(&BOOKS.checked, count as u64);
        Ok(count)
    }

    /// Reads exactly to the end; later bytes belong to another course.
    pub fn receive_all(&mut self, rng: &mut Rng, mut from: impl Read) -> io::Result<()> {
        while !self.is_over() {
            let left = self.end - self.at;
            if self.receive(rng, (&mut from).take(left))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Reads to the end, and checks that the stream ends there.
    pub fn receive_to_end(&mut self, rng: &mut Rng, mut from: impl Read) -> io::Result<()> {
        while self.receive(rng, &mut from)? > 0 {}
        must!(self.is_over(), "the end comes after {} bytes of {}", self.at, self.end);
        Ok(())
    }
}
