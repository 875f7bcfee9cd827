//! What a worker gives up before its first task.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | what is asked for |
//! | `report.rs` | what of that the kernel can enforce |
//! | `enforce.rs` | enforcing it |

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

mod enforce;
mod report;

pub use report::{Enforcement, NotEnforced, Part};

/// What the process of a task may not do: for tasks that eat untrusted input, where a bug of a decoder would
/// give an attacker all that this program may.
///
/// The process gives these rights up before its first task, for itself and for whatever it starts, by
/// [Landlock](https://docs.kernel.org/userspace-api/landlock.html), seccomp and the kernel's word that running a
/// program brings no new rights. Nothing brings them back: not threads, child processes, programs that it runs, nor
/// process tasks of it.
///
/// ```
/// use trine::process::{Builder, Sandbox};
///
/// fn decode(image: Vec<u8>) -> usize {
///     image.len() // … by a library that has seen better days
/// }
///
/// let sandbox = Sandbox::new().no_network().read_only(["/usr"]).no_new_processes().no_exec();
/// let task = Builder::new().sandbox(sandbox).spawn(vec![1, 2, 3], decode);
/// assert_eq!(task.join()?, 3);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// # What is denied
///
/// | by | what | how it is refused |
/// |---|---|---|
/// | [`new`](Self::new), always | new rights by running a program (set-user-id, file capabilities); all capabilities, if the program has some | |
/// | | memory, descriptors and tracing of other processes: `ptrace`, `process_vm_readv`, `pidfd_getfd`, `/proc/PID/mem`, `/proc/PID/fd`, … | `EPERM`, `EACCES` |
/// | | signals to other processes than those in this sandbox, also by `F_SETOWN` | `EPERM` |
/// | | limits, priority, scheduling and affinity of others (of its own threads too, by their number), signals at the parent's end other than SIGKILL | `EPERM` |
/// | | Unix sockets with abstract names outside | `EPERM` |
/// | | shared memory, semaphores and queues with names: System V's, POSIX message queues | `EPERM` |
/// | | namespaces, mounts, `chroot`, keys, tracing (`bpf`, `perf_event_open`), `userfaultfd`, modules, `kexec`, clocks, quotas, file handles, typing into a terminal (`TIOCSTI`), device files | `EPERM` |
/// | | io_uring: it passes no filter. Waits of trine use epoll then | `EPERM` |
/// | | system calls newer than Linux 6.17, `clone3`; another ABI kills the process | `ENOSYS` |
/// | [`no_network`](Self::no_network) | sockets of any kind, Unix sockets among them, except pairs that are connected to each other (`UnixStream::pair`); TCP a second time by Landlock | `EPERM` |
/// | [`read_only`](Self::read_only), [`read_write`](Self::read_write), [`no_files`](Self::no_files) | every file and directory that is not listed | `EACCES` |
/// | | subvolumes, fs-verity; changing permissions, owner, times and attributes of files by name; by descriptor too if nothing is listed as writable | `EPERM` |
/// | [`no_exec`](Self::no_exec) | running programs | `EPERM` |
/// | [`no_new_processes`](Self::no_new_processes) | processes; threads can be started | `EPERM` |
///
/// With [`kill_on_violation`](Self::kill_on_violation) what is refused by `EPERM` kills the process instead, but for
/// io_uring and abstract sockets and, where Landlock sees to them, signals.
///
/// # What is not
///
/// - Memory, CPU time, threads, disk space: these have limits of their own.
/// - What is open stays open: standard output and error, and what an initialiser has opened.
/// - Once files are listed: seeing that others are there (`stat`, `chdir`, reading links), and `flock`. Without a
///   list, files are as open as they were, and with them what `/proc` allows.
/// - Without `no_network`, Unix sockets in the file system, before Linux 7.1: whoever listens there (a session
///   bus, a container engine) does for the task what it does for this program.
/// - Bugs of the kernel.
///
/// # Kernels
///
/// What the kernel cannot enforce is told by [`check`](Self::check), and is left out unless
/// [`require_all`](Self::require_all) is called. Landlock is there from Linux 5.13 on if it is in the
/// kernel's `lsm=` list. Without it files are open, and through `/proc/PID/mem` so is the memory of this program: for
/// input from strangers call `require_all`.
///
/// Before Linux 6.12 the process cannot send signals to its own children either, so process tasks of it
/// cannot be cancelled.
///
/// A core file is written by the rights of the process: where files are listed, into a listed directory only.
///
/// # What it costs
///
/// About half a millisecond for each process, and up to half a microsecond for a system call (measured on a virtual
/// machine, Linux 6.18).
///
/// # Errors
///
/// A sandbox that cannot be set up ends its task with [`Cause::NotSpawned`](crate::Cause::NotSpawned): a listed
/// path that is not there, threads that were started before, a requirement that is not met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Which files may be reached; all, if nothing was said about it.
    files: Option<Files>,
    no_network: bool,
    no_exec: bool,
    no_new_processes: bool,
    kill_on_violation: bool,
    require_all: bool,
}

