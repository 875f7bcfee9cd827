//! Forking a process with one thread, so that the child becomes its sibling.
//!
//! `fork` of the C library cannot do that. `clone` called directly skips what the library does
//! around it: taking its locks (no other thread could hold one), and recording the child's thread
//! id and robust mutexes (done here).
//!
//! This does not use `clone3`: nothing here needs it, and sandboxes that cannot inspect its
//! arguments refuse it altogether (older Docker, systemd's `RestrictNamespaces=`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// The process in which the fork returns.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The process that called.
    Caller {
        /// The id of the new process.
        pid: u32,
        /// A handle of the new process, which can never come to mean another process.
        pidfd: OwnedFd,
    },
    /// The new process.
    New,
}

/// Copies the calling process; the copy is a child of the caller's own parent.
///
/// # Errors
///
/// The kernel's: `EAGAIN` at a limit for processes, `ENOMEM`, `EMFILE`.
///
/// # Safety
///
/// The calling thread is the only one of its process. Descriptors and all other owned things then
/// exist in both processes, so the new process must not act for the old.
pub(crate) unsafe fn fork_sibling() -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    // The child's exit signal is the caller's own, as always with CLONE_PARENT.
    let mut flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
    let cache = thread_id_cache();
    if cache.is_some() {
        flags |= libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    }
    let (cache, no_stack) = (cache.unwrap_or_default(), 0_usize);
    let robust = robust_list();
    // SAFETY: without CLONE_VM and without a new stack the child continues here with a copy of all
    // memory. With one thread (the caller's promise) no lock can stay taken in the copy. The
    // pointers are to memory of this frame and of the C library's own thread record. Architectures
    // differ in the order of the fourth and fifth argument; the other of the two is for
    // CLONE_SETTLS only, so both get the same value.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags as usize, no_stack, &raw mut pidfd, cache, cache)
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if let Some((head, len)) = robust {
                // SAFETY: the list that the C library had set for this thread; its memory is
                // copied, and the kernel clears the setting at a fork.
                unsafe { libc::syscall(libc::SYS_set_robust_list, head, len) };
            }
            Ok(Forked::New)
        }
        pid => {
            // SAFETY: the kernel has stored a new descriptor there that no other code knows.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Caller { pid: pid as u32, pidfd })
        }
    }
}

/// Copies the calling process by the C library's `fork`, so that its handlers (`pthread_atfork`)
/// run. A template's child needs none, but this child continues with the program's own code and the
/// libraries that it uses.
///
/// Returns the child's process id to the caller, and `None` to the child.
///
/// # Errors
///
/// The same as for [`fork_sibling`].
///
/// # Safety
///
/// The same as for [`fork_sibling`].
pub(crate) unsafe fn fork() -> io::Result<Option<u32>> {
    // SAFETY: the caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid.unsigned_abs())),
    }
}

/// Returns the place where the C library keeps the thread's id; `None` if the kernel does not
/// report it (`CONFIG_CHECKPOINT_RESTORE`). The library then keeps an old id, which matters only to
/// recursive and priority-inheriting mutexes shared with other processes.
fn thread_id_cache() -> Option<usize> {
    static CACHE: OnceLock<Option<usize>> = OnceLock::new();
    *CACHE.get_or_init(|| {
        let address = rustix::thread::get_clear_child_tid_address().ok()??;
        Some(address.as_ptr() as usize)
    })
}

/// Returns the list of robust mutexes that the C library has set for the calling thread, the only
/// one.
fn robust_list() -> Option<(usize, usize)> {
    static LIST: OnceLock<Option<(usize, usize)>> = OnceLock::new();
    *LIST.get_or_init(|| {
        let (mut head, mut len) = (0_usize, 0_usize);
        // SAFETY: the kernel stores two words; 0 names the calling thread.
        let result =
            unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
        (result == 0 && head != 0).then_some((head, len))
    })
}
