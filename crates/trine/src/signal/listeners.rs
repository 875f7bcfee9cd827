//! The listeners, and the thread that delivers signals to them.
//!
//! All listeners are in one list. The signals that the handler has noted are delivered under the
//! list's lock: by the thread, and by every caller that looks for a signal or joins the list. So a
//! signal reaches exactly the listeners that were in the list when its handler ran, and they have
//! it as soon as the handler has returned.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;

use crate::sys::io::poll::{self, Bell, Interest};
use crate::sys::process::fork_detect;
use crate::sys::signal::handler;
use crate::task::park;

/// A listener.
#[derive(Debug)]
pub(super) struct Listener {
    /// Bits of the signals that it listens for.
    wanted: u64,
    inbox: Mutex<Inbox>,
}

/// The signals that a listener has received, and the callers that wait for one.
#[derive(Debug, Default)]
struct Inbox {
    /// Bits of the signals that came.
    pending: u64,
    /// The wakers of waiting callers, each with a number to find it by.
    waiting: Vec<(u64, Waker)>,
    last_number: u64,
}

#[derive(Debug)]
struct List {
    listeners: Vec<Arc<Listener>>,
    /// True if the thread is started.
    is_served: bool,
}

static LIST: Mutex<List> = Mutex::new(List { listeners: Vec::new(), is_served: false });

impl List {
    /// Returns the bits of the signals that have a listener.
    fn wanted(&self) -> u64 {
        self.listeners.iter().fold(0, |all, listener| all | listener.wanted)
    }

    /// Starts the thread, once. After a failure, the next listener tries again.
    fn serve(&mut self) -> io::Result<()> {
        refuse_in_copy()?;
        if !self.is_served {
            // If the thread cannot be started, this leaks one descriptor.
            let bell: &'static Bell = Box::leak(Box::new(Bell::new()?));
            thread::Builder::new().name("trine-signal".into()).spawn(move || serve(bell))?;
            fork_detect::note_thread();
            handler::set_bell(bell);
            self.is_served = true;
        }
        Ok(())
    }

    /// Delivers the signals that came, and returns the wakers of callers that wait for them.
    fn deliver(&self) -> Vec<Waker> {
        let came = handler::take();
        let mut wakers = Vec::new();
        for listener in self.listeners.iter().filter(|listener| came & listener.wanted != 0) {
            let mut inbox = listener.inbox();
            inbox.pending |= came & listener.wanted;
            wakers.extend(inbox.waiting.iter().map(|(_, waker)| waker.clone()));
        }
        wakers
    }
}

/// # Errors
///
/// This process is a copy, made by `fork`, without the thread that delivers signals.
pub(super) fn refuse_in_copy() -> io::Result<()> {
    if fork_detect::lacks_threads() {
        let text = fork_detect::explain("the thread that delivers signals exists");
        return Err(io::Error::other(text));
    }
    Ok(())
}

fn list() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(bell: &'static Bell) -> ! {
    use std::os::fd::AsFd;
    loop {
        poll::wait_for(bell.as_fd(), Interest::Read, None, None);
        // Before the delivery: a signal that comes after it rings again.
        bell.quiet();
        deliver();
    }
}

/// Delivers the signals that came, and wakes the callers that wait for them.
fn deliver() {
    let wakers = list().deliver();
    wakers.into_iter().for_each(park::wake);
}

/// Returns the numbers of the signals whose bits are set.
fn signals(mut bits: u64) -> impl Iterator<Item = i32> {
    std::iter::from_fn(move || {
        let first = (bits != 0).then(|| bits.trailing_zeros().cast_signed() + 1)?;
        bits &= bits - 1;
        Some(first)
    })
}

impl Listener {
    /// Adds a listener for the signals of these bits, which the caller has checked.
    ///
    /// # Errors
    ///
    /// There is no descriptor or no thread for the delivery, or the kernel refuses a handler.
    pub(super) fn join(wanted: u64) -> io::Result<Arc<Listener>> {
        let mut list = list();
        list.serve()?;
        let wakers = list.deliver();
        let listener = Arc::new(Listener { wanted, inbox: Mutex::default() });
        let mut result = Ok(Arc::clone(&listener));
        let before = list.wanted();
        list.listeners.push(listener);
        for signal in signals(wanted & !before) {
            if let Err(error) = handler::listen(signal) {
                list.listeners.pop();
                signals(wanted & !before).take_while(|s| *s != signal).for_each(handler::unlisten);
                result = Err(error);
                break;
            }
        }
        drop(list);
        wakers.into_iter().for_each(park::wake);
        result
    }

    /// Removes the listener; signals without another listener get their previous actions back.
    pub(super) fn leave(&self) {
        let mut list = list();
        let wakers = list.deliver();
        list.listeners.retain(|other| !std::ptr::eq(&**other, self));
        signals(self.wanted & !list.wanted()).for_each(handler::unlisten);
        drop(list);
        wakers.into_iter().for_each(park::wake);
    }

    /// Takes the lowest of the signals that came.
    pub(super) fn take(&self) -> Option<i32> {
        deliver();
        self.inbox().take()
    }

    /// Takes the lowest of the signals that came. Without one, registers `waker` for the next,
    /// until a call of [`forget`](Self::forget) with the returned number.
    pub(super) fn take_or_wait(&self, waker: Waker) -> Result<i32, u64> {
        deliver();
        let mut inbox = self.inbox();
        if let Some(signal) = inbox.take() {
            return Ok(signal);
        }
        inbox.last_number += 1;
        let number = inbox.last_number;
        inbox.waiting.push((number, waker));
        Err(number)
    }

    /// Undoes [`take_or_wait`](Self::take_or_wait).
    pub(super) fn forget(&self, number: u64) {
        let mut inbox = self.inbox();
        let at = inbox.waiting.iter().position(|(other, _)| *other == number);
        let forgotten = at.map(|at| inbox.waiting.swap_remove(at));
        drop(inbox);
        drop(forgotten);
    }

    /// Returns the signals that this listens for.
    pub(super) fn wanted(&self) -> impl Iterator<Item = i32> {
        signals(self.wanted)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn take(&mut self) -> Option<i32> {
        let signal = signals(self.pending).next()?;
        self.pending &= !handler::bit(signal);
        Some(signal)
    }
}