/// Paths as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Files {
    read_only: Vec<OsString>,
    read_write: Vec<OsString>,
}

impl Sandbox {
    /// Denies what no decoder needs; see [the table](Self#what-is-denied). Network, files and new processes
    /// are as they were.
    pub fn new() -> Sandbox {
        Sandbox::default()
    }

    /// Denies sockets.
    pub fn no_network(mut self) -> Sandbox {
        self.no_network = true;
        self
    }

    /// Denies all files but those below these paths, which can be read, and run as programs; and those of other
    /// calls. Relative paths are those of the process, links are followed when the sandbox is set up.
    ///
    /// Besides, these can be read: `/proc/self`, the file of this program (for backtraces), `/dev/zero`,
    /// `/dev/random`, `/dev/urandom`; `/dev/null` can be written too. Shared libraries that are loaded later and
    /// time zones have to be listed (`/usr`, `/etc`).
    pub fn read_only(mut self, paths: impl IntoIterator<Item: AsRef<Path>>) -> Sandbox {
        self.files().read_only.extend(owned(paths));
        self
    }

    /// Denies all files but those below these paths, which can be read, written, made and removed, and whose
    /// sockets can be connected to; and those of other calls. Programs in them cannot be run, unless they are listed as [`read_only`](Self::read_only), too.
    pub fn read_write(mut self, paths: impl IntoIterator<Item: AsRef<Path>>) -> Sandbox {
        self.files().read_write.extend(owned(paths));
        self
    }

    /// Denies all files, except those that [`read_only`](Self::read_only) names in its second paragraph; and those
    /// of other calls.
    pub fn no_files(mut self) -> Sandbox {
        self.files();
        self
    }

    /// Denies running programs. Process tasks of this process are denied by that, too.
    pub fn no_exec(mut self) -> Sandbox {
        self.no_exec = true;
        self
    }

    /// Denies new processes. Threads can be started.
    pub fn no_new_processes(mut self) -> Sandbox {
        self.no_new_processes = true;
        self
    }

    /// Has a denied system call kill the process: its task ends with
    /// [`Cause::Signaled`](crate::Cause::Signaled) and SIGSYS. Files are refused as before: Landlock kills nobody.
    ///
    /// A library that tries what it can do without (a socket to a name service) is killed, too.
    pub fn kill_on_violation(mut self) -> Sandbox {
        self.kill_on_violation = true;
        self
    }

    /// Has a process refuse to start that cannot enforce all of it. Else what the kernel has no means for is
    /// left out.
    pub fn require_all(mut self) -> Sandbox {
        self.require_all = true;
        self
    }

    fn files(&mut self) -> &mut Files {
        self.files.get_or_insert_default()
    }
}

fn owned(paths: impl IntoIterator<Item: AsRef<Path>>) -> impl Iterator<Item = OsString> {
    paths.into_iter().map(|path| path.as_ref().as_os_str().to_owned())
}
