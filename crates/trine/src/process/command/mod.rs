//! Starts programs, and waits for them.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`Command`] |
//! | `child.rs` | [`Child`]: a running program, its pipes and its output |
//! | `process.rs` | [`Process`]: a child's end, watched by a pidfd; reaping of dropped children |
//! | `limits.rs` | limits of the program, set between `fork` and `exec` |
//! | `pipes.rs` | [`ChildStdin`], [`ChildStdout`], [`ChildStderr`] |
//!
//! std starts the program (by `posix_spawn` where possible); all waits are trine's.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

mod child;
mod limits;
mod pipes;
#[allow(clippy::module_inception)]
mod process;

pub use child::Child;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
pub(super) use process::reap_orphans;
pub use process::{Process, Usage};

use crate::sys::process::descriptors;
use child::KillScope;
use limits::Limits;

/// A program to start. It has the names of [`std::process::Command`], but its waits park the
/// coroutine.
///
/// ```
/// use trine::process::Command;
///
/// let output = Command::new("echo").arg("three ways").output()?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"three ways\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A call that waits returns an error when its task is cancelled or its time is up:
///
/// ```
/// use std::time::Duration;
/// use trine::{process::Command, time};
///
/// let mut sleep = Command::new("sleep");
/// let slow = time::timeout(Duration::from_millis(20), || sleep.arg("600").status());
/// assert!(!matches!(slow, Ok(Ok(_)))); // `sleep` was killed, as no other code could reach it
/// ```
///
/// # Cost of a start
///
/// About a millisecond, in which the kernel loads the program and the caller's carrier runs no
/// other coroutine. A running child takes one descriptor, and one more for each pipe.
///
/// # The child's status
///
/// Only trine may take it. A program that waits for *any* child (`waitpid(-1)`) or ignores SIGCHLD
/// takes it first. Before Linux 6.15 the waits here then return an error that says so; later
/// kernels keep the status.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    /// The standard streams that were set through this type.
    chosen: [bool; 3],
    /// True if `inner` may hide streams that were set before the conversion from std's type.
    converted: bool,
    limits: Limits,
    kill: KillScope,
    /// Most bytes of each stream that are captured.
    output_limit: u64,
}

