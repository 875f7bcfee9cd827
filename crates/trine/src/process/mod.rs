//! Processes: an ordinary function runs in its own address space, and a crash of it is an error here.
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
//! No set-up, no registration: it works in `main`, in tests, in examples, in doctests.
//!
//! # How
//!
//! ```text
//!   your program (the master)                      the same program, started again
//!  ┌───────────────────────────────┐              ┌────────────────────────────────┐
//!  │ spawn ─► queue                │  posix_spawn │ template: has one thread, never│
//!  │            │   service thread ├─────────────►│ reaches `main`, only forks     │
//!  │            │   forks, listens,│  fork, please└───────┬────────────────────────┘
//!  │            │   reaps         │                      │ clone(CLONE_PARENT)
//!  │            ▼                  │              ┌───────▼────────┐ ┌─────────────┐
//!  │        one socket, one pidfd  │◄────────────►│ worker         │ │ worker      │ …
//!  │        for each worker        │ task, answer │ child of master│ │             │
//!  └───────────────────────────────┘              └────────────────┘ └─────────────┘
//! ```
//!
//! Forking a program with threads is unsound, and forking a large one is slow. So at the first
//! process task the program is started once more. Before `main`, an initialiser of this crate sees that
//! it is meant as the *template* and keeps it: small, with one thread. Each worker is a fork of the
//! template and, by `CLONE_PARENT`, a child of the master. A function travels as its offset in the program's
//! file, which is the same in both; argument and result travel encoded ([`serde`], postcard).
//!
//! | room | contents |
//! |---|---|
//! | `mod.rs`, `builder.rs`, `fork.rs` | the face: [`spawn`], [`Builder`], [`fork()`] |
//! | `pool/` | [`Pool`], and which worker gets which task: dispatcher, queue, retries, replies |
//! | `service/` | one thread of the master: forks workers through templates, reaps them, keeps alarms |
//! | `worker/` | the other side: before `main`, the template, the worker, its limits |
//! | `task/` | one task: its function, its encoded argument, its record |
//! | `wire/` | what crosses between the processes: frames, rings, the board |
//! | `sandbox/` | what a worker gives up: [`Sandbox`] |
//! | `command/` | other programs: [`Command`] |
//!
//! A pool with a [`preload`](PoolBuilder::preload) has a template of its own, which runs that function
//! once before it forks; what the function left in memory is in all workers of the pool. Pools whose preload,
//! variables and directory are the same share it, and it ends with the last of them.
//!
//! ```text
//!   service ─┬─ lineage of the plain program ── template ──┬── worker of any pool, or of one task
//!            │                                             └── …
//!            └─ lineage of preload + settings ─ template ──┬── worker of a pool with that preload
//!                                               preload()  └── initializer(), then its tasks
//! ```
//!
//! A template that dies is replaced when the next worker is needed. One that is stopped (SIGSTOP) forks
//! nothing until it goes on: tasks without a worker wait, end at their deadline or when they are
//! cancelled, and a pool that is shut down does not wait for it. A pool with a
//! [`start_timeout`](PoolBuilder::start_timeout) has a template of its own, which is killed and replaced when it takes longer
//! than that to be ready or to fork.
//!
//! # What is different in a worker
//!
//! - `main` has not run: what it sets up (a logger, a panic hook, statics) is not there, but for what a pool's
//!   [`preload`](PoolBuilder::preload) and [`initializer`](PoolBuilder::initializer) do. Initialisers
//!   that run before `main` have run.
//! - The environment, the user, the limits are those that the program had when it started its first
//!   process task: a program that gives up rights does so before. The current directory is the
//!   program's own when the worker is forked. Arguments are the program's.
//! - Standard input is empty; standard output and error are the program's own. Output is flushed after each task.
//! - No other descriptor of the program is open there, but those that a preload has left open.
//! - It dies with the program, also when that is killed with SIGKILL.
//! - A signal from the terminal (Ctrl-C) reaches workers as it reaches the program.
//! - Processes that a task starts are its own affair: they are not killed with it, nor with the program.
//!   [`no_new_processes`](Sandbox::no_new_processes) denies them. A child made by a bare `fork` that returns from
//!   the task's function ends there.
//!
//! # Cancellation and deadlines
//!
//! A task that no worker has begun ends at once when it is [cancelled](crate::Task::cancel). To the worker of
//! another one the program sends SIGTERM, for which workers have a handler: waits of trine in the
//! task end, [`cancelled`](crate::cancelled) is true there, system calls return `EINTR`. The task unwinds, and the
//! worker is kept for the next one. The reason given with the cancellation is in the task's error, not in
//! the worker. Only the task itself is cancelled, not the threads and coroutines that it has started.
//!
//! What has not ended after 2 seconds (`grace` of [`Pool`] and [`Builder`]) is killed by SIGKILL with its worker, which
//! is replaced; a [`shield`](crate::shield) does not hold that off. A value or a crash that comes before counts as what
//! it is.
//!
//! The time of a [`timeout`](crate::time::timeout) around `spawn` travels with the task and counts from the
//! spawn, also in the queue. When it is up, the task's waits end; one that does not end then is treated as
//! one that was cancelled, and its error says `TimedOut`.
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
//! A [`Pool`] can set a limit for each of its tasks ([`timeout`](PoolBuilder::timeout)): it counts from the moment at
//! which the task begins in its worker, and ends it in the same way.
//!
//! SIGTERM from anybody else ends a worker, as it ends other programs. A task that installs a handler for
//! SIGTERM of its own, or blocks it, does not hear of its cancellation, and is killed.
//!
//! # Limits of a process, and what it prints
//!
//! A [`Builder`] can limit the memory and the processor time of a task, its descriptors, files, niceness and
//! processors. A task that meets a limit which ends it has an error that names it; `out_of_memory` in
//! [`Cause::Signaled`](crate::Cause::Signaled) is true only where that is known. With
//! [`capture_output`](Builder::capture_output) the error also has the end of what the task has printed.
//!
//! # Where there are no process tasks
//!
//!
//! trine has to be linked into the executable, not into a shared library; `/proc` has to be mounted;
//! the program must not run with more rights than whoever started it (set-user-id, file
//! capabilities). A child that the program makes by a bare `fork` after its first process task cannot
//! use process tasks; [`fork()`] is refused there. In each case tasks end with `NotSpawned` and a text that says so.
//!
//! A function that never returns, as `|()| std::process::exit(3)`, has to name its result's type in
//! edition 2024: `|()| -> () { std::process::exit(3) }`.

