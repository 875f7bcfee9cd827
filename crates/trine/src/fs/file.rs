//! Open files.

use std::fs::{self, FileTimes, Metadata, Permissions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use crate::reactor::Backoff;
use crate::reactor::files::{Opened, blocking};
use crate::task::park;

/// An open file, as [`std::fs::File`].
///
/// Reads and writes move the position, which clones share. A read from a regular file may return
/// fewer bytes than requested before the end of the file: those in the kernel's cache.
///
/// Coroutines open files with `O_NONBLOCK`, which matters only to FIFOs, terminals and devices. As
/// a [`std::fs::File`] or an [`OwnedFd`](std::os::fd::OwnedFd) they block again. Dropping closes
/// the file and loses the errors of closing, so call [`sync_all`](File::sync_all) where they
/// matter.
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use trine::fs::{self, File};
///
/// # let path = std::env::temp_dir().join(format!("trine-doc-file-{}", std::process::id()));
/// let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
/// file.write_all(b"waits like any other")?;
/// file.rewind()?;
/// let mut text = String::new();
/// file.read_to_string(&mut text)?;
/// assert_eq!(text, "waits like any other");
///
/// let mut word = [0; 5];
/// file.read_exact_at(&mut word, 6)?;
/// assert_eq!(&word, b"like ");
/// # fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File {
    opened: Opened,
}

impl File {
    pub(super) fn of(opened: Opened) -> File {
        File { opened }
    }

    /// Returns std's file, for calls that do not sleep or that run on a pool thread.
    pub(super) fn into_std(self) -> fs::File {
        self.opened.into_inner()
    }

    pub(super) fn as_std(&self) -> &fs::File {
        self.opened.get()
    }

    /// Waits until the file's contents and metadata are on the disk.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::sync_all`] does, and when the caller is interrupted
    /// before it begins.
    pub fn sync_all(&self) -> io::Result<()> {
        self.opened.sync(false)
    }

    /// Waits until the file's contents are on the disk.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::sync_data`] does, and when the caller is interrupted
    /// before it begins.
    pub fn sync_data(&self) -> io::Result<()> {
        self.opened.sync(true)
    }

