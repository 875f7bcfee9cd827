//! Starting programs, and waiting for them.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`Command`] |
//! | `child.rs` | [`Child`]: a program that runs, and its pipes |
//! | `process.rs` | [`Process`]: its end, seen by a pidfd; those that nobody waits for |
//! | `limits.rs` | what the program may use, set between `fork` and `exec` |
//! | `pipes.rs` | [`ChildStdin`], [`ChildStdout`], [`ChildStderr`] |
//!
//! Starting is std's (`posix_spawn` where it can be); everything that waits is ours.

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

use limits::Limits;

/// A program to start, with std's names: [`std::process::Command`], whose waits park the coroutine.
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
/// A call that waits ends with an error when its task is cancelled or its time is up:
///
/// ```
/// use std::time::Duration;
/// use trine::{process::Command, time};
///
/// let slow = time::timeout(Duration::from_millis(20), || Command::new("sleep").arg("600").status());
/// assert!(!matches!(slow, Ok(Ok(_)))); // and `sleep` is gone: nobody else held it
/// ```
///
/// # What a start costs
///
/// About a millisecond, in which the kernel loads the program and its carrier runs nothing else.
/// A child that is running takes one descriptor, and one more for each pipe.
///
/// # Who takes the child's status
///
/// Only trine may: a program that waits for *any* child (`waitpid(-1)`) or ignores SIGCHLD takes it first.
/// Then the waits here are errors that say so, on kernels before 6.15; later ones keep the status.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    /// Which of the three standard streams were chosen here.
    chosen: [bool; 3],
    /// Whether what was chosen elsewhere is hidden in `inner`.
    converted: bool,
    limits: Limits,
    kill: Kill,
    /// How much of each stream is captured at most.
    most_output: u64,
}

/// Whom a command's child takes along.
#[derive(Clone, Copy, Debug, Default)]
struct Kill {
    /// Whether it is killed when it is dropped.
    on_drop: bool,
    /// Whether all of its group are killed with it.
    group: bool,
}

impl Command {
    /// The program of this name, looked for in `PATH`, or at this path; without arguments.
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