impl Command {
    /// Makes a command for the program at this path, or of this name in `PATH`; without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command { converted: false, ..Command::from(std::process::Command::new(program)) }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the program's environment. Variables that are not set are the caller's.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env(name, value);
        self
    }

    /// Sets variables of the program's environment.
    pub fn envs<N, V>(&mut self, variables: impl IntoIterator<Item = (N, V)>) -> &mut Command
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(variables);
        self
    }

    /// Removes a variable from the program's environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env_remove(name);
        self
    }

    /// Removes all variables, except those that are set after this call.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// Sets the program's current directory; by default the caller's.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(directory);
        self
    }

    /// Sets the program's standard input. By default it is the caller's; for
    /// [`output`](Self::output) it is empty.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.inner.stdin(stdin);
        self.chosen[0] = true;
        self
    }

    /// Sets the program's standard output. By default it is the caller's, and
    /// [`output`](Self::output) captures it.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.inner.stdout(stdout);
        self.chosen[1] = true;
        self
    }

    /// Sets the program's standard error. By default it is the caller's, and
    /// [`output`](Self::output) captures it.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.inner.stderr(stderr);
        self.chosen[2] = true;
        self
    }

    /// Sets the user of the program. If the caller is root, its supplementary groups are dropped.
    pub fn uid(&mut self, user: u32) -> &mut Command {
        self.inner.uid(user);
        self
    }

    /// Sets the group of the program.
    pub fn gid(&mut self, group: u32) -> &mut Command {
        self.inner.gid(group);
        self
    }

    /// Sets the process group of the program; 0 for a new one, which a Ctrl-C at the terminal does
    /// not reach.
    ///
    /// Killing a child ends the child alone, not the processes that it has started. Use
    /// [`kill_group`](Self::kill_group) or [`send_group`](crate::signal::send_group) for those.
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.inner.process_group(group);
        self
    }

    /// Sets the first argument, by which the program knows its own name.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg0(name);
        self
    }

    /// Kills a [`Child`] of this command when it is dropped; by default it goes on running.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let child = Command::new("sleep").arg("600").kill_on_drop(true).spawn()?;
    /// let process = child.process();
    /// drop(child);
    /// assert!(!process.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Command {
        self.kill.on_drop = kill;
        self
    }

    /// Runs the program in a process group of its own, and kills the whole group instead of the
    /// program alone.
    ///
    /// This holds for [`Child::kill`], for [`kill_on_drop`](Self::kill_on_drop), and for a
    /// [`status`](Self::status) or [`output`](Self::output) that is interrupted. No process that
    /// the program has started survives, unless it has left the group (`setsid`). A Ctrl-C at the
    /// terminal does not reach the group.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::{process::Command, time};
    ///
    /// let mut shell = Command::new("sh");
    /// shell.args(["-c", "sleep 600 & sleep 600"]).kill_group(true);
    /// let output = time::timeout(Duration::from_millis(20), || shell.output());
    /// assert!(!matches!(output, Ok(Ok(_)))); // neither `sleep` survives
    /// ```
    pub fn kill_group(&mut self, kill: bool) -> &mut Command {
        self.kill.group = kill;
        self
    }

    /// Limits the private writable memory of the program (`RLIMIT_DATA`), in bytes: an allocation
    /// beyond the limit fails. Each process that the program starts has the same limit for itself.
    ///
    /// A program with a limit is started by `fork` and `exec`, which takes longer the more memory
    /// the caller has.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let shell = Command::new("sh").args(["-c", "ulimit -d"]).memory_limit(64 << 20).output()?;
    /// assert_eq!(shell.stdout, b"65536\n"); // KiB
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn memory_limit(&mut self, bytes: u64) -> &mut Command {
        self.limits.set_memory(&mut self.inner, bytes);
        self
    }

    /// Limits the processor time of the program, in whole seconds (rounded up).
    ///
    /// At the limit the kernel sends SIGXCPU, which ends the program, and a second later SIGKILL.
    /// Each process that the program starts has the same limit for itself. The start costs as much
    /// as one with a [`memory_limit`](Self::memory_limit).
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    /// use std::time::Duration;
    /// use trine::process::Command;
    ///
    /// let mut busy = Command::new("sh");
    /// busy.args(["-c", "while :; do :; done"]).cpu_limit(Duration::from_secs(1));
    /// assert_eq!(busy.status()?.signal(), Some(24)); // SIGXCPU
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cpu_limit(&mut self, time: Duration) -> &mut Command {
        self.limits.set_cpu_time(&mut self.inner, time);
        self
    }

    /// Limits the bytes that [`output`](Self::output) captures, of standard output and of standard
    /// error each; by default there is no limit.
    ///
    /// When the program writes more, it is killed, and the call returns an error of kind
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge).
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let (mut out, mut err) = (Vec::new(), Vec::new());
    /// let mut yes = Command::new("yes");
    /// let error = yes.output_limit(10).output_into(&mut out, &mut err).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    /// assert_eq!(out, b"y\ny\ny\ny\ny\n");
    /// ```
    pub fn output_limit(&mut self, bytes: u64) -> &mut Command {
        self.output_limit = bytes;
        self
    }

    /// Returns std's command inside, to inspect the program, its arguments and its environment.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let mut list = Command::new("ls");
    /// list.arg("-l");
    /// assert_eq!(list.as_std().get_program(), "ls");
    /// ```
    pub fn as_std(&self) -> &std::process::Command {
        &self.inner
    }

    /// Returns std's command inside, for methods that this type does not have (`pre_exec`).
    ///
    /// Set the standard streams through this type, though.
    ///
    /// ```
    /// use std::os::unix::process::CommandExt;
    /// use trine::process::Command;
    ///
    /// let mut program = Command::new("true");
    /// // SAFETY: the function allocates nothing and takes no lock in the child.
    /// unsafe { program.as_std_mut().pre_exec(|| Ok(())) };
    /// assert!(program.status()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.inner
    }

    /// Starts the program. Standard streams that are not set are the caller's.
    ///
    /// ```
    /// use std::io::Write;
    /// use trine::process::{Command, Stdio};
    ///
    /// let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    /// sort.stdin.take().unwrap().write_all(b"b\nc\na\n")?;
    /// assert_eq!(sort.wait_with_output()?.stdout, b"a\nb\nc\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`std::process::Command::spawn`]: `NotFound`, `PermissionDenied`,
    /// `InvalidInput` for a NUL in an argument, and so on. If no descriptor is left to watch the
    /// child, the child is killed.
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.start(false)
    }

    /// Starts the program and waits for its end.
    ///
    /// If the wait is interrupted, the child is killed, as no other code could reach it.
    ///
    /// # Errors
    ///
    /// The errors of [`spawn`](Self::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        child::OwnedChild(self.start(false)?).status()
    }

    /// Starts the program, waits for its end, and captures its standard output and error.
    ///
    /// If the wait is interrupted, the child is killed, as no other code could reach it.
    ///
    /// # Errors
    ///
    /// The errors of [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    pub fn output(&mut self) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.output_into(&mut stdout, &mut stderr)?;
        Ok(Output { status, stdout, stderr })
    }

    /// Does the same as [`output`](Self::output), but appends to the caller's buffers. They keep
    /// the bytes that were read even if the wait is interrupted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::{process::Command, time};
    ///
    /// let (mut out, mut err) = (Vec::new(), Vec::new());
    /// let mut shell = Command::new("sh");
    /// shell.args(["-c", "echo half; exec sleep 600"]);
    /// let time = Duration::from_millis(100);
    /// let result = time::timeout(time, || shell.output_into(&mut out, &mut err));
    /// assert!(!matches!(result, Ok(Ok(_))));
    /// println!("so far: {}", String::from_utf8_lossy(&out)); // half
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`output`](Self::output).
    pub fn output_into(
        &mut self,
        stdout: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
    ) -> io::Result<ExitStatus> {
        child::OwnedChild(self.start(true)?).output_into(stdout, stderr)
    }

    fn start(&mut self, captures: bool) -> io::Result<Child> {
        let [stdin, stdout, stderr] = self.chosen;
        if captures {
            if !stdin && !self.converted {
                self.inner.stdin(Stdio::null());
            }
            if !stdout {
                self.inner.stdout(Stdio::piped());
            }
            if !stderr {
                self.inner.stderr(Stdio::piped());
            }
        } else if !self.converted {
            // An earlier `output` may have set other streams.
            if !stdin {
                self.inner.stdin(Stdio::inherit());
            }
            if !stdout {
                self.inner.stdout(Stdio::inherit());
            }
            if !stderr {
                self.inner.stderr(Stdio::inherit());
            }
        }
        self.limits.check()?;
        if self.kill.group {
            self.inner.process_group(0);
        }
        process::reap_orphans();
        let child = self.inner.spawn().map_err(name_missing_null)?;
        Child::watch(child, self.kill, self.output_limit)
    }
}

/// Names the null device if that is missing: the error alone would seem to speak of the program.
fn name_missing_null(error: io::Error) -> io::Error {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    if is_missing(&error) && descriptors::null().is_err_and(|error| is_missing(&error)) {
        let text = format!("{error}; there is no /dev/null, which may be what was not found");
        return io::Error::new(error.kind(), text);
    }
    error
}

/// Converts std's command. std does not reveal the streams that were set there, so they stay for
/// [`spawn`](Command::spawn) and [`status`](Command::status), but [`output`](Command::output)
/// captures standard output and error in any case.
impl From<std::process::Command> for Command {
    fn from(inner: std::process::Command) -> Command {
        Command {
            inner,
            chosen: [false; 3],
            converted: true,
            limits: Limits::default(),
            kill: KillScope::default(),
            output_limit: u64::MAX,
        }
    }
}
