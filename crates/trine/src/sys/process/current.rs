//! The calling process: its parent, its rights, its name, its threads, its end.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{self, Signal};

use crate::sys::lift::lift;
use crate::sys::observe;

/// Returns the process id of the caller's parent; 0 if the caller cannot see it.
pub(crate) fn parent() -> u32 {
    process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// Returns the user whose rights the caller has.
pub(crate) fn effective_user() -> u32 {
    process::geteuid().as_raw()
}

/// Returns true if this program runs with more rights than its parent had, so that the kernel
/// distrusts the parent's environment.
pub(crate) fn has_raised_rights() -> bool {
    // SAFETY: reads a word that the kernel has passed to the program.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Returns true if a process that this program starts could come to belong to another user: the
/// program has capabilities. Running a set-user-id file is another way, and runs another program.
pub(crate) fn may_change_user() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| !sets.permitted.is_empty())
}

/// Has the kernel kill the caller when its parent `parent_pid` ends; exits at once if it has ended.
pub(crate) fn die_with_parent(parent_pid: u32) {
    let armed = process::set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have ended before the kernel armed the signal.
    if armed.is_err() || parent() != parent_pid {
        exit_now(1);
    }
}

/// Gives the calling thread a short name, and the process too if the thread is its first.
pub(crate) fn set_short_name(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Returns a descriptor of the current directory, by which another process can [`enter`] it.
///
/// # Errors
///
/// No descriptor is left.
pub(crate) fn directory() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &CStr| fs::openat(CWD, path, flags, Mode::empty());
    // Without the right to search the directory, only the link leads there.
    let opened = open(c".").or_else(|error| match error {
        Errno::ACCESS => open(c"/proc/self/cwd"),
        _ => Err(error),
    });
    Ok(lift(opened?)?)
}

/// Changes to a directory.
///
/// # Errors
///
/// The caller is in another directory, and may not search this one.
pub(crate) fn enter(directory: BorrowedFd<'_>) -> io::Result<()> {
    process::fchdir(directory).or_else(|error| {
        let here = fs::statat(CWD, c"", AtFlags::EMPTY_PATH)?;
        let there = fs::fstat(directory)?;
        let is_here = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino);
        if is_here { Ok(()) } else { Err(error.into()) }
    })
}

/// Writes out the output that C code has buffered.
pub(crate) fn flush_streams() {
    // SAFETY: null means all streams that are open for writing.
    unsafe { libc::fflush(ptr::null_mut()) };
}

/// Returns the names of this process's threads other than the caller.
pub(crate) fn other_threads() -> io::Result<Vec<String>> {
    let own = observe::listed_as();
    let mut names = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        if thread.file_name() == own {
            continue;
        }
        // A thread without a name has ended since the list was read.
        if let Ok(name) = std::fs::read_to_string(thread.path().join("comm")) {
            names.push(name.trim_end().to_owned());
        }
    }
    Ok(names)
}

/// Ends the process at once: no destructor runs, and no exit handler.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}
