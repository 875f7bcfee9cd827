//! Waiting for any descriptor.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use crate::reactor::{Direction, Source};
use crate::task::park;

/// Waits for any descriptor: an eventfd, inotify, a terminal, the socket of a C library.
///
/// `T` is the descriptor, or what owns it; a [`BorrowedFd`] or a reference will do, and may be waited for
/// by several `Readiness` at once. It must be the same descriptor for as long as it is in here. Its flags are
/// left as they are: calls on it may block, unless whoever has made it has set `O_NONBLOCK`.
///
/// The kernel is asked before each wait, so it does not matter what was read or written
/// by others meanwhile. What is always ready, such as a file, is so here. To be at its end, or to have an error, is
/// to be ready: the next call on the descriptor says what it is.
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::os::unix::net::UnixStream;
/// use trine::{coroutine, net::Readiness};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (one, mut other) = UnixStream::pair()?;
/// one.set_nonblocking(true)?;
/// let one = Readiness::new(one);
///
/// let task = coroutine::spawn(move || -> io::Result<String> {
///     let mut buffer = [0; 5];
///     let len = one.read_with(|mut one| one.read(&mut buffer))?;
///     Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
/// });
///
/// other.write_all(b"hello")?;
/// assert_eq!(task.join()??, "hello");
/// # Ok(())
/// # }
/// ```
pub struct Readiness<T: AsFd> {
    source: Source<T>,
    readers: Arc<Crowd>,
    writers: Arc<Crowd>,
}

impl<T: AsFd> Readiness<T> {
    /// Takes a descriptor to wait for.
    pub fn new(descriptor: T) -> Readiness<T> {
        let source = Source::of_nonblocking(descriptor);
        Readiness { source, readers: Arc::default(), writers: Arc::default() }
    }

    /// What it was made of.
    pub fn get_ref(&self) -> &T {
        self.source.get()
    }

    /// Gives it back.
    pub fn into_inner(self) -> T {
        self.source.release()
    }

    /// Waits until there is something to read, to accept or to learn.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](crate::Interrupted) if the wait is ended from outside; no room for one more watched descriptor.
    pub fn wait_readable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Read, None)
    }

    /// Waits until there is room to write.
    ///
    /// # Errors
    ///
    /// As [`wait_readable`](Self::wait_readable).
    pub fn wait_writable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Write, None)
    }

    /// As [`wait_readable`](Self::wait_readable), for at most `timeout`; zero only looks. A timeout beyond
    /// what the clock can count is none.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    /// use trine::net::Readiness;
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let reader = Readiness::new(reader);
    /// let error = reader.wait_readable_timeout(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// drop(writer);
    /// reader.wait_readable_timeout(Duration::ZERO)?; // its end is something to learn
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut`; else as `wait_readable`.
    pub fn wait_readable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready(Direction::Read, Instant::now().checked_add(timeout))
    }

    /// As [`wait_writable`](Self::wait_writable), for at most `timeout`; as
    /// [`wait_readable_timeout`](Self::wait_readable_timeout).
    ///
    /// # Errors
    ///
    /// `TimedOut`; else as `wait_readable`.
    pub fn wait_writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready(Direction::Write, Instant::now().checked_add(timeout))
    }

    /// Calls `operation` until it says something other than `WouldBlock`, and waits until there is something to
    /// read in between.
    ///
    /// # Errors
    ///
    /// What `operation` says, but `Interrupted` by a signal; what ends the wait as in
    /// [`wait_readable`](Self::wait_readable).
    pub fn read_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.with(Direction::Read, operation)
    }

    /// Calls `operation` until it says something other than `WouldBlock`, and waits until there is room to write
    /// in between.
    ///
    /// # Errors
    ///
    /// As [`read_with`](Self::read_with).
    pub fn write_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.with(Direction::Write, operation)
    }

    fn with<R>(
        &self,
        direction: Direction,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            match operation(self.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.source.wait_ready(direction, None)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// A future of [`wait_readable`](Self::wait_readable), for async code. Any number may be awaited at once.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use trine::{future, net::Readiness};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut reader, mut writer) = std::io::pipe()?;
    /// let task = future::spawn(async move {
    ///     Readiness::new(&reader).readable().await?;
    ///     let mut byte = [0];
    ///     reader.read_exact(&mut byte)?; // does not wait
    ///     std::io::Result::Ok(byte[0])
    /// });
    /// writer.write_all(b"!")?;
    /// assert_eq!(task.join()??, b'!');
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// No room for one more watched descriptor.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Direction::Read, &self.readers).await
    }

    /// A future of [`wait_writable`](Self::wait_writable); as [`readable`](Self::readable).
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable).
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Direction::Write, &self.writers).await
    }

    async fn ready(&self, direction: Direction, crowd: &Arc<Crowd>) -> io::Result<()> {
        let mut place = Place { crowd, number: None };
        // One waker stands for all of the crowd.
        let all = Waker::from(Arc::clone(crowd));
        poll_fn(|cx| {
            place.take(cx.waker());
            self.source.poll_ready(direction, &mut Context::from_waker(&all))
        })
        .await
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Readiness<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(self.get_ref()).finish()
    }
}

impl<T: AsFd> AsFd for Readiness<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

/// The futures that wait for one direction; a source knows one waker for each.
#[derive(Debug, Default)]
struct Crowd {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: Vec<(u64, Waker)>,
    futures_so_far: u64,
}

impl Crowd {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Crowd {
    fn wake(self: Arc<Self>) {
        let wakers = mem::take(&mut self.waiting().wakers);
        // Outside the lock, as a waker is anybody's code.
        wakers.into_iter().for_each(|(_, waker)| park::wake(waker));
    }
}

/// A future's place in the crowd, left when it ends or is dropped.
struct Place<'a> {
    crowd: &'a Crowd,
    number: Option<u64>,
}

impl Place<'_> {
    fn take(&mut self, waker: &Waker) {
        let mut waiting = self.crowd.waiting();
        let number = *self.number.get_or_insert_with(|| {
            waiting.futures_so_far += 1;
            waiting.futures_so_far
        });
        let last = match waiting.wakers.iter_mut().find(|(own, _)| *own == number) {
            Some((_, own)) if own.will_wake(waker) => None,
            Some((_, own)) => Some(mem::replace(own, waker.clone())),
            None => {
                waiting.wakers.push((number, waker.clone()));
                None
            }
        };
        drop(waiting);
        drop(last);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.crowd.waiting();
        let at = waiting.wakers.iter().position(|(own, _)| Some(*own) == self.number);
        let left = at.map(|at| waiting.wakers.swap_remove(at));
        drop(waiting);
        drop(left);
    }
}
