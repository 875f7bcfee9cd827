//! The epoll of those who are on no carrier: local coroutines of `main` and the like, and futures that
//! another executor polls. A thread of its own waits for it and wakes them.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::registration::{self, Entry};
use crate::sys::io::poll::Poll;

/// The epoll, once there is one. A failure is not kept: the next caller tries again.
static EPOLL: Mutex<Option<&'static Poll>> = Mutex::new(None);

/// Watches `descriptor`, from a thread that never ends.
///
/// # Errors
///
/// No descriptor or no thread for the epoll; no room for one more in it.
pub(super) fn watch(descriptor: BorrowedFd<'_>) -> io::Result<Entry> {
    Entry::new(epoll()?, descriptor)
}

fn epoll() -> io::Result<&'static Poll> {
    let mut epoll = EPOLL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(epoll) = *epoll {
        return Ok(epoll);
    }
    let new: &'static Poll = Box::leak(Box::new(Poll::new()?));
    // Without the thread it is a leak of one descriptor, in a program that can start no thread.
    thread::Builder::new().name("trine-io".into()).spawn(move || serve(new))?;
    *epoll = Some(new);
    Ok(new)
}

fn serve(epoll: &'static Poll) -> ! {
    let mut happened = Vec::new();
    loop {
        epoll.wait(&mut happened, None);
        happened.drain(..).for_each(registration::report);
    }
}
