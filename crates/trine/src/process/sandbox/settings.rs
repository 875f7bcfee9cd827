//! The settings of a sandbox.

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A set of rights that the process of a task gives up. It is meant for tasks with untrusted input,
/// where a bug in a decoder would give an attacker all rights of this program.
///
/// The process gives the rights up before its first task, for itself and for all that it starts. It
/// does so by [Landlock](https://docs.kernel.org/userspace-api/landlock.html), seccomp and
/// `no_new_privs`. Nothing brings the rights back: not threads, child processes, programs that it
/// runs, nor process tasks of its own.
///
/// ```
/// use trine::process::{Builder, Sandbox};
///
/// fn decode(image: Vec<u8>) -> usize {
///     image.len() // … by an old C library
/// }
///
/// let sandbox = Sandbox::new().no_network().read_only(["/usr"]).no_new_processes().no_exec();
/// let task = Builder::new().sandbox(sandbox).spawn(vec![1, 2, 3], decode);
/// assert_eq!(task.join()?, 3);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// # Denied
///
/// | by | denied | refused by |
/// |---|---|---|
/// | [`new`](Self::new), always | new rights by running a program (set-user-id, file capabilities) | |
/// | | all capabilities, if the program has some | |
/// | | tracing other processes: `ptrace`, … | `EPERM`, `EACCES` |
/// | | their memory: `process_vm_readv`, `/proc/PID/mem`, … | `EPERM`, `EACCES` |
/// | | their descriptors: `pidfd_getfd`, `/proc/PID/fd`, … | `EPERM`, `EACCES` |
/// | | signals to processes outside of this sandbox, also by `F_SETOWN` | `EPERM` |
/// | | limits, priority, scheduling and affinity of others | `EPERM` |
/// | | the same of its own threads, by their number | `EPERM` |
/// | | signals at the parent's end other than SIGKILL | `EPERM` |
/// | | Unix sockets outside of this sandbox with abstract names | `EPERM` |
/// | | named shared memory, semaphores and queues: System V's, POSIX message queues | `EPERM` |
/// | | namespaces, mounts, `chroot`, keys, tracing (`bpf`, `perf_event_open`) | `EPERM` |
/// | | `userfaultfd`, modules, `kexec`, clocks, quotas, file handles | `EPERM` |
/// | | typing into a terminal (`TIOCSTI`), device files | `EPERM` |
/// | | io_uring, which filters cannot check; waits of trine use epoll instead | `EPERM` |
/// | | system calls newer than Linux 6.17, `clone3`; another ABI kills the process | `ENOSYS` |
/// | [`no_network`](Self::no_network) | sockets of any kind, also Unix sockets | `EPERM` |
/// | | allowed are pairs that are connected to each other (`UnixStream::pair`) | |
/// | | TCP, a second time, by Landlock | `EPERM` |
/// | [`read_only`], [`read_write`], [`no_files`] | files and directories not listed | `EACCES` |
/// | | subvolumes, fs-verity | `EPERM` |
/// | | changing permissions, owner, times and attributes of files by name | `EPERM` |
/// | | the same by descriptor, if nothing is listed as writable | `EPERM` |
/// | [`no_exec`](Self::no_exec) | running programs | `EPERM` |
/// | [`no_new_processes`] | new processes; threads stay allowed | `EPERM` |
///
/// [`read_only`]: Self::read_only
/// [`read_write`]: Self::read_write
/// [`no_files`]: Self::no_files
/// [`no_new_processes`]: Self::no_new_processes
///
/// With [`kill_on_violation`](Self::kill_on_violation) a call that would fail with `EPERM` kills
/// the process instead. Exceptions are io_uring, abstract sockets and, if Landlock denies them,
/// signals.
///
/// # Not denied
///
/// - Memory, CPU time, threads, disk space: these have limits of their own.
/// - Open descriptors stay open: standard input, output and error, and those that an initialiser
///   has opened. The task shares their flags and position with this program. With
///   [`capture_output`](crate::process::Builder::capture_output) it has an output of its own.
/// - Even if files are listed, the process can see that others exist (`stat`, `chdir`, reading
///   links) and use `flock`. Without a list all files stay accessible, and with them all that
///   `/proc` allows.
/// - Without `no_network`, before Linux 7.1, Unix sockets in the file system can be connected to. A
///   service there (a session bus, a container engine) serves the task as it serves this program.
/// - Bugs of the kernel are not contained.
///
/// # Kernels
///
/// [`check`](Self::check) reports the parts that the kernel cannot enforce. They are left out
/// unless [`require_all`](Self::require_all) is called. Landlock exists from Linux 5.13 on, if it
/// is in the kernel's `lsm=` list. Without it files are accessible, and through `/proc/PID/mem` so
/// is the memory of this program: call `require_all` for untrusted input.
///
/// Before Linux 6.12 the process cannot send signals to its own children either, so its process
/// tasks cannot be cancelled.
///
/// The kernel writes a core file with the rights of the process: if files are listed, into a listed
/// directory only.
///
/// # Cost
///
/// About half a millisecond for each process, and up to half a microsecond for each system call
/// (measured on a virtual machine, Linux 6.18).
///
/// # Errors
///
/// If a sandbox cannot be set up, its task ends with
/// [`Cause::NotSpawned`](crate::Cause::NotSpawned). Reasons are a listed path that does not exist,
/// threads that were started before, and a requirement that is not met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The accessible files; `None` for all.
    pub(super) files: Option<Files>,
    pub(super) no_network: bool,
    pub(super) no_exec: bool,
    pub(super) no_new_processes: bool,
    pub(super) kill_on_violation: bool,
    pub(super) require_all: bool,
}

