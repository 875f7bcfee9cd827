//! Who listens for which signals, and the thread that tells them.
//!
//! All who listen stand in one list. What the handler has noted is passed on under the list's lock: by the
//! thread, and by whoever is about to look for a signal or joins the list. So a signal reaches exactly
//! those who were in the list when its handler ran, and is there for them as soon as that has returned.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;

use crate::sys::io::poll::{self, Bell, Interest};
use crate::sys::signal::handler;

/// One who listens.
#[derive(Debug)]
pub(super) struct Listener {
    /// Bits of the signals that it listens for.
    wanted: u64,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// Bits of the signals that came.
    pending: u64,
    /// Those who wait, with a number to be found by.
    waiting: Vec<(u64, Waker)>,
    waiting_so_far: u64,
}

#[derive(Debug)]
struct List {
    listeners: Vec<Arc<Listener>>,
    /// Whether there is a thread that tells them.
    is_served: bool,
}

static LIST: Mutex<List> = Mutex::new(List { listeners: Vec::new(), is_served: false });

impl List {
    /// Bits of the signals that anybody listens for.
    fn wanted(&self) -> u64 {
        self.listeners.iter().fold(0, |all, listener| all | listener.wanted)
    }

    /// Starts the thread, once. A failure is not kept: the next listener tries again.
    fn serve(&mut self) -> io::Result<()> {
        if !self.is_served {
            // Without the thread it is a leak of one descriptor, in a program that can start no thread.
            let bell: &'static Bell = Box::leak(Box::new(Bell::new()?));
            thread::Builder::new().name("trine-signal".into()).spawn(move || serve(bell))?;
            handler::set_bell(bell);
            self.is_served = true;
        }
        Ok(())
    }

    /// Passes on what came; the wakers of those who wait for it.
    fn pass_on(&self) -> Vec<Waker> {
        let came = handler::take();
        let mut wakers = Vec::new();
        for listener in self.listeners.iter().filter(|listener| came & listener.wanted != 0) {
            let mut heard = listener.heard();
            heard.pending |= came & listener.wanted;
            wakers.extend(heard.waiting.iter().map(|(_, waker)| waker.clone()));
        }
        wakers
    }
}

fn list() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(bell: &'static Bell) -> ! {
    use std::os::fd::AsFd;
    loop {
        poll::wait_for(bell.as_fd(), Interest::Read, None, None);
        // Before the look: what comes after it rings again.
        bell.quiet();
        pass_on();
    }
}

/// Passes on what came, and wakes those who wait for it.
fn pass_on() {
    let wakers = list().pass_on();
    wakers.into_iter().for_each(Waker::wake);
}

/// Bits of signals, as their numbers.
fn signals(mut bits: u64) -> impl Iterator<Item = i32> {
    std::iter::from_fn(move || {
        let first = (bits != 0).then(|| bits.trailing_zeros().cast_signed() + 1)?;
        bits &= bits - 1;
        Some(first)
    })
}

impl Listener {
    /// Puts one into the list that listens for the signals of these bits, which nothing speaks against.
    ///
    /// # Errors
    ///
    /// No descriptor or no thread for the one that tells listeners.
    pub(super) fn join(wanted: u64) -> io::Result<Arc<Listener>> {
        let mut list = list();
        list.serve()?;
        let wakers = list.pass_on();
        let listener = Arc::new(Listener { wanted, heard: Mutex::default() });
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
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// Takes it out of the list; signals that nobody else listens for do what they did before.
    pub(super) fn leave(&self) {
        let mut list = list();
        let wakers = list.pass_on();
        list.listeners.retain(|other| !std::ptr::eq(&**other, self));
        signals(self.wanted & !list.wanted()).for_each(handler::unlisten);
        drop(list);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The lowest of the signals that came.
    pub(super) fn take(&self) -> Option<i32> {
        pass_on();
        self.heard().take()
    }

    /// The lowest of the signals that came; if there is none, `waker` is woken when one does, until
    /// [`forget`](Self::forget) with the number.
    pub(super) fn take_or_wait(&self, waker: Waker) -> Result<i32, u64> {
        pass_on();
        let mut heard = self.heard();
        if let Some(signal) = heard.take() {
            return Ok(signal);
        }
        heard.waiting_so_far += 1;
        let number = heard.waiting_so_far;
        heard.waiting.push((number, waker));
        Err(number)
    }

    /// Undoes [`take_or_wait`](Self::take_or_wait).
    pub(super) fn forget(&self, number: u64) {
        let mut heard = self.heard();
        let at = heard.waiting.iter().position(|(own, _)| *own == number);
        let left = at.map(|at| heard.waiting.swap_remove(at));
        drop(heard);
        drop(left);
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = i32> {
        signals(self.wanted)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn take(&mut self) -> Option<i32> {
        let signal = signals(self.pending).next()?;
        self.pending &= !handler::bit(signal);
        Some(signal)
    }
}
