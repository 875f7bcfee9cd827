//! hyper 1.x on trine: its streams, its executor, its timer. With the feature `hyper`.
//!
//! | hyper asks for | it is |
//! |---|---|
//! | [`hyper::rt::Read`], [`Write`](::hyper::rt::Write): a connection | [`TcpStream`], as it is |
//! | [`hyper::rt::Executor`](::hyper::rt::Executor): tasks beside a connection (HTTP/2, clients) | [`Executor`] |
//! | [`hyper::rt::Timer`](::hyper::rt::Timer): limits such as `header_read_timeout` | [`Timer`] |
//!
//! A connection is a future: [`future::spawn`] runs it as a task, or [`block_on`](future::block_on) in a
//! coroutine.
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
//! The time limits that a stream has for its own calls do not hold here: hyper has limits of its own.

use std::io::{self, IoSlice, Write as _};
use std::net::{self, Shutdown};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::hyper::rt::{self, ReadBufCursor};

use crate::future;
use crate::net::TcpStream;
use crate::reactor::{Direction, Source};
use crate::sys::socket;

impl rt::Read for TcpStream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buffer.remaining();
        let count = std::task::ready!(self.source.poll_read_stream(most, cx, |descriptor| {
            // SAFETY: the call only ever writes bytes that are initialised.
            socket::receive_uninit(descriptor, unsafe { buffer.as_mut() })
        }))?;
        // SAFETY: so many bytes at the front of the unfilled part were just received, thus written.
        unsafe { buffer.advance(count) };
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for TcpStream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.source.poll_retry(Direction::Write, cx, |mut socket| socket.write(bytes))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.source.poll_retry(Direction::Write, cx, |mut socket| socket.write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shut_down(&self.source))
    }
}

/// Sends the end of the stream. A peer that is gone already needs none.
fn shut_down(source: &Source<net::TcpStream>) -> io::Result<()> {
    match source.get().shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        done => done,
    }
}

/// Runs hyper's futures as tasks, by [`future::spawn`].
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
