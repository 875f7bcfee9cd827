//! The epoll of callers outside carriers: local coroutines of `main` and the like, and futures that
//! another executor polls. A thread of its own waits for it and wakes them.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::registration::{self, Epoll, Registration};
use crate::sys::process::fork_detect;

/// The epoll, once there is one. A failure is not kept: the next caller tries again.
static EPOLL: Mutex<Option<&'static Epoll>> = Mutex::new(None);

/// Registers `descriptor` with the epoll, which a thread that never ends waits for.
///
/// # Errors
///
/// No descriptor or no thread for the epoll; no room for one more descriptor in it.
pub(super) fn watch(descriptor: BorrowedFd<'_>) -> io::Result<Registration> {
    Registration::new(epoll()?, descriptor)
}

fn epoll() -> io::Result<&'static Epoll> {
    if fork_detect::lacks_threads() {
        return Err(io::Error::other(fork_detect::explain("the thread for these waits exists")));
    }
    let mut epoll = EPOLL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(epoll) = *epoll {
        return Ok(epoll);
    }
    let new: &'static Epoll = Box::leak(Box::new(Epoll::new()?));
    // If the thread cannot be started, this leaks one descriptor.
    thread::Builder::new().name("trine-io".into()).spawn(move || serve(new))?;
    fork_detect::note_thread();
    *epoll = Some(new);
    Ok(new)
}

fn serve(epoll: &'static Epoll) -> ! {
    let mut events = Vec::new();
    loop {
        epoll.poll.wait(&mut events, None);
        events.drain(..).for_each(registration::report);
    }
}
