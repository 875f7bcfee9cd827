//! Forking a single-threaded process so that the child becomes its sibling.
//!
//! `fork` of the C library cannot do that, and `clone` called directly leaves out what the library
//! does around it: taking its locks (there is no other thread that could hold one) and telling
//! itself the child's thread id and robust mutexes (done here).
//!
//! Not `clone3`: nothing here needs it, and sandboxes that cannot look into its arguments (older
//! Docker, systemd's `RestrictNamespaces=`) refuse it altogether.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// On which side of the fork the caller finds itself.
#[derive(Debug)]
pub(crate) enum Side {
    /// In the one that called.
    Caller {
        /// The new process.
        pid: u32,
        /// A handle of the new process that no other process can ever stand behind.
        pidfd: OwnedFd,
    },
    /// In the new process.
    New,
}

/// Copies the calling process; the copy is a child of the caller's own parent.
///
/// # Errors
///
/// What the kernel says: `EAGAIN` at a limit for processes, `ENOMEM`, `EMFILE`.
///
/// # Safety
///
/// The calling thread is the only one of its process. Descriptors and all other owned things exist
/// in both processes from then on, so the new one must not act for the old.
pub(crate) unsafe fn fork_sibling() -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    // The signal at the child's end is the caller's own, as always with CLONE_PARENT.
    let mut flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
    let cache = thread_id_cache();
    if cache.is_some() {
        flags |= libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    }
    let (cache, no_stack) = (cache.unwrap_or_default(), 0_usize);
    let robust = robust_list();
    // SAFETY: without CLONE_VM and without a new stack the child goes on here with a copy of all
    // memory; with one thread (the caller's promise) no lock can stay taken in the copy. The
    // pointers are to memory of this frame and of the C library's own thread record.
    // The fourth argument and the fifth change places between architectures; the other one of the
    // two is for CLONE_SETTLS only.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags as usize, no_stack, &raw mut pidfd, cache, cache)
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if let Some((head, len)) = robust {
                // SAFETY: the list that the C library had set for this thread; its memory is
                // copied, and the kernel forgets the setting at a fork.
                unsafe { libc::syscall(libc::SYS_set_robust_list, head, len) };
            }
            Ok(Side::New)
        }
        pid => {
            // SAFETY: the kernel has stored a new descriptor there that nobody else knows.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Caller { pid: pid as u32, pidfd })
        }
    }
}

/// Copies the calling process by the C library's `fork`, so that its handlers (`pthread_atfork`) run: unlike the
/// template's, this child goes on with the program's own code, and the libraries that it uses.
///
/// `Some` with the child's process id for the caller, `None` for the child.
///
/// # Errors
///
/// As [`fork_sibling`].
///
/// # Safety
///
/// As for [`fork_sibling`].
pub(crate) unsafe fn fork() -> io::Result<Option<u32>> {
    // SAFETY: the caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid.unsigned_abs())),
    }
}

/// Where the C library keeps the thread's id; `None` where the kernel does not tell
/// (`CONFIG_CHECKPOINT_RESTORE`): the library then believes an old id, which only recursive and
/// priority-inheriting mutexes shared with other processes would notice.
fn thread_id_cache() -> Option<usize> {
    static CACHE: OnceLock<Option<usize>> = OnceLock::new();
    *CACHE.get_or_init(|| {
        let address = rustix::thread::get_clear_child_tid_address().ok()??;
        Some(address.as_ptr() as usize)
    })
}

/// The list of robust mutexes that the C library has set for the calling thread, the only one.
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