use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::task::Task;

/// Where a test build may kill the calling process; nothing in other builds.
macro_rules! crash_point {
    ($label:literal) => {
        #[cfg(feature = "crash-points")]
        crate::sys::crash::point($label);
    };
}

/// Which side of the protocol the calling process plays from now on, for [`crash_point`].
macro_rules! crash_side {
    ($side:ident) => {
        #[cfg(feature = "crash-points")]
        crate::sys::crash::play(crate::sys::crash::Side::$side);
    };
}

mod builder;
mod command;
mod fork;
mod pool;
mod sandbox;
mod service;
mod task;
mod wire;
mod worker;

pub use builder::Builder;
pub use command::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Process, Usage};
pub use fork::{Fork, ForkError, fork};
pub use pool::builder::PoolBuilder;
pub use pool::global::pool;
pub(crate) use pool::handle::Chunk;
pub use pool::stats::PoolStats;
pub use pool::{Pool, QueueFull};
pub use sandbox::{Enforcement, NotEnforced, Part, Sandbox};
pub use std::process::{ExitStatus, Output, Stdio};
pub(crate) use task::function::CapturesNothing;

/// Runs `function` on `arg` in a new process, which ends with the task.
///
/// `function` is a function item or a closure that captures nothing; one that captures does not
/// compile. `arg` and the result are encoded by serde in the postcard format, so types that can only
/// be decoded from a self-describing format (`serde_json::Value`, untagged enums) do not cross.
///
/// Any number of tasks may be outstanding. At most a quarter as many processes run at once as this
/// program may have descriptors (`ulimit -n`), and never more than 4,096; the other tasks wait in a queue. For many
/// small tasks a [`Pool`] is faster.
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
/// `join` gives a [`TaskError`](crate::TaskError) whose [`Cause`](crate::Cause) is
/// - `Panicked`: the function panicked; with message, place and backtrace,
/// - `Exited`, `Signaled`, `StackOverflow`: the process ended before there was a result,
/// - `Lost`: the process closed its connection to this program or sent nonsense on it,
/// - `Cancelled`, `TimedOut`: it was cancelled, or the time given to it was up,
/// - `Codec`: the argument or the result could not be encoded or decoded,
/// - `NotSpawned`: a limit was met; the text says which, and what to do.
#[track_caller]
pub fn spawn<A, R, F>(arg: A, function: F) -> Task<R>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    let proof = const { CapturesNothing::<F>::check() };
    let dispatcher = pool::global::fresh(false);
    let (task, job) =
        pool::prepare(dispatcher, (None, None), Location::caller(), arg, function, proof);
    if let Some(job) = job {
        pool::submit(dispatcher, job);
    }
    task
}
