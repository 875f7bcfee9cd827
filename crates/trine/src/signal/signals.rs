//! The public listener.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Signal;
use super::listeners::{self, Listener};
use crate::sys::signal::handler;
use crate::task::{budget, park, wait};

/// A listener for some signals, from the call of [`new`](Self::new) on.
///
/// All listeners for a signal receive it. Of several tasks that wait in the same `Signals`, one
/// receives it.
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

/// An iterator over the signals as they come; see [`Signals::iter`].
#[derive(Debug)]
pub struct Iter<'a> {
    signals: &'a Signals,
}

impl Signals {
    /// Listens for `signals` from now on.
    ///
    /// ```
    /// use trine::signal::{Signal, Signals};
    ///
    /// let signals = Signals::new([Signal::INT, Signal::TERM])?;
    /// assert_eq!(signals.try_recv(), None);
    /// assert!(Signals::new([Signal::KILL]).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` without any signal, for a number that is no signal, and for a signal that
    /// [cannot be listened for](super#what-cannot-be-listened-for). The first listener also fails
    /// if there is no descriptor or no thread left.
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
            let text = "a listener for no signal would wait forever";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Signals { listener: Listener::join(wanted)? })
    }

    /// Waits for the next signal. Of several that came meanwhile, the lowest number is first.
    ///
    /// ```
    /// use trine::signal::{self, Signal, Signals};
    ///
    /// let signals = Signals::new([Signal::WINCH])?;
    /// signal::raise(Signal::WINCH)?;
    /// assert_eq!(signals.recv()?, Signal::WINCH);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Interrupted`](crate::Interrupted) if the wait is ended from outside.
    pub fn recv(&self) -> io::Result<Signal> {
        loop {
            if let Some(signal) = self.recv_until(None)? {
                return Ok(signal);
            }
        }
    }

    /// Waits for the next signal, for at most `timeout`. Returns `None` if none came.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::signal::{Signal, Signals};
    ///
    /// let signals = Signals::new([Signal::HUP])?;
    /// assert_eq!(signals.recv_timeout(Duration::from_millis(1))?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> io::Result<Option<Signal>> {
        if timeout.is_zero() {
            return Ok(self.try_recv());
        }
        match Instant::now().checked_add(timeout) {
            None => self.recv().map(Some),
            deadline => self.recv_until(deadline),
        }
    }

    /// Waits for the next signal, as a future: for async code, and for a `future` arm of
    /// [`select!`](macro@crate::sync::select). Dropped before it is ready, it has taken nothing.
    ///
    /// ```
    /// use trine::future;
    /// use trine::signal::{self, Signal, Signals};
    ///
    /// let signals = Signals::new([Signal::WINCH])?;
    /// signal::raise(Signal::WINCH)?;
    /// assert_eq!(future::block_on(signals.recv_async())?, Signal::WINCH);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails in a process that was forked off the one that listens.
    pub async fn recv_async(&self) -> io::Result<Signal> {
        /// Removes the future's waker from the listener.
        struct Leave<'a>(&'a Listener, Option<u64>);
        impl Leave<'_> {
            fn leave(&mut self) {
                if let Some(number) = self.1.take() {
                    self.0.forget(number);
                }
            }
        }
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.leave();
            }
        }
        let mut waiting = Leave(&self.listener, None);
        poll_fn(|context| {
            if budget::spend_in_poll(context.waker()) {
                return Poll::Pending;
            }
            waiting.leave();
            match self.listener.take_or_wait(context.waker().clone()) {
                Ok(signal) => return Poll::Ready(Ok(Signal::from_raw(signal))),
                Err(number) => waiting.1 = Some(number),
            }
            match listeners::refuse_in_copy() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Takes the next signal without waiting. Returns `None` if none came.
    ///
    /// ```
    /// use trine::signal::{self, Signal, Signals};
    ///
    /// let signals = Signals::new([Signal::CONT])?;
    /// assert_eq!(signals.try_recv(), None);
    /// signal::raise(Signal::CONT)?;
    /// assert_eq!(signals.try_recv(), Some(Signal::CONT));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_recv(&self) -> Option<Signal> {
        budget::spend();
        self.listener.take().map(Signal::from_raw)
    }

    /// Returns an endless iterator over the signals as they come. It unwinds a task that is
    /// cancelled while it waits.
    ///
    /// ```
    /// use trine::signal::{self, Signal, Signals};
    ///
    /// let signals = Signals::new([Signal::USR1])?;
    /// signal::raise(Signal::USR1)?;
    /// assert_eq!(signals.iter().next(), Some(Signal::USR1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        /// Removes the caller's waker from the listener.
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
        listeners::refuse_in_copy()?;
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
            match self.signals.recv_by(None, wait) {
                Ok(Some(signal)) => return Some(signal),
                Ok(None) => {}
                // In a copy of the program, where no thread delivers signals.
                Err(error) => panic!("{error}"),
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
