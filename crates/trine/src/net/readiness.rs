//! Waits for any descriptor.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::reactor::{Direction, Source};

/// A descriptor to wait for: an eventfd, inotify, a terminal, the socket of a C library.
///
/// `T` is the descriptor or its owner. A [`BorrowedFd`] or a reference will do, and several
/// `Readiness` may wait for the same descriptor at once. `T` must always return the same
/// descriptor. The descriptor's flags stay as they are, so calls on it block unless its creator has
/// set `O_NONBLOCK`.
///
/// The kernel is asked before each wait, so reads and writes by others do no harm. A descriptor
/// that is always ready, such as a file's, is always ready here. End of file and errors count as
/// ready: the next call on the descriptor reports them.
///
/// A C library may close its descriptor while a `Readiness` waits for it. That wait then lasts
/// until it is cancelled or times out. When the library opens another one, make another
/// `Readiness` for it, also if it has the same number.
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
}

impl<T: AsFd> Readiness<T> {
    /// Creates a `Readiness` for a descriptor.
    pub fn new(descriptor: T) -> Readiness<T> {
        Readiness { source: Source::of_nonblocking(descriptor) }
    }

    /// Returns a reference to the descriptor's owner.
    ///
    /// ```
    /// use std::io::{Read, Write};
    ///
    /// let (reader, mut writer) = std::io::pipe()?;
    /// let readiness = trine::net::Readiness::new(reader);
    /// writer.write_all(b"!")?;
    /// readiness.wait_readable()?;
    /// let mut byte = [0];
    /// assert_eq!(readiness.get_ref().read(&mut byte)?, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn get_ref(&self) -> &T {
        self.source.get()
    }

    /// Returns the descriptor's owner.
    ///
    /// ```
    /// use trine::net::Readiness;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let readiness = Readiness::new(reader);
    /// let same = readiness.get_ref().try_clone()?;
    /// drop(same);
    /// let _reader: std::io::PipeReader = readiness.into_inner();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_inner(self) -> T {
        self.source.release()
    }

    /// Waits until there is data, a connection, an error or the end to read.
    ///
    /// ```
    /// use std::io::Write;
    /// use trine::net::Readiness;
    ///
    /// let (reader, mut writer) = std::io::pipe()?;
    /// writer.write_all(b"!")?;
    /// Readiness::new(&reader).wait_readable()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails when the caller is interrupted, and if the reactor cannot watch one more descriptor.
    pub fn wait_readable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Read, None)
    }

    /// Waits until there is room to write, or an error.
    ///
    /// ```
    /// use trine::net::Readiness;
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// Readiness::new(&writer).wait_writable()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`wait_readable`](Self::wait_readable) does.
    pub fn wait_writable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Write, None)
    }

    /// Waits like [`wait_readable`](Self::wait_readable), for at most `timeout`; zero only looks. A
    /// timeout beyond the clock's range never ends.
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
    /// Fails with `TimedOut`, and as [`wait_readable`](Self::wait_readable) does.
    pub fn wait_readable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready_for(Direction::Read, timeout)
    }

    /// Waits like [`wait_writable`](Self::wait_writable), for at most `timeout`, which counts as in
    /// [`wait_readable_timeout`](Self::wait_readable_timeout).
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::net::Readiness;
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// Readiness::new(&writer).wait_writable_timeout(Duration::from_secs(1))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`wait_readable`](Self::wait_readable) does.
    pub fn wait_writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready_for(Direction::Write, timeout)
    }

    /// Calls `operation` until it fails with something other than `WouldBlock` or succeeds; in
    /// between, waits until the descriptor is readable. An `operation` that a signal interrupts is
    /// repeated.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use trine::net::Readiness;
    ///
    /// let (one, mut other) = UnixStream::pair()?;
    /// one.set_nonblocking(true)?;
    /// other.write_all(b"hello")?;
    /// let mut buffer = [0; 5];
    /// let count = Readiness::new(one).read_with(|mut one| one.read(&mut buffer))?;
    /// assert_eq!(count, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as `operation` and [`wait_readable`](Self::wait_readable) do.
    pub fn read_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.with(Direction::Read, operation)
    }

    /// Calls `operation` until it fails with something other than `WouldBlock` or succeeds; in
    /// between, waits until the descriptor is writable. An `operation` that a signal interrupts is
    /// repeated.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use trine::net::Readiness;
    ///
    /// let (one, _other) = UnixStream::pair()?;
    /// one.set_nonblocking(true)?;
    /// let one = Readiness::new(one);
    /// assert_eq!(one.write_with(|mut one| one.write(b"hello"))?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as `operation` and [`wait_writable`](Self::wait_writable) do.
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

    /// Waits like [`wait_readable`](Self::wait_readable), as a future. Any number of futures may
    /// wait at once.
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
    /// Fails if the reactor cannot watch one more descriptor.
    pub async fn readable(&self) -> io::Result<()> {
        self.source.ready(Direction::Read).await
    }

    /// Waits like [`wait_writable`](Self::wait_writable), as a future. Any number of futures may
    /// wait at once.
    ///
    /// ```
    /// use trine::{future, net::Readiness};
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// future::block_on(async { Readiness::new(&writer).writable().await })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`readable`](Self::readable) does.
    pub async fn writable(&self) -> io::Result<()> {
        self.source.ready(Direction::Write).await
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
