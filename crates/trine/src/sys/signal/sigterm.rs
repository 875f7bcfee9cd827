//! SIGTERM: a request between trine's own processes, and the end of a process otherwise.
//!
//! A signal that a master sends carries a mark, which `kill` and a terminal cannot set
//! (`SI_QUEUE`). A process with the handler acts on a marked signal, and any other signal ends it.

use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::action;
use crate::sys::observe;

/// The number of the signal.
pub(crate) const SIGTERM: i32 = libc::SIGTERM;

/// Receives a marked signal. Returns true if the signal concerns the present work of the process.
/// On the first thread of the process the call also acts on it; on others it only checks.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Receive = fn(on_first_thread: bool) -> bool;

static RECEIVE: OnceLock<Receive> = OnceLock::new();

/// The kernel's `siginfo_t` for `SI_QUEUE`.
#[repr(C)]
struct Info {
    signal: c_int,
    error: c_int,
    code: c_int,
    padding: c_int,
    pid: u32,
    user: c_uint,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Info>() == size_of::<libc::siginfo_t>());

const MARK: u64 = u64::from_le_bytes(*b"trineend");

/// Sends a marked SIGTERM; has no effect on a process that has ended already.
pub(crate) fn request(pidfd: impl AsFd) {
    let info = Info {
        signal: SIGTERM,
        error: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        pid: std::process::id(),
        user: rustix::process::getuid().as_raw(),
        value: MARK,
        rest: [0; 12],
    };
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: `info` has the size and the layout of the kernel's `siginfo_t`, and is only read.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, SIGTERM, &raw const info, 0) };
}

/// True if the program that started this process ignores the signal.
static IGNORED: AtomicBool = AtomicBool::new(false);

/// Has `receive` called for marked signals, in this process and those forked from it. Any other
/// signal ends the process, unless it was ignored before.
pub(crate) fn install(receive: Receive) {
    RECEIVE.get_or_init(|| receive);
    let before = action::current(SIGTERM).map(|action| action.sa_sigaction);
    IGNORED.store(before.is_ok_and(|before| before == libc::SIG_IGN), Relaxed);
    // No SA_RESTART: a system call that the task waits in is to end.
    let action = action::handled_by(handler, 0);
    // SAFETY: `handler` does only what a signal handler may.
    let _ = unsafe { action::exchange(SIGTERM, Some(&action)) };
}

/// Returns true if this is one of trine's own processes.
pub(crate) fn is_installed() -> bool {
    RECEIVE.get().is_some()
}

/// Calls nothing that is not async-signal-safe, and leaves `errno` as it was.
unsafe extern "C" fn handler(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let errno = action::errno();
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with SA_SIGINFO; its
    // bytes are all written, whatever the code.
    let marked = unsafe {
        let info = info.cast::<Info>();
        (*info).code == libc::SI_QUEUE && (*info).value == MARK
    };
    if !marked && IGNORED.load(Relaxed) {
        // As if there were no handler.
    } else if !marked {
        action::restore_default(SIGTERM);
        action::raise_in_handler(SIGTERM);
    } else if let Some(receive) = RECEIVE.get() {
        let process = std::process::id();
        let on_first_thread = observe::thread_id() == process;
        if receive(on_first_thread) && !on_first_thread {
            // The kernel has chosen another thread, and the first one may be in a system call.
            // SAFETY: sends the signal to a thread of this process; the kernel only reads `info`.
            unsafe {
                libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, process, SIGTERM, info);
            }
        }
    }
    action::set_errno(errno);
}