    /// Sets a variable of the program's environment, which is otherwise the caller's.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub fn envs<N, V>(&mut self, variables: impl IntoIterator<Item = (N, V)>) -> &mut Command
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(variables);
        self
    }

    /// Leaves a variable out of its environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env_remove(name);
        self
    }

    /// Leaves all variables out but those that are set after this call.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// The directory that it works in, otherwise the caller's.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(directory);
        self
    }

    /// Its standard input. Otherwise that is the caller's, and nothing for [`output`](Self::output).
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.inner.stdin(stdin);
        self.chosen[0] = true;
        self
    }

    /// Its standard output. Otherwise that is the caller's, and captured by [`output`](Self::output).
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.inner.stdout(stdout);
        self.chosen[1] = true;
        self
    }

    /// Its standard error. Otherwise that is the caller's, and captured by [`output`](Self::output).
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.inner.stderr(stderr);
        self.chosen[2] = true;
        self
    }

    /// The user that it runs as; drops the caller's further groups, if the caller is root.
    pub fn uid(&mut self, user: u32) -> &mut Command {
        self.inner.uid(user);
        self
    }

    /// The group that it runs as.
    pub fn gid(&mut self, group: u32) -> &mut Command {
        self.inner.gid(group);
        self
    }

    /// The process group that it runs in; 0 for a new one, which a Ctrl-C at the terminal does not reach. What kills a
    /// child ends it alone, not what it has started: that takes [`kill_group`](Self::kill_group), or
    /// [`send_group`](crate::signal::send_group).
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.inner.process_group(group);
        self
    }

    /// The name under which it sees itself, in place of the program's.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg0(name);
        self
    }

    /// Whether a [`Child`] of this command that is dropped is killed; otherwise it goes on running.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Command {
        self.kill.on_drop = kill;
        self
    }

    /// Runs the program in a process group of its own, and has what kills it kill the whole group: [`Child::kill`],
    /// [`kill_on_drop`](Self::kill_on_drop), and a [`status`](Self::status) or [`output`](Self::output) that is
    /// interrupted. So nothing of what it has started is left, unless it has left the group (`setsid`).
    ///
    /// A Ctrl-C at the terminal does not reach the group.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::{process::Command, time};
    ///
    /// let mut shell = Command::new("sh");
    /// shell.args(["-c", "sleep 600 & sleep 600"]).kill_group(true);
    /// let output = time::timeout(Duration::from_millis(20), || shell.output());
    /// assert!(!matches!(output, Ok(Ok(_)))); // and neither `sleep` is left
    /// ```
    pub fn kill_group(&mut self, kill: bool) -> &mut Command {
        self.kill.group = kill;
        self
    }

    /// Limits the memory of the program to so many bytes of private memory that may be written to
    /// (`RLIMIT_DATA`): an allocation beyond it fails. Each process that it starts has as much for itself.
    ///
    /// A program with a limit is started by `fork` and `exec`, which takes the longer the more
    /// memory the caller has.
    pub fn memory_limit(&mut self, bytes: u64) -> &mut Command {
        self.limits.set_memory(&mut self.inner, bytes);
        self
    }

    /// Limits the processor time of the program, in whole seconds (rounded up): then it is sent SIGXCPU, which ends it,
    /// and a second later SIGKILL. Each process that it starts has as much for itself. It is started as one with a
    /// [`memory_limit`](Self::memory_limit).
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

    /// How many bytes of standard output, and of standard error, [`output`](Self::output) captures; it ends with an
    /// error of kind [`FileTooLarge`](io::ErrorKind::FileTooLarge) when the program writes more, and the program is
    /// killed. Without a limit, what it writes is bounded by memory only.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let (mut out, mut err) = (Vec::new(), Vec::new());
    /// let error = Command::new("yes").output_limit(10).output_into(&mut out, &mut err).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    /// assert_eq!(out, b"y\ny\ny\ny\ny\n");
    /// ```
    pub fn output_limit(&mut self, bytes: u64) -> &mut Command {
        self.most_output = bytes;
        self
    }

    /// std's command in this one: to look at program, arguments and environment.
    pub fn as_std(&self) -> &std::process::Command {
        &self.inner
    }

    /// std's command in this one, for what it offers beyond this one's calls (`pre_exec`). The standard
    /// streams are to be chosen here.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.inner
    }

    /// Starts the program. Its streams are the caller's, unless chosen otherwise.
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
    /// As [`std::process::Command::spawn`]: `NotFound`, `PermissionDenied`, `InvalidInput` for a NUL in an
    /// argument, and so on. Where no descriptor is left to watch the child by, it is killed.
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.start(false)
    }

    /// Starts the program and waits for its end.
    ///
    /// If the wait ends before, the child is killed, as nobody else holds it.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        child::Held(self.start(false)?).status()
    }

    /// Starts the program, waits for its end, and collects what it writes to standard output and error.
    ///
    /// If the wait ends before, the child is killed, as nobody else holds it.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    pub fn output(&mut self) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.output_into(&mut stdout, &mut stderr)?;
        Ok(Output { status, stdout, stderr })
    }

    /// As [`output`](Self::output), behind what is in the caller's buffers, which keep what was read also when
    /// the wait ends before the program does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::{process::Command, time};
    ///
    /// let (mut out, mut err) = (Vec::new(), Vec::new());
    /// let mut shell = Command::new("sh");
    /// shell.args(["-c", "echo half; exec sleep 600"]);
    /// let time = Duration::from_millis(100);
    /// assert!(!matches!(time::timeout(time, || shell.output_into(&mut out, &mut err)), Ok(Ok(_))));
    /// println!("so far: {}", String::from_utf8_lossy(&out)); // half
    /// ```
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output).
    pub fn output_into(
        &mut self,
        stdout: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
    ) -> io::Result<ExitStatus> {
        child::Held(self.start(true)?).output_into(stdout, stderr)
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
            // An `output` before may have chosen others.
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
        Child::watch(self.inner.spawn()?, self.kill, self.most_output)
    }
}

/// std does not tell which streams were chosen there: they stay for [`spawn`](Command::spawn) and
/// [`status`](Command::status), and [`output`](Command::output) captures standard output and error in any case.
impl From<std::process::Command> for Command {
    fn from(inner: std::process::Command) -> Command {
        Command {
            inner,
            chosen: [false; 3],
            converted: true,
            limits: Limits::default(),
            kill: Kill::default(),
            most_output: u64::MAX,
        }
    }
}
