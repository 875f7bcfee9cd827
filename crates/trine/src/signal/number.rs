//! Signals and their names.

use std::fmt;

use crate::sys::signal;

/// A signal: a number with a name.
///
/// ```
/// use trine::signal::Signal;
///
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_raw(15), Signal::TERM);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// The terminal was closed. By custom also a request to read the settings again.
    pub const HUP: Signal = Signal(signal::SIGHUP);
    /// Ctrl-C at the terminal.
    pub const INT: Signal = Signal(signal::SIGINT);
    /// Ctrl-\ at the terminal.
    pub const QUIT: Signal = Signal(signal::SIGQUIT);
    /// Sent by `abort`.
    pub const ABRT: Signal = Signal(signal::SIGABRT);
    /// Kills a process; cannot be listened for.
    pub const KILL: Signal = Signal(signal::SIGKILL);
    /// Free for the use of programs.
    pub const USR1: Signal = Signal(signal::SIGUSR1);
    /// Free for the use of programs.
    pub const USR2: Signal = Signal(signal::SIGUSR2);
    /// A write to a pipe or a socket whose reader has closed it.
    pub const PIPE: Signal = Signal(signal::SIGPIPE);
    /// A timer set by `alarm` has expired.
    pub const ALRM: Signal = Signal(signal::SIGALRM);
    /// A polite request to end.
    pub const TERM: Signal = Signal(signal::SIGTERM);
    /// A child has ended, was stopped or continues.
    pub const CHLD: Signal = Signal(signal::SIGCHLD);
    /// Continues a stopped process.
    pub const CONT: Signal = Signal(signal::SIGCONT);
    /// Stops a process; cannot be listened for.
    pub const STOP: Signal = Signal(signal::SIGSTOP);
    /// Ctrl-Z at the terminal.
    pub const TSTP: Signal = Signal(signal::SIGTSTP);
    /// A process in the background reads from the terminal.
    pub const TTIN: Signal = Signal(signal::SIGTTIN);
    /// A process in the background writes to the terminal.
    pub const TTOU: Signal = Signal(signal::SIGTTOU);
    /// The terminal's window has changed its size.
    pub const WINCH: Signal = Signal(signal::SIGWINCH);
    /// A descriptor with `O_ASYNC` is ready.
    pub const IO: Signal = Signal(signal::SIGIO);

    /// Makes the signal with this number, which is checked when the signal is used.
    pub const fn from_raw(number: i32) -> Signal {
        Signal(number)
    }

    /// Returns the signal's number.
    ///
    /// ```
    /// use trine::signal::Signal;
    ///
    /// assert_eq!(Signal::KILL.as_raw(), 9);
    /// assert_eq!(Signal::from_raw(40).as_raw(), 40); // a signal without a name
    /// ```
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// Shows the name as in `kill -l`, such as `SIGTERM`, or `signal 40` for a signal without a name.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal::known_name(self.0) {
            Some(name) => f.pad(name),
            None => f.pad(&format!("signal {}", self.0)),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
