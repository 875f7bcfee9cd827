//! hyper 1.x on trine: streams, an executor and a timer, with the feature `hyper`.
//!
//! | hyper needs | implementation |
//! |---|---|
//! | [`hyper::rt::Read`], [`Write`](::hyper::rt::Write): a connection | [`TcpStream`], [`UnixStream`] |
//! | [`::hyper::rt::Executor`]: tasks beside a connection (HTTP/2, clients) | [`Executor`] |
//! | [`::hyper::rt::Timer`]: limits such as `header_read_timeout` | [`Timer`] |
//!
//! A connection is a future: [`future::spawn`] runs it as a task, or [`block_on`](future::block_on)
//! in a coroutine.
//!
//! ```
//! use std::convert::Infallible;
//! use std::io::{Read, Write};
//!
//! use hyper::service::service_fn;
//! use hyper::{Response, server::conn::http1};
//! use trine::{future, net};
//!
//! let listener = net::TcpListener::bind("127.0.0.1:0")?;
//! let mut client = net::TcpStream::connect(listener.local_addr()?)?;
//! let (stream, _) = listener.accept()?;
//! let served = future::spawn(async move {
//!     let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::from("hello"))));
//!     http1::Builder::new().timer(trine::hyper::Timer).serve_connection(stream, hello).await
//! });
//! client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"));
//! served.join().unwrap().unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The timeouts of a stream do not hold here: hyper has timeouts of its own.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::hyper::rt::{self, ReadBufCursor};

use crate::future;
use crate::net::{Shutdown, TcpStream, UnixStream};
use crate::reactor::{Direction, Source};
use crate::sys::io::{Blocking, socket};

impl rt::Read for TcpStream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buffer.remaining();
        let count = self.source.poll_read_stream(most, cx, |socket| receive(socket, &mut buffer));
        // SAFETY: `receive` returns the number of bytes that it has written.
        count.map_ok(|count| unsafe { buffer.advance(count) })
    }
}

impl rt::Read for UnixStream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // A short read does not mean an empty socket: reads also end at descriptors in the stream.
        let attempt = |socket: &_| receive(socket, &mut buffer);
        let count = self.source.poll_retry(Direction::Read, cx, attempt);
        // SAFETY: `receive` returns the number of bytes that it has written.
        count.map_ok(|count| unsafe { buffer.advance(count) })
    }
}

/// Fills the front of the unfilled part of `buffer`, and returns the number of bytes.
fn receive(socket: impl AsFd, buffer: &mut ReadBufCursor<'_>) -> io::Result<usize> {
    // SAFETY: the call only writes initialised bytes.
    socket::receive_uninit(socket, unsafe { buffer.as_mut() })
}

impl rt::Write for TcpStream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        send(&self.source, cx, bytes)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        send_vectored(&self.source, cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(unless_closed(self.shutdown(Shutdown::Write)))
    }
}

impl rt::Write for UnixStream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        send(&self.source, cx, bytes)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        send_vectored(&self.source, cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(unless_closed(self.shutdown(Shutdown::Write)))
    }
}

#[inline]
fn send<D: AsFd>(
    source: &Source<D>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    source.poll_retry(Direction::Write, cx, |socket| socket::send(socket, bytes, Blocking::No))
}

#[inline]
fn send_vectored<D: AsFd>(
    source: &Source<D>,
    cx: &mut Context<'_>,
    parts: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    source.poll_retry(Direction::Write, cx, |socket| socket::send_vectored(socket, parts))
}

/// Ignores that the peer has closed the connection already.
fn unless_closed(shutdown: io::Result<()>) -> io::Result<()> {
    match shutdown {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        done => done,
    }
}

/// Runs hyper's futures as tasks, by [`future::spawn`].
///
/// ```
/// use ::hyper::rt::Executor;
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::bounded(1);
/// trine::hyper::Executor.execute(async move { sender.send(42).unwrap() });
/// assert_eq!(receiver.recv(), Ok(42));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Executor;

impl<F> rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        drop(future::spawn(future));
    }
}

/// Keeps the time for hyper, by [`future::sleep`].
///
/// ```
/// use std::time::Duration;
/// use ::hyper::rt::Timer;
///
/// trine::future::block_on(trine::hyper::Timer.sleep(Duration::from_millis(1)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

impl rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(future::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(future::sleep_until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<future::Sleep>() {
            Some(mut sleep) => sleep.set(future::sleep_until(new_deadline)),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

impl rt::Sleep for future::Sleep {}
