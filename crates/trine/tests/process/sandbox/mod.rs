//! Hostile tasks in a sandbox, and ordinary ones.
//!
//! Tests that need Landlock check nothing on a kernel without it. Its absence is simulated in a
//! child program, by a filter that refuses it.

mod calls;
mod files;
mod kernels;
mod ordinary;

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use trine::TaskError;
use trine::process::{Builder, Sandbox};

fn run_in<A, R>(sandbox: Sandbox, arg: A, task: fn(A) -> R) -> Result<R, TaskError>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    Builder::new().sandbox(sandbox).spawn(arg, task).join()
}

/// Returns the tightest sandbox without a path.
fn tight() -> Sandbox {
    Sandbox::new().no_network().no_files().no_exec().no_new_processes()
}

fn landlock() -> u32 {
    Sandbox::new().check().landlock().unwrap_or(0)
}

/// Returns the error number of a system call, or 0.
fn errno(result: i64) -> i32 {
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

fn error_of<T>(result: io::Result<T>) -> i32 {
    result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0)
}

/// Makes a call whose arguments are numbers.
fn call(number: i64, arguments: [usize; 5]) -> i32 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the callers pass numbers and valid pointers only.
    errno(unsafe { libc::syscall(number, a, b, c, d, e) })
}

/// Tries what a hostile task might try in any sandbox. Returns each attempt with its error number.
fn attempts() -> Vec<(String, i32)> {
    let master = std::os::unix::process::parent_id() as usize;
    let own = std::process::id() as usize;
    let mut tried = Vec::new();
    let mut note = |what: &str, error: i32| tried.push((what.to_owned(), error));
    let mut word = 0_u64;
    let here = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
    let vector = (&raw const here).addr();
    note("ptrace", call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, master, 0, 0, 0]));
    note("process_vm_readv", call(libc::SYS_process_vm_readv, [master, vector, 1, vector, 1]));
    note("process_vm_writev", call(libc::SYS_process_vm_writev, [master, vector, 1, vector, 1]));
    // A signal that does nothing to a program which is not stopped.
    let signal = libc::SIGCONT as usize;
    note("kill", call(libc::SYS_kill, [master, signal, 0, 0, 0]));
    note("tgkill", call(libc::SYS_tgkill, [master, master, signal, 0, 0]));
    note("tkill", call(libc::SYS_tkill, [master, signal, 0, 0, 0]));
    // SAFETY: no memory involved.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, master, 0) } as usize;
    note("pidfd_send_signal", call(libc::SYS_pidfd_send_signal, [pidfd, signal, 0, 0, 0]));
    note("pidfd_getfd", call(libc::SYS_pidfd_getfd, [pidfd, 0, 0, 0, 0]));
    note("setns", call(libc::SYS_setns, [pidfd, libc::CLONE_NEWNET as usize, 0, 0, 0]));
    note("F_SETOWN", call(libc::SYS_fcntl, [0, libc::F_SETOWN as usize, master, 0, 0]));
    note("FIOSETOWN", call(libc::SYS_ioctl, [1, 0x8901, (&raw const word).addr(), 0, 0]));
    note("TIOCSTI", call(libc::SYS_ioctl, [1 | 1 << 32, 0x5412 | 1 << 32, vector, 0, 0]));
    note("prlimit", call(libc::SYS_prlimit64, [master, libc::RLIMIT_CORE as usize, 0, vector, 0]));
    note("setpriority", call(libc::SYS_setpriority, [0, master, 19, 0, 0]));
    note("setpriority of a group", call(libc::SYS_setpriority, [1, 0, 19, 0, 0]));
    note("ioprio_set", call(libc::SYS_ioprio_set, [1, master, 3 << 13, 0, 0]));
    note("sched_setaffinity", call(libc::SYS_sched_setaffinity, [master, 8, vector, 0, 0]));
    note("a quiet end of the parent", call(libc::SYS_prctl, [1, 0, 0, 0, 0]));
    note("io_uring_setup", call(libc::SYS_io_uring_setup, [1, vector, 0, 0, 0]));
    note("unshare", call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0]));
    note("clone", call(libc::SYS_clone, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0]));
    note("bpf", call(libc::SYS_bpf, [0, 0, 0, 0, 0]));
    note("perf_event_open", call(libc::SYS_perf_event_open, [vector, 0, 0, 0, 0]));
    note("keyctl", call(libc::SYS_keyctl, [0, usize::MAX - 3, 0, 0, 0]));
    note("userfaultfd", call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0]));
    note("personality", call(libc::SYS_personality, [0x0400_0000, 0, 0, 0, 0]));
    note("shmget", call(libc::SYS_shmget, [77, 4096, 0o1600, 0, 0]));
    note("mq_open", call(libc::SYS_mq_open, [c"x".as_ptr().addr(), 0o102, 0o600, 0, 0]));
    let root = c"/".as_ptr().addr();
    note("mount", call(libc::SYS_mount, [root, root, root, libc::MS_BIND as usize, 0]));
    note("chroot", call(libc::SYS_chroot, [root, 0, 0, 0, 0]));
    note("open_tree", call(libc::SYS_open_tree, [root, root, 1, 0, 0]));
    note("reboot", call(libc::SYS_reboot, [0, 0, 0, 0, 0]));
    // Calls on itself that it may make.
    note("own signal", call(libc::SYS_kill, [own, 0, 0, 0, 0]));
    note("own thread's signal", call(libc::SYS_tgkill, [own, own, 0, 0, 0]));
    note("own limit", call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as usize, 0, vector, 0]));
    note("own affinity", {
        let mut set = [0_u8; 128];
        let set = set.as_mut_ptr().addr();
        // Returns the size of the set.
        call(libc::SYS_sched_getaffinity, [0, 128, set, 0, 0]);
        call(libc::SYS_sched_setaffinity, [0, 128, set, 0, 0])
    });
    note("clone3", call(libc::SYS_clone3, [0, 0, 0, 0, 0]));
    note("a call of the future", call(4000, [0, 0, 0, 0, 0]));
    if cfg!(target_arch = "x86_64") {
        note("a call of x32", call(libc::SYS_getpid | 0x4000_0000, [0, 0, 0, 0, 0]));
    }
    tried
}
