//! Running this program a second time (`posix_spawn`).

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use super::descriptors;
use crate::sys::signal::terminal;

/// Starts `program`, which is this program again, with the same arguments and environment plus one
/// variable.
///
/// The new process has `socket` as the descriptor `number`, and `null` as its standard input and in
/// place of closed streams. It ignores the signals that this process ignores, and has the default
/// action on all others, and on SIGCHLD: where that is ignored, no child can be waited for. Those
/// of the [terminal] are blocked. The cost does not depend on the size of this process. The kernel
/// regards the calling *thread* as its parent.
pub(crate) fn run_again(
    program: &CStr,
    variable: (&str, &str),
    null: BorrowedFd<'_>,
    (socket, number): (&OwnedFd, RawFd),
) -> io::Result<u32> {
    let arguments: Vec<CString> = std::env::args_os().map(c_string).collect::<io::Result<_>>()?;
    let mut environment: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| name != variable.0)
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            c_string(name)
        })
        .collect::<io::Result<_>>()?;
    environment.push(c_string(format!("{}={}", variable.0, variable.1).into())?);

    let actions = Actions::new(null, socket.as_fd(), number)?;
    let attributes = Attributes::new()?;
    let mut pid = 0;
    // SAFETY: both lists are of NUL-terminated strings that outlive the call and end with null;
    // actions and attributes are initialised.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            pointers(&arguments).as_ptr(),
            pointers(&environment).as_ptr(),
        )
    };
    check(error)?;
    Ok(pid.unsigned_abs())
}

fn c_string(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    let ends = std::iter::once(std::ptr::null_mut());
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain(ends).collect()
}

fn check(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// The changes to the descriptors of the new process.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(null: BorrowedFd<'_>, socket: BorrowedFd<'_>, number: RawFd) -> io::Result<Actions> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: initialises `raw`, which is read only after success.
        let mut actions = unsafe {
            check(libc::posix_spawn_file_actions_init(raw.as_mut_ptr()))?;
            Actions(raw.assume_init())
        };
        for stream in (0..3).filter(|stream| *stream == 0 || !descriptors::is_open(*stream)) {
            actions.copy(null, stream)?;
        }
        // After the streams: `null` may have this number. The socket has none of theirs.
        actions.copy(socket, number)?;
        Ok(actions)
    }

    /// Has the new process have `from` as the descriptor `to`.
    fn copy(&mut self, from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
        // The copy is inheritable, and only the new process has it. If both numbers are equal, the
        // C library clears the flag `close on exec`, in the new process only. SAFETY: the actions
        // are initialised.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from.as_raw_fd(), to)
        })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, used no more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// The start of the new process: no signal blocked but those of the terminal.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: initialises `raw`, which is read only after success.
        let mut attributes = unsafe {
            check(libc::posix_spawnattr_init(raw.as_mut_ptr()))?;
            Attributes(raw.assume_init())
        };
        let (to, blocked) = (&raw mut attributes.0, terminal::set());
        let mut default = MaybeUninit::uninit();
        // SAFETY: the attributes and the first set are initialised; the second is before its use.
        unsafe {
            libc::sigemptyset(default.as_mut_ptr());
            libc::sigaddset(default.as_mut_ptr(), libc::SIGCHLD);
            check(libc::posix_spawnattr_setsigmask(to, &raw const blocked))?;
            check(libc::posix_spawnattr_setsigdefault(to, default.as_ptr()))?;
            let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
            check(libc::posix_spawnattr_setflags(to, flags as libc::c_short))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, used no more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
