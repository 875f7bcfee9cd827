//! Signals: waiting for those that the kernel, a terminal or another process sends.
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
//! Without a listener, a signal performs its action; most end the process. From the first
//! [`Signals`] that names it to the drop of the last one, a signal only reaches these listeners.
//! Then the previous action is back: with `ctrl_c()?; clean_up()`, a second Ctrl-C ends a clean-up
//! that hangs. Keep a `Signals` alive between two waits instead of calling [`wait`] in a loop, or a
//! signal that arrives there is missed or ends the process.
//!
//! - A listener receives the signals that arrive after it was made, also between two of its waits.
//! - A signal that arrives again before it was received is received once, as in the kernel. This
//!   holds also for numbers from 34 on, which the kernel queues. So a signal reports *that*
//!   something happened, not how often.
//! - A handler that the program had for the signal is called too. A handler that a library installs
//!   later stays, and has to call ours, as `signal-hook` and tokio do.
//! - Programs started by [`process::Command`](crate::process::Command) have the default actions.
//!
//! # What cannot be listened for
//!
//! | signals | reason |
//! |---|---|
//! | KILL, STOP | the kernel does not let a program catch them |
//! | SEGV, BUS, ILL, FPE | the thread that they hit cannot go on |
//! | URG | trine uses it |
//! | TERM in a process task | trine cancels the task by it |
//!
//! # How it works
//!
//! A handler notes the signal and rings a bell. A thread that sleeps for the bell, started with the
//! first listener, delivers the signal to the listeners. Nothing is polled, and only that thread is
//! kept.

// | file | contents |
// |---|---|
// | `mod.rs` | `wait`, `ctrl_c`, `send`, `raise` |
// | `number.rs` | `Signal` |
// | `signals.rs` | `Signals`, the public listener |
// | `listeners.rs` | the list of listeners, and the thread that delivers signals to them |

use std::io;

mod listeners;
mod number;
mod signals;

use crate::sys;
pub use number::Signal;
pub use signals::{Iter, Signals};

/// Waits for one of `signals`, and returns the one that came.
///
/// Before the call and after it, the signals have their previous actions: most end the process. In
/// a loop, use [`Signals`].
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
/// See [`Signals::new`] and [`Signals::recv`].
pub fn wait(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signal> {
    Signals::new(signals)?.recv()
}

/// Waits for Ctrl-C at the terminal: [`Signal::INT`].
///
/// A second Ctrl-C, after the call, ends the process as usual.
///
/// ```no_run
/// trine::signal::ctrl_c()?;
/// println!("ending; press Ctrl-C again to end at once");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// See [`Signals::new`] and [`Signals::recv`].
pub fn ctrl_c() -> io::Result<()> {
    wait([Signal::INT]).map(drop)
}

/// Sends a signal to the process `pid`.
///
/// The kernel may have given the pid of a process that has ended to another one. For a child,
/// [`Child::signal`] is safe from that.
///
/// [`Child::signal`]: crate::process::Child::signal
///
/// ```
/// use trine::signal::{self, Signal, Signals};
///
/// let signals = Signals::new([Signal::USR2])?;
/// signal::send(std::process::id(), Signal::USR2)?; // as `kill -USR2` would
/// assert_eq!(signals.recv()?, Signal::USR2);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// There is no such process or no such signal, or the caller lacks the permission to send it.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    sys::signal::send(pid, signal.as_raw())
}

/// Sends a signal to all processes of the group `group`.
///
/// The group of a child that was started with
/// [`process_group(0)`](crate::process::Command::process_group) has the child's pid as its number,
/// and contains the child and its descendants. A group exists until its last process has ended;
/// after that, the kernel may give its number to another.
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
/// There is no such group or no such signal, or the caller lacks the permission for all processes
/// of the group.
pub fn send_group(group: u32, signal: Signal) -> io::Result<()> {
    sys::signal::send_group(group, signal.as_raw())
}

/// Sends a signal to the calling thread. Listeners have received it when the call returns.
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
