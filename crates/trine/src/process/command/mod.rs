//! Starting programs, and waiting for them.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`Command`] |
//! | `child.rs` | [`Child`]: a program that runs, and its pipes |
//! | `process.rs` | [`Process`]: its end, seen by a pidfd; those that nobody waits for |
//! | `pipes.rs` | [`ChildStdin`], [`ChildStdout`], [`ChildStderr`] |
//!
//! Starting is std's (`posix_spawn` where it can be); everything that waits is ours.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

mod child;
mod pipes;
#[allow(clippy::module_inception)]
mod process;

pub use child::Child;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
pub use process::Process;
pub(super) use process::bury_orphans;

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
    kill_on_drop: bool,
}

impl Command {
    /// The program of this name, looked for in `PATH`, or at this path; without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        let inner = std::process::Command::new(program);
        Command { inner, chosen: [false; 3], converted: false, kill_on_drop: false }
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
    /// child ends it alone, not what it has started: that takes [`send_group`](crate::signal::send_group).
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
        self.kill_on_drop = kill;
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
        child::Held(self.start(true)?).output()
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
        process::bury_orphans();
        Child::watch(self.inner.spawn()?, self.kill_on_drop)
    }
}

/// std does not tell which streams were chosen there: they stay for [`spawn`](Command::spawn) and
/// [`status`](Command::status), and [`output`](Command::output) captures standard output and error in any case.
impl From<std::process::Command> for Command {
    fn from(inner: std::process::Command) -> Command {
        Command { inner, chosen: [false; 3], converted: true, kill_on_drop: false }
    }
}
