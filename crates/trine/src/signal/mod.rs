//! Signals: waiting for those that the kernel, a terminal or another process sends to this one.
//!
//! ```
//! use trine::{coroutine, signal::{self, Signal, Signals}};
//!
//! let signals = Signals::new([Signal::USR1, Signal::USR2])?;
//! let first = coroutine::spawn(move || signals.recv());
//! signal::send(std::process::id(), Signal::USR1)?; // as `kill -USR1` would
//! assert_eq!(first.join().unwrap()?, Signal::USR1);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A signal ends its process, or whatever its action is, unless somebody listens for it. From the first
//! [`Signals`] that names it to the drop of the last one, it does nothing but reach all of them. Then the
//! action from before is back: with `ctrl_c()?; clean_up()`, a second Ctrl-C ends a clean-up that hangs.
//! Who must not miss one, or die of it, between two waits keeps a `Signals`, and does not call [`wait`] in a loop.
//!
//! - What came before a listener was made does not reach it; what comes between two of its waits does.
//! - A signal that comes again before it was received is received once, as the kernel does it too; those
//!   with a number from 34 on, which the kernel queues, too. So a signal says *that* something happened, not how often.
//! - A handler that the program had for the signal is called too. One that a library puts in place later is
//!   left there, and has to call ours, as `signal-hook` and tokio do.
//! - Programs started from here ([`process::Command`](crate::process::Command)) have the default actions.
//!
//! # What cannot be listened for
//!
//! KILL and STOP, which the kernel lets nobody catch; SEGV, BUS, ILL and FPE, which say that a thread cannot go
//! on; URG, which trine uses; TERM in a process task, which is told of its cancellation by it.
//!
//! # How
//!
//! A handler notes the signal and rings a bell; a thread that sleeps for the bell, started with the first
//! listener, passes signals on. Nothing is polled, and nothing but that thread is kept.

use std::io;

mod listeners;
mod number;
mod signals;

use crate::sys;
pub use number::Signal;
pub use signals::{Iter, Signals};

/// Waits for one of `signals`; which one came.
///
/// Before the call and after it, the signals do what they did before: most end the process. In a loop, use
/// [`Signals`].
///
/// ```no_run
/// use trine::signal::{self, Signal};
///
/// match signal::wait([Signal::INT, Signal::TERM])? {
///     Signal::INT => println!("Ctrl-C"),
///     other => println!("{other}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As [`Signals::new`] and [`Signals::recv`].
pub fn wait(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signal> {
    Signals::new(signals)?.recv()
}

/// Waits for Ctrl-C at the terminal: [`Signal::INT`].
///
/// A second one, after the call, ends the process as usual.
///
/// ```no_run
/// trine::signal::ctrl_c()?;
/// println!("ending; press Ctrl-C again to end at once");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As [`Signals::new`] and [`Signals::recv`].
pub fn ctrl_c() -> io::Result<()> {
    wait([Signal::INT]).map(drop)
}

/// Sends a signal to the process `pid`.
///
/// A pid that has ended may have been given to another process: for a child, [`Child::signal`]
/// is safe from that.
///
/// [`Child::signal`]: crate::process::Child::signal
///
/// # Errors
///
/// There is no such process or no such signal, or it is not the caller's to send.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    sys::signal::send(pid, signal.as_raw())
}

/// Sends a signal to all processes of the group `group`: to a child that was started with
/// [`process_group(0)`](crate::process::Command::process_group), whose group has its pid, and to what it has started.
///
/// The group is there until its last process has ended; after that, its number may be given to another.
///
/// ```
/// use trine::process::Command;
/// use trine::signal::{self, Signal};
///
/// // A shell, and a program that would outlive it.
/// let mut shell = Command::new("sh").args(["-c", "sleep 600; true"]).process_group(0).spawn()?;
/// signal::send_group(shell.id(), Signal::KILL)?;
/// assert!(!shell.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// There is no such group or no such signal, or none of its processes is the caller's to send to.
pub fn send_group(group: u32, signal: Signal) -> io::Result<()> {
    sys::signal::send_group(group, signal.as_raw())
}

/// Sends a signal to the calling thread. Listeners have it when the call returns.
///
/// ```
/// use trine::signal::{self, Signal, Signals};
///
/// let signals = Signals::new([Signal::HUP])?;
/// signal::raise(Signal::HUP)?;
/// assert_eq!(signals.try_recv(), Some(Signal::HUP));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// There is no such signal.
pub fn raise(signal: Signal) -> io::Result<()> {
    sys::signal::raise(signal.as_raw())
}
