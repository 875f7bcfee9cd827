//! One who listens, as users see it.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Signal;
use super::listeners::Listener;
use crate::sys::signal::handler;
use crate::task::{park, wait};

/// Some signals as they come, from the call of [`new`](Self::new) on.
///
/// All who listen for a signal get it. Of several tasks that wait in the same `Signals`, one does.
///
/// ```
/// use trine::signal::{self, Signal, Signals};
///
/// let signals = Signals::new([Signal::USR1, Signal::TERM])?;
/// # signal::raise(Signal::USR1)?;
/// # signal::raise(Signal::TERM)?;
/// for signal in &signals {
///     match signal {
///         Signal::TERM => break,
///         other => println!("{other}"),
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Signals {
    listener: Arc<Listener>,
}

/// The signals as they come; see [`Signals::iter`].
#[derive(Debug)]
pub struct Iter<'a> {
    signals: &'a Signals,
}

impl Signals {
    /// Listens for `signals` from now on.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no signal at all, for a number that is none, and for those that
    /// [cannot be listened for](super#what-cannot-be-listened-for); for the first listener, if there
    /// is no descriptor or no thread left.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        let mut wanted = 0;
        for signal in signals {
            if handler::is_reserved(signal.as_raw()) {
                return Err(refused(signal, "there is no such signal, or the C library keeps it"));
            }
            if let Some(why) = handler::refusal(signal.as_raw()) {
                return Err(refused(signal, why));
            }
            wanted |= handler::bit(signal.as_raw());
        }
        if wanted == 0 {
            let text = "a listener for no signal would wait for ever";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Signals { listener: Listener::join(wanted)? })
    }

    /// Waits for the next signal. Of several that came meanwhile, the one with the lowest number is first.
    ///
    /// # Errors
    ///
    /// What ends a wait from outside ([`Interrupted`](crate::Interrupted)).
    pub fn recv(&self) -> io::Result<Signal> {
        loop {
            if let Some(signal) = self.recv_until(None)? {
                return Ok(signal);
            }
        }
    }

    /// Waits for the next signal, for at most `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> io::Result<Option<Signal>> {
        match Instant::now().checked_add(timeout) {
            None => self.recv().map(Some),
            deadline => self.recv_until(deadline),
        }
    }

    /// The next signal, if one came.
    pub fn try_recv(&self) -> Option<Signal> {
        self.listener.take().map(Signal::from_raw)
    }

    /// The signals as they come, without an end. Unwinds the task if it is cancelled while it waits.
    pub fn iter(&self) -> Iter<'_> {
        Iter { signals: self }
    }

    fn recv_until(&self, deadline: Option<Instant>) -> io::Result<Option<Signal>> {
        let wait = || wait::for_wake(deadline).map_err(io::Error::from);
        self.recv_by(deadline, wait)
    }

    /// Waits by `wait`, until `deadline`.
    fn recv_by(
        &self,
        deadline: Option<Instant>,
        wait: impl Fn() -> io::Result<()>,
    ) -> io::Result<Option<Signal>> {
        /// Takes the caller out of the list of those who wait.
        struct Leave<'a>(&'a Listener, u64);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.forget(self.1);
            }
        }
        let number = match self.listener.take_or_wait(park::waker()) {
            Ok(signal) => return Ok(Some(Signal::from_raw(signal))),
            Err(number) => number,
        };
        let _leave = Leave(&self.listener, number);
        loop {
            let waited = wait();
            if let Some(signal) = self.try_recv() {
                return Ok(Some(signal));
            }
            waited?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
        }
    }
}

fn refused(signal: Signal, why: &str) -> io::Error {
    let text = format!("{signal} cannot be listened for: {why}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.listener.leave();
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.listener.wanted().map(Signal::from_raw)).finish()
    }
}

impl Iterator for Iter<'_> {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        loop {
            let wait = || {
                wait::or_unwind(None);
                Ok(())
            };
            if let Ok(Some(signal)) = self.signals.recv_by(None, wait) {
                return Some(signal);
            }
        }
    }
}

impl FusedIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Signals {
    type Item = Signal;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
