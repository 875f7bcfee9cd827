//! Processes: an ordinary function runs in its own address space, and its crash is an error here.
//!
//! ```
//! let task = trine::process::spawn(6, |n: u32| n * 7);
//! assert_eq!(task.join()?, 42);
//!
//! let crash = trine::process::spawn((), |()| -> () { std::process::abort() });
//! println!("{}", crash.join().unwrap_err()); // … its process was ended by SIGABRT (6)
//! # Ok::<(), trine::TaskError>(())
//! ```
//!
//! No set-up and no registration are needed. It works in `main`, in tests, in examples, in
//! doctests.
//!
//! A running process task exchanges messages with other tasks by the ends of an
//! [`ipc::channel()`](crate::ipc::channel()): an [`ipc::Sender`](crate::ipc::Sender) or an
//! [`ipc::Receiver`](crate::ipc::Receiver) is a value that an argument may contain.
//!
//! # Design
//!
//! ```text
//!   your program (the master)                      the same program, started again
//!  ┌───────────────────────────────┐              ┌────────────────────────────────┐
//!  │ spawn ─► queue                │  posix_spawn │ template: has one thread, never│
//!  │            │   service thread ├─────────────►│ reaches `main`, only forks     │
//!  │            │   forks, listens,│ fork request └───────┬────────────────────────┘
//!  │            │   reaps          │                      │ clone(CLONE_PARENT)
//!  │            ▼                  │              ┌───────▼────────┐ ┌─────────────┐
//!  │        one socket, one pidfd  │◄────────────►│ worker         │ │ worker      │ …
//!  │        for each worker        │ task, answer │ child of master│ │             │
//!  └───────────────────────────────┘              └────────────────┘ └─────────────┘
//! ```
//!
//! Forking a program with threads is unsound, and forking a large program is slow. So the first
//! process task starts the program once more. Before `main`, an initialiser of this crate
//! recognises that this process is to be the *template*, and keeps it there: small, with one
//! thread. Each worker is a fork of the template and, by `CLONE_PARENT`, a child of the master. A
//! function travels as its offset in the program's file, which is the same in both. Argument and
//! result travel encoded ([`serde`], postcard).
//!
//! A pool with a [`preload`](PoolBuilder::preload) has a template of its own, which runs that
//! function once before it forks. All workers of the pool then have what the function left in
//! memory. Pools with the same preload, variables and directory share a template, which ends with
//! the last of them.
//!
//! ```text
//!   service ─┬─ template of the plain program ───┬── worker of any pool, or of one task
//!            │                                   └── …
//!            └─ template of preload + settings ──┬── worker of a pool with that preload
//!                     preload()                  └── initializer(), then its tasks
//! ```
//!
//! A template that dies is replaced when the next worker is needed. A template that is stopped
//! (SIGSTOP) forks no worker until it is continued. Until then tasks without a worker wait; they
//! end at their deadline or by cancellation, and shutting down a pool does not wait for the
//! template. A pool with a [`start_timeout`](PoolBuilder::start_timeout) has a template of its own.
//! If that takes longer to be ready or to fork, it is killed and replaced.
//!
//! # Differences in a worker
//!
//! - `main` has not run. Its set-up (a logger, a panic hook, statics) does not exist, except for
//!   what a pool's [`preload`](PoolBuilder::preload) and [`initializer`](PoolBuilder::initializer)
//!   do. Initialisers that run before `main` have run.
//! - The environment, the user and the limits are those of the program at its first process task,
//!   so a program should give up rights before. The current directory is the program's at the time
//!   of the fork. Arguments are the program's.
//! - Standard input is empty; standard output and error are the program's. Output is flushed after
//!   each task.
//! - No other descriptor of the program is open, except those that a preload has left open.
//! - A worker dies with the program, even if the program is killed by SIGKILL.
//! - Signals that the program ignores at its first process task (`nohup`) are ignored in workers,
//!   except SIGCHLD. Those that it handles have their default action, except SIGINT and SIGQUIT:
//!   see [below](#ctrl-c-and-pools).
//! - Processes that a task starts are independent: they are killed neither with the task nor with
//!   the program. [`no_new_processes`](Sandbox::no_new_processes) denies them. A child made by a
//!   bare `fork` ends when it returns from the task's function.
//!
//! # Cancellation and deadlines
//!
//! If no worker has begun a task, [cancelling](crate::Task::cancel) ends it at once. Otherwise the
//! program sends SIGTERM to its worker, which has a handler for it. In the task trine's waits end,
//! [`cancelled`](crate::cancelled) returns true, and system calls return `EINTR`. The task unwinds,
//! and the worker is kept for the next task. The reason of a cancellation is in the task's error,
//! not in the worker. Only the task itself is cancelled, not the threads and coroutines that it has
//! started.
//!
//! A task that has not ended after 2 seconds (`grace` of [`Pool`] and [`Builder`]) is killed by
//! SIGKILL with its worker, which is replaced. A [`shield`](crate::shield) does not prevent that. A
//! value or a crash that comes earlier counts as such.
//!
//! The time of a [`timeout`](crate::time::timeout) around `spawn` travels with the task and counts
//! from the spawn, also in the queue. When it is up, the task's waits end. A task that does not end
//! then is treated like a cancelled one, and its error says `TimedOut`.
//!
//! ```
//! use std::time::Duration;
//! use trine::{process, time};
//!
//! let task = process::spawn((), |()| time::sleep(Duration::MAX));
//! task.cancel_because("not needed any more");
//! assert!(task.join().unwrap_err().is_cancelled());
//! # Ok::<(), trine::TaskError>(())
//! ```
//!
//! A [`Pool`] can limit the time of each of its tasks ([`timeout`](PoolBuilder::timeout)). It
//! counts from the moment at which the task begins in its worker, and ends the task in the same
//! way.
//!
//! A SIGTERM from another sender ends a worker, as it ends other programs. A task that installs its
//! own handler for SIGTERM, or blocks it, does not receive its cancellation and is killed.
//!
//! # Ctrl-C and pools
//!
//! A terminal sends Ctrl-C (SIGINT) and Ctrl-\\ (SIGQUIT) to the program and to all of its workers
//! at once. A program without a handler dies of it, and its workers end with it. In a program that
//! handles the signal, workers ignore it and go on, so the program can finish what runs:
//!
//! | the program | a worker, by default | a worker with `interruptible(true)` |
//! |---|---|---|
//! | has no handler | ends with the program | ends |
//! | listens ([`signal`](crate::signal)) | goes on with its task | ends; its task fails with SIGINT |
//!
//! To drain, give the pool no new work, and take the results of what it has. A
//! [`map`](crate::Executor::map) keeps a bounded number of tasks under way and takes an argument
//! only when it starts a task. So it is enough that its arguments end:
//!
//! ```no_run
//! use trine::signal::{Signal, Signals};
//! use trine::{Executor, process, scope, sync::Event};
//!
//! let pool = process::Pool::new(2);
//! let signals = Signals::new([Signal::INT])?;
//! let stop = Event::new();
//! scope(|s| {
//!     s.coroutine(|| {
//!         let signals = signals; // dropped after the first one: a second Ctrl-C ends the program
//!         if signals.recv().is_ok() {
//!             eprintln!("finishing what runs");
//!             stop.set();
//!         }
//!     });
//!     let numbers = (0..1_000_000_u64).take_while(|_| !stop.is_set());
//!     for result in pool.map(numbers, |n| n + 1) {
//!         println!("{result:?}");
//!     }
//!     s.cancel(); // the listener, if there was no Ctrl-C
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/batches/image_farm.rs` does this. Where tasks were spawned one by one,
//! [`Task::cancel`](crate::Task::cancel) ends those that have not begun, [`Pool::shutdown`] waits
//! for all, and [`Pool::stop`] for a limited time.
//!
//! A task that wants the signal listens for it itself. Programs that a task starts die of it as
//! ever. `interruptible` of a [`Builder`] or [`PoolBuilder`] lets the signals end workers. A signal
//! that a process sends to itself (`raise`) is not the terminal's and ends a worker. Other signals
//! to the whole group, such as SIGHUP and SIGTERM, end workers too, unless the program ignores
//! them.
//!
//! # Limits and output of a process
//!
//! A [`Builder`] can limit the memory and the processor time of a task, its descriptors, files,
//! niceness and processors. If a limit ends a task, the task's error names it. `out_of_memory` in
//! [`Cause::Signaled`](crate::Cause::Signaled) is true only if that is certain. With
//! [`capture_output`](Builder::capture_output) the error also has the end of the task's output.
//!
//! # Children of the program
//!
//! Workers are children of this process, which keeps how each of them ended, and so is the process
//! that forks them. They are children of a thread that trine starts.
//!
//! - A call that waits for any child (`wait`, `waitpid(-1)`) sees them too. It takes their status,
//!   and a loop of such calls never ends. Wait for a process by its id or its handle, or for the
//!   children of the calling thread only: `waitpid(-1, status, __WNOTHREAD)`.
//! - They end when the program executes another (`exec`), as zombies. The next program reaps them
//!   at its first process task. One that has none may wait for them, or be executed with SIGCHLD
//!   ignored, so that the kernel reaps them.
//! - A user that the program or an `initializer` changes to keeps no worker alive. A worker that
//!   cannot be killed is an error of its tasks.
//!
//! # Requirements
//!
//! - trine is linked into the executable, not into a shared library.
//! - `/proc` is mounted and shows this program, or the absolute path by which the program was
//!   started still leads to its file.
//! - `/dev/null` exists.
//! - No thread that an initialiser has started before `main` still runs.
//! - The program runs with no more rights than the process that started it (no set-user-id, no file
//!   capabilities).
//! - The process was not made by a bare `fork` of a program that had already run a process task;
//!   [`fork()`] refuses to make such a process.
//!
//! Otherwise tasks end with `NotSpawned` and a text that says so.
//!
//! In edition 2024 a closure that never returns has to name its result's type:
//! `|()| -> () { std::process::exit(3) }`.

// | room | contents |
// |---|---|
// | `mod.rs`, `builder.rs`, `fork.rs` | the face: `spawn`, `Builder`, `fork()` |
// | `portable.rs` | `Portable`: the values that cross |
// | `pool/` | `Pool`, and which worker gets which task: dispatcher, queue, retries, replies |
// | `service/` | a thread of the master: forks workers by templates, reaps them, keeps alarms |
// | `worker/` | the other side: before `main`, the template, the worker, its limits |
// | `task/` | one task: its function, its encoded argument, its record |
// | `wire/` | the protocol between the processes: frames, rings, the board |
// | `sandbox/` | the rights that a worker gives up: `Sandbox` |
// | `command/` | other programs: `Command` |
// | `capsule/`, `replay.rs` | failed tasks in files, to run again: `Capsule` |

use std::panic::Location;

use crate::task::Task;

/// Marks a step at which a test build may kill the calling process; does nothing in other builds.
macro_rules! crash_point {
    ($label:literal) => {
        #[cfg(feature = "crash-points")]
        crate::sys::crash::point($label);
    };
}

/// Sets the side of the protocol that the calling process plays from now on, for [`crash_point`].
macro_rules! crash_side {
    ($side:ident) => {
        #[cfg(feature = "crash-points")]
        crate::sys::crash::set_side(crate::sys::crash::Side::$side);
    };
}

mod builder;
mod capsule;
mod command;
mod fork;
mod pool;
mod portable;
mod replay;
mod sandbox;
mod service;
mod task;
mod wire;
mod worker;

pub use builder::Builder;
pub use capsule::{Capsule, Replay};
pub use command::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Process, Usage};
pub use fork::{Fork, ForkError, fork};
pub use pool::builder::PoolBuilder;
pub use pool::global::pool;
pub(crate) use pool::handle::Chunk;
pub use pool::stats::PoolStats;
pub use pool::{Pool, QueueFull};
pub use portable::Portable;
pub use sandbox::{Enforcement, NotEnforced, Part, Sandbox};
pub use std::process::{ExitStatus, Output, Stdio};
pub(crate) use task::pointer::Pointer;
use task::value::MAX_RESULT;

/// Runs `function` on `arg` in a new process, which ends with the task.
///
/// `function` is a function or a closure that captures nothing; a closure that captures is no
/// `fn(A) -> R` and does not compile. A pointer to code of a shared library is an error. serde
/// encodes `arg` and the result in the postcard format. Types that can only be
/// decoded from a self-describing format (`serde_json::Value`, untagged enums) cannot be used.
///
/// The tasks that `function` has spawned and detached end with the process. Join them there.
///
/// Any number of tasks may be outstanding. The number of processes that run at once is at most a
/// quarter of this program's limit for descriptors (`ulimit -n`), and at most 4,096. The other
/// tasks wait in a queue. For many small tasks a [`Pool`] is faster.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order { item: String, count: u32 }
///
/// fn price(order: Order) -> Result<u32, String> {
///     if order.item == "pear" { Ok(order.count * 3) } else { Err(format!("no {}", order.item)) }
/// }
///
/// let task = trine::process::spawn(Order { item: "pear".into(), count: 2 }, price);
/// assert_eq!(task.join()?, Ok(6));
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// # Errors
///
/// `join` returns a [`TaskError`](crate::TaskError) whose [`Cause`](crate::Cause) is
/// - `Panicked`: the function panicked; the cause has the message, the place and a backtrace,
/// - `Exited`, `Signaled`, `StackOverflow`: the process ended before there was a result,
/// - `Lost`: the process closed its connection to this program, or sent corrupted data on it,
/// - `Cancelled`, `TimedOut`: the task was cancelled, or its time was up,
/// - `Codec`: the argument or the result could not be encoded or decoded, or the result is longer
///   than 1 GiB ([`Builder::max_result`]),
/// - `NotSpawned`: a limit was met, or the function is not code of this program; the text says
///   which, and what to do.
#[track_caller]
pub fn spawn<A, R>(arg: A, function: fn(A) -> R) -> Task<R>
where
    A: Portable,
    R: Portable,
{
    let dispatcher = pool::global::fresh(false);
    let (task, job) =
        pool::prepare(dispatcher, (None, None, MAX_RESULT), Location::caller(), arg, function);
    if let Some(job) = job {
        pool::submit(dispatcher, job);
    }
    task
}
