//! Descriptors that another process has sent, and that may be anything.
//!
//! To close a descriptor is to run code of its file. The last close of a socket may wait until the
//! peer has taken all bytes (`SO_LINGER`), that of a file until its file system has answered, and
//! that of memory frees all its pages. The sender chooses which. So the thread that finds such a
//! descriptor useless does not close it.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::fs;

use crate::sys::signal::mask;

/// The most bytes of memory that are freed in place: a few milliseconds.
const SMALL: u64 = 16 << 20;

/// Descriptors of another process. Those that are still here at the drop are closed by a thread of
/// their own, unless their closing is quick for certain.
#[derive(Debug, Default)]
pub(crate) struct Arrived(Vec<OwnedFd>);

impl Arrived {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the last one.
    pub(crate) fn pop(&mut self) -> Option<OwnedFd> {
        self.0.pop()
    }

    /// Splits the first `count` off, or fewer if there are not as many.
    #[inline]
    pub(crate) fn split_front(&mut self, count: usize) -> Arrived {
        // Nearly every value has none.
        if count == 0 {
            return Arrived::default();
        }
        Arrived(self.0.drain(..count.min(self.0.len())).collect())
    }

    /// Takes all; the caller closes them.
    pub(crate) fn take(&mut self) -> Vec<OwnedFd> {
        mem::take(&mut self.0)
    }
}

impl From<Vec<OwnedFd>> for Arrived {
    fn from(descriptors: Vec<OwnedFd>) -> Arrived {
        Arrived(descriptors)
    }
}

impl Drop for Arrived {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_empty() {
            close(mem::take(&mut self.0));
        }
    }
}

#[cold]
fn close(descriptors: Vec<OwnedFd>) {
    let (quick, slow): (Vec<_>, Vec<_>) = descriptors.into_iter().partition(closes_quickly);
    drop(quick);
    if slow.is_empty() {
        return;
    }
    let slow = Arc::new(Mutex::new(slow));
    let take =
        |slow: &Mutex<Vec<_>>| mem::take(&mut *slow.lock().unwrap_or_else(PoisonError::into_inner));
    let own = Arc::clone(&slow);
    let signals = mask::block_signals();
    let thread = thread::Builder::new().name("trine-close".into()).spawn(move || drop(take(&own)));
    drop(signals);
    if thread.is_err() {
        // Open descriptors are better than a thread that sleeps for as long as the sender likes.
        mem::forget(take(&slow));
    }
}

/// Returns true for memory with few pages: no other code runs at its end.
fn closes_quickly(descriptor: &OwnedFd) -> bool {
    fs::fcntl_get_seals(descriptor).is_ok()
        && fs::fstat(descriptor).is_ok_and(|stat| (stat.st_blocks as u64) < SMALL / 512)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

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
}
