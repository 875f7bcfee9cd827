//! Open files.

use std::fs::{self, FileTimes, Metadata, Permissions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use super::OpenOptions;
use crate::reactor::files::{Opened, Rests, blocking};
use crate::task::park;

/// An open file, as [`std::fs::File`].
///
/// Reading and writing move the position that it shares with its clones. A read from a regular file may
/// give less than was asked for though the file goes on: what was in the kernel's cache.
///
/// In a coroutine, files are opened with `O_NONBLOCK`, which matters to FIFOs, terminals and devices alone; as a
/// [`std::fs::File`] or an [`OwnedFd`](std::os::fd::OwnedFd) they block again. Dropping closes; errors of that are lost, so call
/// [`sync_all`](File::sync_all) where they matter.
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

    /// For calls that do not sleep, or are made on a thread of the pool.
    pub(super) fn into_std(self) -> fs::File {
        self.opened.into_inner()
    }

    pub(super) fn as_std(&self) -> &fs::File {
        self.opened.get()
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`]; what interrupts the caller.
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file to write it; creates it, or drops what it holds.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::create`]; what interrupts the caller.
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file to read and write it; an error if the name is taken.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::create_new`]; what interrupts the caller.
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// Options to open a file with.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Has what was written, and all that is known of the file, brought to the disk.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::sync_all`]; what interrupts the caller before it has begun.
    pub fn sync_all(&self) -> io::Result<()> {
        self.opened.sync(false)
    }

    /// Has what was written brought to the disk.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::sync_data`]; what interrupts the caller before it has begun.
    pub fn sync_data(&self) -> io::Result<()> {
        self.opened.sync(true)
    }

    /// Cuts the file, or fills it with zeros, to `size` bytes.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::set_len`]; what interrupts the caller.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        blocking(|| self.as_std().set_len(size))
    }

    /// What is known of the file.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.opened.metadata()
    }

    /// Another handle of the same open file, with the same position.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::try_clone`].
    pub fn try_clone(&self) -> io::Result<File> {
        self.opened.try_clone().map(File::of)
    }

    /// Changes who may do what with the file.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::set_permissions`]; what interrupts the caller.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        blocking(|| self.as_std().set_permissions(permissions))
    }

    /// Changes when the file was read and changed last.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::set_times`]; what interrupts the caller.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        blocking(|| self.as_std().set_times(times))
    }

    /// Changes when the file was changed last.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::set_modified`]; what interrupts the caller.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Locks the file (`flock(2)`) against others that ask, until [`unlock`](File::unlock) or the end of its last clone.
    ///
    /// The kernel tells nobody that a lock is free, so a coroutine tries again, after 1 ms up to 16: it can be
    /// cancelled meanwhile, and is not served in turn. A plain thread sleeps in the kernel and cannot be.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::lock`]; what interrupts the caller.
    pub fn lock(&self) -> io::Result<()> {
        self.lock_by(fs::File::lock, fs::File::try_lock)
    }

    /// As [`lock`](File::lock), beside others that do the same.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::lock_shared`]; what interrupts the caller.
    pub fn lock_shared(&self) -> io::Result<()> {
        self.lock_by(fs::File::lock_shared, fs::File::try_lock_shared)
    }

    /// As [`lock`](File::lock), if that can be done at once.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::try_lock`].
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.as_std().try_lock()
    }

    /// As [`lock_shared`](File::lock_shared), if that can be done at once.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::try_lock_shared`].
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.as_std().try_lock_shared()
    }

    /// Gives the lock back.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::unlock`].
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
        let mut rests = Rests::new();
        loop {
            match at_once(self.as_std()) {
                Err(TryLockError::WouldBlock) => rests.rest()?,
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Reads at `offset`, wherever the file's position is.
    ///
    /// # Errors
    ///
    /// As [`read_at`](std::os::unix::fs::FileExt::read_at); what interrupts the caller.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.opened.read(&mut [IoSliceMut::new(buffer)], Some(offset))
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`read_exact_at`](std::os::unix::fs::FileExt::read_exact_at); what interrupts the caller.
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

    /// Writes at `offset`, wherever the file's position is. A file opened to append is written at its end.
    ///
    /// # Errors
    ///
    /// As [`write_at`](std::os::unix::fs::FileExt::write_at); what interrupts the caller.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.opened.write(&[IoSlice::new(bytes)], Some(offset))
    }

    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`write_all_at`](std::os::unix::fs::FileExt::write_all_at); what interrupts the caller.
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

    /// Reads from the position to the end, behind what `bytes` holds; the file was just opened.
    pub(super) fn read_whole(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let found = self.metadata()?;
        if !found.is_file() || found.len() == 0 {
            return self.read_rest(bytes);
        }
        // One byte more: a read that does not fill it has come to the end.
        let size = usize::try_from(found.len()).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(size.saturating_add(1))?;
        // Nobody else has the file, so its position need not move along.
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

    /// How many bytes are left, as far as is known: what to make room for.
    fn left(&self) -> Option<usize> {
        let size = self.metadata().ok()?.len();
        let position = (&mut &*self).stream_position().ok()?;
        usize::try_from(size.checked_sub(position)?).ok()
    }
}

/// Room for what tells no size, as the files of `/proc`: each of their reads may go to a thread.
const UNKNOWN: usize = 4096;

/// A read that a signal's handler does not end.
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

/// `bytes` as text.
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
