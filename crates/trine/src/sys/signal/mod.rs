//! Signals: their names, sending them, and acting on them.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | signals by name and number, and sending them |
//! | `mask.rs` | blocking and ignoring signals |
//! | `action.rs` | what the process does on a signal (`sigaction`) |
//! | `stack.rs` | the stacks that handlers run on |
//! | `handler.rs` | receiving signals for listeners |
//! | `sigterm.rs` | SIGTERM as a request from a master to its workers |
//! | `terminal.rs` | SIGINT and SIGQUIT in workers |
//! | `fault.rs` | SIGSEGV and SIGBUS: stack overflows |
//! | `abort.rs` | SIGABRT: memory that ran out |
//! | `sample.rs` | SIGURG: where another thread is |

pub(crate) mod abort;
mod action;
pub(crate) mod fault;
pub(crate) mod handler;
pub(crate) mod mask;
pub(crate) mod sample;
pub(crate) mod sigterm;
pub(crate) mod stack;
pub(crate) mod terminal;

use std::io;

pub(crate) use libc::{
    SIGABRT, SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGQUIT, SIGSTOP,
    SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};

/// Returns the name of a signal, as `kill -l` prints it.
pub(crate) fn signal_name(signal: i32) -> &'static str {
    known_name(signal).unwrap_or("a signal")
}

/// Returns the name of a signal; `None` for signals without a name.
pub(crate) fn known_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSTKFLT => "SIGSTKFLT",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGCONT => "SIGCONT",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGURG => "SIGURG",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGWINCH => "SIGWINCH",
        libc::SIGIO => "SIGIO",
        libc::SIGPWR => "SIGPWR",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// Sends a signal to the calling thread; unless it is blocked, its handler has run on return.
pub(crate) fn raise(signal: i32) -> io::Result<()> {
    // SAFETY: the call touches no memory of ours; the code that set a handler answers for it.
    match unsafe { libc::raise(signal) } {
        0 => Ok(()),
        // The C library refuses its own signals without `errno`.
        _ if !(1..=libc::SIGRTMAX()).contains(&signal) => Err(io::ErrorKind::InvalidInput.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal to one process.
pub(crate) fn send(pid: u32, signal: i32) -> io::Result<()> {
    // 0 and negative numbers are groups.
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the call touches no memory.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to each process of a group.
pub(crate) fn send_group(group: u32, signal: i32) -> io::Result<()> {
    // 0 would be the caller's own group, and 1 every process.
    let group = i32::try_from(group).ok().filter(|group| *group > 1);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the call touches no memory.
    if unsafe { libc::kill(-group, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