/// The listed paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Files {
    pub(super) read_only: Vec<OsString>,
    pub(super) read_write: Vec<OsString>,
}

impl Sandbox {
    /// Denies the rights that no decoder needs; see [the table](Self#denied). Network, files and
    /// new processes stay allowed.
    pub fn new() -> Sandbox {
        Sandbox::default()
    }

    /// Denies sockets.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let task = Builder::new().sandbox(Sandbox::new().no_network()).spawn((), |()| {
    ///     std::net::TcpListener::bind("127.0.0.1:0").is_ok()
    /// });
    /// # if Sandbox::new().no_network().check().seccomp() {
    /// assert!(!task.join()?);
    /// # }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn no_network(mut self) -> Sandbox {
        self.no_network = true;
        self
    }

    /// Denies all files except those below these paths, which can be read and run as programs, and
    /// those that other calls list.
    ///
    /// A relative path is resolved in the current directory of the process. Links are followed when
    /// the sandbox is set up.
    ///
    /// In addition, these can be read: `/proc/self`, the file of this program (for backtraces),
    /// `/dev/zero`, `/dev/random` and `/dev/urandom`; `/dev/null` can be read and written. Shared
    /// libraries that are loaded later and time zones have to be listed (`/usr`, `/etc`).
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let task = Builder::new().sandbox(Sandbox::new().read_only(["/usr"])).spawn((), |()| {
    ///     (std::fs::read_dir("/usr").is_ok(), std::fs::read_dir("/etc").is_ok())
    /// });
    /// # if Sandbox::new().no_files().check().landlock().is_some() {
    /// assert_eq!(task.join()?, (true, false));
    /// # }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn read_only(mut self, paths: impl IntoIterator<Item: AsRef<Path>>) -> Sandbox {
        self.files().read_only.extend(owned(paths));
        self
    }

    /// Denies all files except those below these paths, and those that other calls list.
    ///
    /// Files below the paths can be read, written, made and removed, and sockets there can be
    /// connected to. Programs there cannot be run, unless they are listed as
    /// [`read_only`](Self::read_only), too.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let path = std::env::temp_dir().join(format!("written-{}", std::process::id()));
    /// let sandbox = Sandbox::new().read_write([std::env::temp_dir()]);
    /// let task = Builder::new().sandbox(sandbox).spawn(path, |path| {
    ///     std::fs::write(&path, "x").is_ok() && std::fs::remove_file(&path).is_ok()
    /// });
    /// assert!(task.join()?);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn read_write(mut self, paths: impl IntoIterator<Item: AsRef<Path>>) -> Sandbox {
        self.files().read_write.extend(owned(paths));
        self
    }

    /// Denies all files, except those that are always accessible (see
    /// [`read_only`](Self::read_only)) and those that other calls list.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let task = Builder::new().sandbox(Sandbox::new().no_files()).spawn((), |()| {
    ///     std::fs::read_dir("/").is_ok()
    /// });
    /// # if Sandbox::new().no_files().check().landlock().is_some() {
    /// assert!(!task.join()?);
    /// # }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn no_files(mut self) -> Sandbox {
        self.files();
        self
    }

    /// Denies running programs, which includes process tasks of this process.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let task = Builder::new().sandbox(Sandbox::new().no_exec()).spawn((), |()| {
    ///     std::process::Command::new("true").status().is_ok()
    /// });
    /// # if Sandbox::new().no_exec().check().seccomp() {
    /// assert!(!task.join()?);
    /// # }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn no_exec(mut self) -> Sandbox {
        self.no_exec = true;
        self
    }

    /// Denies new processes. Threads stay allowed.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let task = Builder::new().sandbox(Sandbox::new().no_new_processes()).spawn((), |()| {
    ///     let started = std::process::Command::new("true").status().is_ok();
    ///     (started, std::thread::spawn(|| 7).join().unwrap())
    /// });
    /// # if Sandbox::new().no_new_processes().check().seccomp() {
    /// assert_eq!(task.join()?, (false, 7));
    /// # }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn no_new_processes(mut self) -> Sandbox {
        self.no_new_processes = true;
        self
    }

    /// Makes a denied system call kill the process: its task ends with
    /// [`Cause::Signaled`](crate::Cause::Signaled) and SIGSYS. Files are refused as before, because
    /// Landlock only refuses.
    ///
    /// The process is also killed if a library makes an optional call, such as a socket to a name
    /// service.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let sandbox = Sandbox::new().no_network().kill_on_violation();
    /// let task = Builder::new().sandbox(sandbox).spawn((), |()| {
    ///     std::net::TcpListener::bind("127.0.0.1:0").is_ok()
    /// });
    /// # if Sandbox::new().no_network().check().seccomp() {
    /// assert!(task.join().unwrap_err().to_string().contains("SIGSYS"));
    /// # }
    /// ```
    pub fn kill_on_violation(mut self) -> Sandbox {
        self.kill_on_violation = true;
        self
    }

    /// Makes the process refuse to start if it cannot enforce the whole sandbox. By default it
    /// leaves out the parts that the kernel cannot enforce.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let sandbox = Sandbox::new().no_files().require_all();
    /// let complete = sandbox.check().is_complete();
    /// let task = Builder::new().sandbox(sandbox).spawn((), |()| ());
    /// assert_eq!(task.join().is_ok(), complete);
    /// ```
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
