//! SIGTERM: a request between trine's own processes, and the end of a process otherwise.
//!
//! A signal that a master sends carries a mark, which `kill` and a terminal cannot set
//! (`SI_QUEUE`). A process with the handler acts on a marked signal, and any other signal ends it.
//! The kernel may lose the mark; then a request of the master that is not acted on yet stands for
//! it.

use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use super::action;
use crate::sys::observe;

/// The number of the signal.
pub(crate) const SIGTERM: i32 = libc::SIGTERM;

/// Receives a marked signal. Returns true if the signal concerns the present work of the process.
/// On the first thread of the process the call also acts on it; on others it only checks.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Receive = fn(on_first_thread: bool) -> bool;

/// Returns true if the master has made a request since the last call. Runs in a signal handler.
pub(crate) type IsRequested = fn() -> bool;

static RECEIVE: OnceLock<(Receive, IsRequested)> = OnceLock::new();

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

impl Info {
    fn marked() -> Info {
        Info {
            signal: SIGTERM,
            error: 0,
            code: libc::SI_QUEUE,
            padding: 0,
            pid: std::process::id(),
            user: rustix::process::getuid().as_raw(),
            value: MARK,
            rest: [0; 12],
        }
    }
}

/// Sends a marked SIGTERM; has no effect on a process that has ended already.
pub(crate) fn request(pidfd: impl AsFd) {
    let info = Info::marked();
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: `info` has the size and the layout of the kernel's `siginfo_t`, and is only read.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, SIGTERM, &raw const info, 0) };
}

/// True if another thread has sent a signal on to the first one, which has not received it.
static SENT_ON: AtomicBool = AtomicBool::new(false);

/// True if the program that started this process ignores the signal.
static IGNORED: AtomicBool = AtomicBool::new(false);

/// Has `receive` called for marked signals, in this process and those forked from it. Any other
/// signal ends the process, unless it was ignored before.
pub(crate) fn install(receive: Receive, is_requested: IsRequested) {
    RECEIVE.get_or_init(|| (receive, is_requested));
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
    let (marked, anonymous) = unsafe {
        let info = info.cast::<Info>();
        let (code, sender) = ((*info).code, (*info).pid);
        (code == libc::SI_QUEUE && (*info).value == MARK, code == libc::SI_USER && sender == 0)
    };
    let process = std::process::id();
    let on_first_thread = observe::thread_id() == process;
    let is_sent_on = on_first_thread && SENT_ON.swap(false, AcqRel);
    // A user with too many pending signals (`ulimit -i`) sends them without a mark and a sender.
    let is_requested = RECEIVE.get().is_some_and(|(_, is_requested)| is_requested());
    let marked = marked || (anonymous && (is_requested || is_sent_on));
    if !marked && IGNORED.load(Relaxed) {
        // Ignored, as without a handler.
    } else if !marked {
        action::restore_default(SIGTERM);
        action::raise_in_handler(SIGTERM);
    } else if let Some((receive, _)) = RECEIVE.get()
        && receive(on_first_thread)
        && !on_first_thread
    {
        // The kernel has chosen another thread, and the first one may be in a system call.
        SENT_ON.store(true, Release);
        let info = Info::marked();
        // SAFETY: sends the signal to a thread of this process; the kernel only reads `info`.
        unsafe {
            let info = &raw const info;
            libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, process, SIGTERM, info);
        }
    }
    action::set_errno(errno);
}
