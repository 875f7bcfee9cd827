//! SIGTERM as a word between trine's own processes, and as the end of a process from anybody else.
//!
//! A signal that a master sends carries a mark, which `kill` and a terminal cannot set
//! (`SI_QUEUE`). A process with the handler acts on a marked one, and dies of any other.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::OnceLock;

/// The number of the signal.
pub(crate) const SIGTERM: i32 = libc::SIGTERM;

/// Told of a marked signal: whether it concerns what the process does now. On the first thread of
/// the process the call also acts on it; on others it only looks.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Hear = fn(on_first_thread: bool) -> bool;

static HEAR: OnceLock<Hear> = OnceLock::new();

/// `siginfo_t` of the kernel, as it stands for `SI_QUEUE`.
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

/// Sends a marked SIGTERM; to a process that has ended already it does nothing.
pub(crate) fn ask(pidfd: impl AsFd) {
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

/// Has `hear` told of marked signals, in this process and those forked from it.
pub(crate) fn install(hear: Hear) {
    HEAR.get_or_init(|| hear);
    // No SA_RESTART: a system call that the task waits in is to end.
    set_action(handler as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
}

/// Whether this is one of trine's own processes.
pub(crate) fn is_installed() -> bool {
    HEAR.get().is_some()
}

fn set_action(function: usize, flags: c_int) {
    // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = function;
    action.sa_flags = flags;
    // SAFETY: `action` is valid; a function set here is `handler`, which does only what a signal
    // handler may, or the default.
    unsafe { libc::sigaction(SIGTERM, &raw const action, ptr::null_mut()) };
}

/// Calls nothing that is not async-signal-safe, and leaves `errno` as it was.
unsafe extern "C" fn handler(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the address of the thread's own `errno` is always valid.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with SA_SIGINFO; its
    // bytes are all written, whatever the code.
    let marked = unsafe {
        let info = info.cast::<Info>();
        (*info).code == libc::SI_QUEUE && (*info).value == MARK
    };
    if !marked {
        set_action(libc::SIG_DFL, 0);
        // Blocked while the handler runs; then it ends the process.
        // SAFETY: `raise` may be called from a signal handler.
        unsafe { libc::raise(SIGTERM) };
    } else if let Some(hear) = HEAR.get() {
        let process = std::process::id();
        let on_first_thread = crate::sys::observe::thread_id() == process;
        if hear(on_first_thread) && !on_first_thread {
            // The kernel has chosen another thread; the first one may be in a system call.
            // SAFETY: sends what came on to a thread of this process; the kernel only reads `info`.
            unsafe {
                libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, process, SIGTERM, info);
            }
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}
