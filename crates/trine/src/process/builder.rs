//! A fresh process with a name, an environment, a directory or limits of its own.

use std::ffi::OsStr;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pool;
use super::sandbox::Sandbox;
use super::task::function::CapturesNothing;
use super::wire::{self, FrameKind};
use super::worker::setup::Setup;
use crate::task::{Cause, Task};

/// Chooses what is different in the process of one task.
///
/// ```
/// use trine::process::Builder;
///
/// let task = Builder::new()
///     .name("lister")
///     .env("LANG", "C")
///     .current_dir("/")
///     .spawn((), |()| (std::env::var("LANG").unwrap(), std::env::current_dir().unwrap()));
/// assert_eq!(task.name().as_deref(), Some("lister"));
/// assert_eq!(task.join()?, ("C".into(), "/".into()));
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<Arc<str>>,
    setup: Setup,
    grace: Option<Duration>,
}

impl Builder {
    /// A process like that of [`spawn`](super::spawn).
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task: in errors, in the list of tasks, in what a panic prints.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Sets a variable in the environment of the process.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        self.setup.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Has the process start in this directory.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Builder {
        self.setup.current_dir = Some(directory.as_ref().as_os_str().to_owned());
        self
    }

    /// Has the process give up rights before the task begins.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let sandbox = Sandbox::new().no_network().no_files().no_new_processes().no_exec();
    /// let task = Builder::new().sandbox(sandbox).spawn((), |()| {
    ///     std::fs::read("/etc/hostname").map_err(|error| error.kind().to_string())
    /// });
    /// # if trine::process::Sandbox::new().no_files().check().landlock().is_some() {
    /// assert_eq!(task.join()?, Err("permission denied".into()));
    /// # }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn sandbox(mut self, sandbox: Sandbox) -> Builder {
        self.setup.sandbox = Some(sandbox);
        self
    }

    /// How long the process may go on after its task was cancelled or its time was up, before it is
    /// killed; 2 seconds if it is not set. See [`process`](super).
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = Some(grace);
        self
    }

    /// Limits the memory of the process to so many bytes.
    ///
    /// An allocation beyond it fails: in Rust the process aborts, and the task's error says so
    /// ([`TaskError::is_out_of_memory`](crate::TaskError::is_out_of_memory)); C functions return `NULL`.
    ///
    /// What counts is private memory that may be written to (`RLIMIT_DATA`), whether it was touched or not: heap,
    /// stacks of threads (2 MiB each for std's), the address space of coroutines' stacks (16 MiB for the first 64), and
    /// 1 to 3 MiB of the program's own, not its code, files that it maps, or memory that it
    /// shares with others. A process that the task starts has a limit of the same size for itself.
    ///
    /// Where control groups (version 2) are delegated to this program, the process has one of its own instead, named
    /// `trine-PID-PID`: then all memory counts that is resident, of the task and of all that it starts together, also
    /// shared memory and files' pages that they touch first; beyond it the kernel kills them (SIGKILL), and the error
    /// says so as well. Delegated is, for example, what systemd starts by `Delegate=yes` with
    /// `DelegateSubgroup=main`, and what a container's first process starts in a group of its own. The program must not
    /// be in the very group that is delegated, for the kernel has no limits beside processes.
    ///
    /// Such a group goes with its process, or, if programs that the task has started live on, with a later one. If this
    /// program ends first or is killed, groups stay, empty, until another program starts a process with a memory limit
    /// there, or systemd ends the service.
    ///
    /// ```
    /// let greedy = trine::process::Builder::new()
    ///     .memory_limit(64 << 20)
    ///     .spawn(1 << 30, |len: usize| vec![1_u8; len].len());
    /// let error = greedy.join().unwrap_err();
    /// assert!(error.is_out_of_memory(), "{error}");
    /// println!("{error}"); // … was ended by SIGABRT (6): it needed more than its memory limit of 64 MiB
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Builder {
        self.setup.limits.memory = Some(bytes);
        self
    }

    /// Limits the processor time that the task may use: that of all threads of its process together, not of
    /// processes that it starts, and not the time in which it waits.
    ///
    /// When it is used up, the process is sent SIGXCPU, which ends it. A task that handles the signal has another
    /// 250 ms of processor time to return, before SIGKILL. The limit is left behind by a task that becomes
    /// another program (`exec`).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let busy = trine::process::Builder::new()
    ///     .cpu_limit(Duration::from_millis(20))
    ///     .spawn((), |()| -> () { loop { std::hint::spin_loop() } });
    /// let error = busy.join().unwrap_err();
    /// assert!(error.to_string().contains("it had used up its processor time of 20ms"), "{error}");
    /// ```
    pub fn cpu_limit(mut self, time: Duration) -> Builder {
        self.setup.limits.cpu_time = Some(time);
        self
    }

    /// How many descriptors the process may have open, 16 at least; a call that needs one more fails with `EMFILE`.
    pub fn open_files(mut self, most: u64) -> Builder {
        self.setup.limits.open_files = Some(most);
        self
    }

    /// How large the process may make a file, in bytes. One that would grow larger ends it by SIGXFSZ; where the task
    /// ignores that signal, the write fails. It holds for shared memory that the task makes, too.
    pub fn file_size_limit(mut self, bytes: u64) -> Builder {
        self.setup.limits.file_size = Some(bytes);
        self
    }

    /// Whether a crash of the process may write a core file: none at all, or as large a one as this
    /// program may ask for. Otherwise as it is for this program.
    pub fn core_dumps(mut self, write: bool) -> Builder {
        self.setup.limits.core_dumps = Some(write);
        self
    }

    /// How nice the process is to others, from -20 (not at all) to 19 (it has what they leave). Less than this
    /// program's own niceness takes a privilege.
    pub fn nice(mut self, niceness: i32) -> Builder {
        self.setup.limits.nice = Some(niceness);
        self
    }

    /// Has the process run on these processors only, counted from 0.
    ///
    /// ```
    /// use std::thread::available_parallelism;
    ///
    /// let task = trine::process::Builder::new()
    ///     .affinity([0])
    ///     .nice(19)
    ///     .spawn((), |()| available_parallelism().map_or(0, usize::from));
    /// assert_eq!(task.join()?, 1);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn affinity(mut self, processors: impl IntoIterator<Item = usize>) -> Builder {
        self.setup.limits.processors = Some(processors.into_iter().collect());
        self
    }

    /// Keeps the end of what the task prints, and what it starts prints, for its error: the last 8 KiB of standard
    /// output and of standard error each, from the beginning of a line on. See
    /// [`TaskError::stderr`](crate::TaskError::stderr). Otherwise they print where this program prints.
    ///
    /// What a task that has a value has printed is dropped. A panic's message is captured, too, and not printed; it is
    /// in the error anyway. Bytes in a buffer of the process itself are lost when it crashes.
    ///
    /// ```
    /// let task = trine::process::Builder::new().capture_output().spawn((), |()| {
    ///     println!("3 of 7 done");
    ///     eprintln!("the disk is on fire");
    ///     if true { std::process::abort() }
    /// });
    /// let error = task.join().unwrap_err();
    /// assert_eq!(error.stdout(), b"3 of 7 done\n");
    /// println!("{error}"); // … ended by SIGABRT (6); last on its standard error: the disk is on fire
    /// ```
    pub fn capture_output(mut self) -> Builder {
        self.setup.captures = true;
        self
    }

    /// Runs `function` on `arg` in a new process.
    ///
    /// As [`process::spawn`](super::spawn); besides, a directory that cannot be entered, a variable that cannot be
    /// set or a limit that makes no sense makes the task end with [`Cause::NotSpawned`], and a text that
    /// says what to do.
    #[track_caller]
    pub fn spawn<A, R, F>(self, arg: A, function: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let proof = const { CapturesNothing::<F>::check() };
        let Builder { name, mut setup, grace } = self;
        let dispatcher = pool::global::fresh(setup.captures);
        let (task, job) =
            pool::prepare(dispatcher, (name, None), Location::caller(), arg, function, proof);
        let Some(mut job) = job else { return task };
        job.grace = grace;
        match setup.prepare() {
            Err(reason) => job.fail(Cause::NotSpawned { reason }),
            Ok(()) => {
                if setup != Setup::default() {
                    job.setup = Some(Arc::new(wire::frame(FrameKind::Setup, job.id(), &setup)));
                }
                pool::submit(dispatcher, job);
            }
        }
        task
    }
}
