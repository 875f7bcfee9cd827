//! The builder of a fresh process with a name, an environment, a directory or limits of its own.

use std::ffi::OsStr;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::pool;
use super::portable::Portable;
use super::sandbox::Sandbox;
use super::task::value::MAX_RESULT;
use super::wire::{self, FrameKind};
use super::worker::setup::Setup;
use crate::task::{Cause, Task};

/// Configures the process of one task, in place of [`spawn`](super::spawn)'s defaults.
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
    /// Makes a builder with the defaults of [`spawn`](super::spawn).
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task in errors, in the list of tasks and in panic messages.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Sets a variable in the environment of the process.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        self.setup.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the directory in which the process starts.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Builder {
        self.setup.current_dir = Some(directory.as_ref().as_os_str().to_owned());
        self
    }

    /// Makes the process give up rights before the task begins.
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

    /// Sets the time between the task's cancellation, or the end of its time, and SIGKILL; by
    /// default 2 seconds. See [`process`](super).
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Builder;
    ///
    /// // A task without waits does not notice its cancellation.
    /// let busy = Builder::new()
    ///     .grace(Duration::from_millis(10))
    ///     .spawn((), |()| -> () { loop { std::hint::spin_loop() } });
    /// busy.cancel();
    /// assert!(busy.join().unwrap_err().is_cancelled());
    /// ```
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = Some(grace);
        self
    }

    /// Sets whether Ctrl-C and Ctrl-\\ at the terminal (SIGINT, SIGQUIT) end the process; `false`
    /// by default. See [Ctrl-C and pools](super#ctrl-c-and-pools).
    ///
    /// ```
    /// use trine::process::Builder;
    ///
    /// let task = Builder::new().interruptible(true).spawn(2, |n: u8| n + 1);
    /// assert_eq!(task.join()?, 3);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn interruptible(mut self, ends: bool) -> Builder {
        self.setup.interruptible = ends;
        self
    }

    /// Limits the memory of the process, in bytes.
    ///
    /// An allocation beyond the limit fails. In Rust the process then aborts, and the task's error
    /// says so ([`TaskError::is_out_of_memory`](crate::TaskError::is_out_of_memory)); C functions
    /// return `NULL`.
    ///
    /// The limit counts private writable memory (`RLIMIT_DATA`), touched or not: the heap, the
    /// stacks of threads (2 MiB each for std's), the address space of coroutines' stacks (16 MiB
    /// for the first 64), and 1 to 3 MiB of the program itself. It does not count code, mapped
    /// files or shared memory. A process that the task starts has a limit of the same size for
    /// itself.
    ///
    /// ```
    /// let greedy = trine::process::Builder::new()
    ///     .memory_limit(64 << 20)
    ///     .spawn(1 << 30, |len: usize| vec![1_u8; len].len());
    /// let error = greedy.join().unwrap_err();
    /// assert!(error.is_out_of_memory(), "{error}");
    /// // … was ended by SIGABRT (6): it needed more than its memory limit of 64 MiB
    /// println!("{error}");
    /// ```
    ///
    /// # Control groups
    ///
    /// If control groups (version 2) are delegated to this program, the process has a group of its
    /// own instead, named `trine-PID-PID`. The limit then counts all resident memory of the task
    /// together with all processes that it starts, also shared memory and pages of files that they
    /// touch first. Beyond it the kernel kills them (SIGKILL), and the error says so as well.
    ///
    /// Groups are delegated, for example, to a service with systemd's `Delegate=yes` and
    /// `DelegateSubgroup=main`, and to a program that a container's first process starts in a group
    /// of its own. The program must not be in the very group that is delegated: the kernel allows
    /// no limits beside processes.
    ///
    /// A group is removed with its process or, if programs that the task has started outlive it,
    /// with a later process. If this program ends first or is killed, empty groups stay until
    /// another program starts a process with a memory limit there, or systemd ends the service.
    pub fn memory_limit(mut self, bytes: u64) -> Builder {
        self.setup.limits.memory = Some(bytes);
        self
    }

    /// Limits the processor time of the task. It counts all threads of its process together, but
    /// neither the processes that it starts nor the time in which it waits.
    ///
    /// At the limit the process gets SIGXCPU, which ends it. A task that handles the signal has
    /// another 250 ms of processor time to return before SIGKILL. A task that becomes another
    /// program (`exec`) loses the limit.
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

    /// Limits the descriptors that the process may have open; at least 16. A call that needs one
    /// more fails with `EMFILE`.
    ///
    /// ```
    /// use std::fs::File;
    ///
    /// let hoarder = trine::process::Builder::new().open_files(20).spawn((), |()| {
    ///     let files: Result<Vec<_>, _> = (0..20).map(|_| File::open("/dev/null")).collect();
    ///     files.unwrap_err().raw_os_error()
    /// });
    /// assert_eq!(hoarder.join()?, Some(24)); // EMFILE
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn open_files(mut self, most: u64) -> Builder {
        self.setup.limits.open_files = Some(most);
        self
    }

    /// Limits the size to which the process may grow a file, in bytes. It holds for shared memory
    /// that the task makes, too.
    ///
    /// A larger write ends the process by SIGXFSZ. If the task ignores that signal, the write
    /// fails.
    ///
    /// ```
    /// use trine::process::Builder;
    ///
    /// let path = std::env::temp_dir().join(format!("too-large-{}", std::process::id()));
    /// let writer = Builder::new().file_size_limit(1000).spawn(path.clone(), |path| {
    ///     std::fs::write(path, [0; 2000]).map_err(|error| error.to_string())
    /// });
    /// assert!(writer.join().unwrap_err().to_string().contains("SIGXFSZ"));
    /// std::fs::remove_file(path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn file_size_limit(mut self, bytes: u64) -> Builder {
        self.setup.limits.file_size = Some(bytes);
        self
    }

    /// Allows a crash of the process to write a core file of the largest size that this program may
    /// set, or forbids it. By default this program's limit holds.
    ///
    /// ```
    /// use trine::process::Builder;
    ///
    /// let task = Builder::new()
    ///     .core_dumps(false)
    ///     .spawn((), |()| std::fs::read_to_string("/proc/self/limits").unwrap_or_default());
    /// let none = |line: &str| line.starts_with("Max core file size        0 ");
    /// assert!(task.join()?.lines().any(none));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn core_dumps(mut self, write: bool) -> Builder {
        self.setup.limits.core_dumps = Some(write);
        self
    }

    /// Sets the niceness of the process, from -20 (runs first) to 19 (runs on time that others
    /// leave). A value below this program's own niceness needs a privilege.
    ///
    /// ```
    /// use trine::process::Builder;
    ///
    /// let task = Builder::new().nice(19).spawn(1_000, |n: u64| (1..=n).sum::<u64>());
    /// assert_eq!(task.join()?, 500_500); // computed on time that others leave
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn nice(mut self, niceness: i32) -> Builder {
        self.setup.limits.nice = Some(niceness);
        self
    }

    /// Limits the bytes of the encoded result; 1 GiB by default.
    ///
    /// A longer result ends the task with [`Cause::Codec`]. The limit also holds for a process that
    /// a hostile input has taken over: it cannot fill the memory of this program.
    ///
    /// Strings and byte vectors take their length and a few bytes, integers at most 10 bytes.
    ///
    /// ```
    /// let task = trine::process::Builder::new().max_result(100).spawn(7, |n: u8| vec![n; 1000]);
    /// let error = task.join().unwrap_err();
    /// assert!(error.to_string().contains("more than 100 bytes"), "{error}");
    /// ```
    pub fn max_result(mut self, bytes: u64) -> Builder {
        self.setup.limits.max_result = Some(bytes);
        self
    }

    /// Restricts the process to these processors, counted from 0.
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

    /// Captures the output of the task, and of processes that it starts, for the task's error: the
    /// last 8 KiB of standard output and of standard error each, from the beginning of a line on.
    /// By default they print to this program's streams.
    ///
    /// See [`TaskError::stderr`](crate::TaskError::stderr). If the task returns a value, its output
    /// is dropped. A panic's message is captured, too, and not printed; it is in the error anyway.
    /// A crash loses bytes in buffers of the process itself.
    ///
    /// ```
    /// let task = trine::process::Builder::new().capture_output().spawn((), |()| {
    ///     println!("3 of 7 done");
    ///     eprintln!("the disk is on fire");
    ///     if true { std::process::abort() }
    /// });
    /// let error = task.join().unwrap_err();
    /// assert_eq!(error.stdout(), b"3 of 7 done\n");
    /// // … ended by SIGABRT (6); last on its standard error: the disk is on fire
    /// println!("{error}");
    /// ```
    pub fn capture_output(mut self) -> Builder {
        self.setup.captures = true;
        self
    }

    /// Runs `function` on `arg` in a new process.
    ///
    /// ```
    /// use trine::process::Builder;
    ///
    /// let task = Builder::new().name("sum").spawn(vec![1, 2, 3], |list: Vec<u32>| {
    ///     list.iter().sum::<u32>()
    /// });
    /// assert_eq!(task.join()?, 6);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `join` returns the errors of [`process::spawn`](super::spawn). Besides, the task ends with
    /// [`Cause::NotSpawned`] if a directory cannot be entered, a variable cannot be set or a limit
    /// is invalid; the text says what to do.
    #[track_caller]
    pub fn spawn<A, R>(self, arg: A, function: fn(A) -> R) -> Task<R>
    where
        A: Portable,
        R: Portable,
    {
        self.spawn_at(Location::caller(), arg, function)
    }

    pub(crate) fn spawn_at<A, R>(
        self,
        location: &'static Location<'static>,
        arg: A,
        function: fn(A) -> R,
    ) -> Task<R>
    where
        A: Portable,
        R: Portable,
    {
        let Builder { name, mut setup, grace } = self;
        let dispatcher = pool::global::fresh(setup.captures);
        let most = setup.limits.max_result.unwrap_or(MAX_RESULT);
        let (task, job) = pool::prepare(dispatcher, (name, None, most), location, arg, function);
        let Some(mut job) = job else { return task };
        job.grace = grace;
        match setup.prepare() {
            Err(reason) => job.fail_unsubmitted(Cause::NotSpawned { reason }),
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