    /// Truncates the file, or extends it with zeros, to `size` bytes.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::set_len`] does, and when the caller is interrupted.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        blocking(|| self.as_std().set_len(size))
    }

    /// Returns the file's metadata.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::metadata`] does.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.opened.metadata()
    }

    /// Returns another handle of the same open file, which shares its position.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::try_clone`] does.
    pub fn try_clone(&self) -> io::Result<File> {
        self.opened.try_clone().map(File::of)
    }

    /// Changes the file's permissions.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::set_permissions`] does, and when the caller is interrupted.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        blocking(|| self.as_std().set_permissions(permissions))
    }

    /// Changes the file's times of last access and modification.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::set_times`] does, and when the caller is interrupted.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        blocking(|| self.as_std().set_times(times))
    }

    /// Changes the file's time of last modification.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::set_modified`] does, and when the caller is interrupted.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Takes an exclusive advisory lock (`flock(2)`) until [`unlock`](File::unlock) or the last
    /// clone's drop.
    ///
    /// The kernel notifies nobody of a free lock, so a coroutine retries after 1 ms up to 16. It
    /// can be cancelled meanwhile, and is not served in turn. A plain thread sleeps in the kernel
    /// and cannot be cancelled.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::lock`] does, and when the caller is interrupted.
    pub fn lock(&self) -> io::Result<()> {
        self.lock_by(fs::File::lock, fs::File::try_lock)
    }

    /// Takes a shared lock, as [`lock`](File::lock) takes an exclusive one.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::lock_shared`] does, and when the caller is interrupted.
    pub fn lock_shared(&self) -> io::Result<()> {
        self.lock_by(fs::File::lock_shared, fs::File::try_lock_shared)
    }

    /// Takes an exclusive lock if it is free.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::try_lock`] does.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.as_std().try_lock()
    }

    /// Takes a shared lock if no exclusive one is held.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::try_lock_shared`] does.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.as_std().try_lock_shared()
    }

    /// Releases the lock.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::unlock`] does.
    pub fn unlock(&self) -> io::Result<()> {
        self.as_std().unlock()
    }

    fn lock_by(
        &self,
        sleeping: impl Fn(&fs::File) -> io::Result<()>,
        at_once: impl Fn(&fs::File) -> Result<(), TryLockError>,
    ) -> io::Result<()> {
        if park::is_plain_thread() {
            return sleeping(self.as_std());
        }
        let mut backoff = Backoff::slow(None);
        loop {
            match at_once(self.as_std()) {
                Err(TryLockError::WouldBlock) => backoff.wait()?,
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Reads at `offset`, without using or moving the file's position.
    ///
    /// # Errors
    ///
    /// Fails as [`read_at`](std::os::unix::fs::FileExt::read_at) does, and when the caller is
    /// interrupted.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.opened.read(&mut [IoSliceMut::new(buffer)], Some(offset))
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// Fails as [`read_exact_at`](std::os::unix::fs::FileExt::read_exact_at) does, and when the
    /// caller is interrupted.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(filled_too_little()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes at `offset`, without using or moving the file's position. A file opened with `append`
    /// is written at its end.
    ///
    /// # Errors
    ///
    /// Fails as [`write_at`](std::os::unix::fs::FileExt::write_at) does, and when the caller is
    /// interrupted.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.opened.write(&[IoSlice::new(bytes)], Some(offset))
    }

    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// Fails as [`write_all_at`](std::os::unix::fs::FileExt::write_all_at) does, and when the
    /// caller is interrupted.
    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::WriteZero,
                        "failed to write whole buffer",
                    ));
                }
                Ok(count) => {
                    bytes = &bytes[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends the whole file to `bytes`. The file was just opened, so its position is 0.
    pub(super) fn read_whole(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let found = self.metadata()?;
        if !found.is_file() || found.len() == 0 {
            return self.read_rest(bytes);
        }
        // One byte more: a read that does not fill the buffer has reached the end.
        let size = usize::try_from(found.len()).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(size.saturating_add(1))?;
        // No other handle exists, so the position need not move.
        let before = bytes.len();
        loop {
            let done = bytes.len() - before;
            let count = read_once(&self.opened, bytes, Some(done as u64))?;
            if count == 0 || done + count == size {
                return Ok(done + count);
            }
            if bytes.len() == bytes.capacity() {
                bytes.try_reserve(32)?;
            }
        }
    }

    fn read_rest(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let before = bytes.len();
        loop {
            if bytes.len() == bytes.capacity() {
                bytes.try_reserve(UNKNOWN)?;
            }
            if read_once(&self.opened, bytes, None)? == 0 {
                return Ok(bytes.len() - before);
            }
        }
    }

    /// Returns the number of bytes left, as far as known, to reserve memory.
    fn left(&self) -> Option<usize> {
        let size = self.metadata().ok()?.len();
        let position = (&mut &*self).stream_position().ok()?;
        usize::try_from(size.checked_sub(position)?).ok()
    }
}

/// Bytes reserved for a file without a size, as in `/proc`. Each of its reads may go to a pool
/// thread.
const UNKNOWN: usize = 4096;

/// Reads once, and again after an interruption by a signal handler.
fn read_once(opened: &Opened, bytes: &mut Vec<u8>, offset: Option<u64>) -> io::Result<usize> {
    loop {
        match opened.read_behind(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn filled_too_little() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "failed to fill whole buffer")
}

/// Converts `bytes` to text.
pub(super) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8")
    })
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.opened.read(&mut [IoSliceMut::new(buffer)], None)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.opened.read(buffers, None)
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        if let Some(left) = self.left().filter(|left| *left > 0) {
            bytes.try_reserve(left.saturating_add(1))?;
        }
        self.read_rest(bytes)
    }

    fn read_to_string(&mut self, string: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        let count = self.read_to_end(&mut bytes)?;
        let read = text(bytes)?;
        if string.is_empty() {
            *string = read;
        } else {
            string.push_str(&read);
        }
        Ok(count)
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.opened.write(&[IoSlice::new(bytes)], None)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.opened.write(buffers, None)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.as_std().seek(to)
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(bytes)
    }

    fn read_to_string(&mut self, string: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(string)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}
