//! One task, three ways to run it.
//!
//! An ordinary function runs as a **coroutine** (its own stack, switched in user space, a million at
//! once), on a **thread** (a kernel task that shares the memory of the program) or in a **process**
//! (its own address space: a crash is an error here, not the end), and the choice is one word:
//!
//! ```
//! use trine::{coroutine, process, thread};
//!
//! fn words(text: String) -> usize {
//!     text.split_whitespace().count()
//! }
//!
//! let text = String::from("one task three ways");
//! let (a, b) = (text.clone(), text.clone());
//! let a = coroutine::spawn(move || words(a)); // a closure
//! let b = thread::spawn(move || words(b)); //    a closure
//! let c = process::spawn(text, words); //        an argument that travels, and a function
//! assert_eq!((a.join()?, b.join()?, c.join()?), (4, 4, 4));
//! # Ok::<(), trine::TaskError>(())
//! ```
//!
//! All three give the same handle, [`Task`], and end with a value or with the same error,
//! [`TaskError`]. As a value, [`Kind`] decides for a whole batch:
//!
//! ```
//! use trine::{Executor, Kind};
//!
//! for n in Kind::Process.map(1..=3_u64, |n| n * n) {
//!     println!("{}", n?);
//! }
//! # Ok::<(), trine::TaskError>(())
//! ```
//!
//! There is no runtime to build, no attribute on `main`, no call to make first.
//!
//! # Which one
//!
//! | | costs (order) | isolation | for |
//! |---|---|---|---|
//! | [`coroutine`] | nanoseconds to switch, 4.3 KiB idle | none: shares memory and thread | waiting, a million at once |
//! | [`thread`] | microseconds | shares memory; a crash ends the program | computing on all cores |
//! | [`process`] | 100s of microseconds | full: a crash ends one task | code that may crash, leak or hang |
//!
//! `trine measure`, the program that comes with the library, says what each costs on your machine.
//!
//! # What there is
//!
//! | | |
//! |---|---|
//! | [`scope()`], [`supervise`], [`join_all`], [`race`] | tasks that end together, and may borrow |
//! | [`Task::cancel`], [`cancelled`], [`checkpoint`], [`shield`] | ending a task from outside, and holding that off |
//! | [`Executor`], [`Kind`], [`thread::Pool`], [`process::Pool`] | a batch, without saying which way |
//! | [`sync`] | `Mutex`, `RwLock`, `Condvar`, `Semaphore`, `Barrier`, `Event`, and [`channel`](sync::channel)s |
//! | [`net`], [`fs`] | sockets, files and directories with std's names, and [`Readiness`](net::Readiness) for any other descriptor |
//! | [`process::PoolBuilder`], [`process::Sandbox`] | workers with limits, retries, a sandbox, memory loaded once |
//! | [`ipc`] | between processes: typed channels, shared memory, locks, pipes, FIFOs, message queues, semaphores |
//! | [`process::Command`], [`process::fork()`], [`signal`] | child processes, this program twice, signals |
//! | [`reactor()`] | what carriers wait with: `io_uring` or `epoll` |
//! | [`time`] | sleeping, ticking, and a limit for whatever waits |
//! | [`future`] | futures as tasks without a stack, in a few hundred bytes; waiting for any future; every [`Task`] is one |
//! | [`coroutine`] | also [`Generator`](coroutine::Generator), [`spawn_local`](coroutine::spawn_local), [`Local`](coroutine::Local) |
//! | [`task`] | what is known of each task: [`list`](task::list), [`current`](task::current), [`progress`](progress()) |
//! | [`configure`] | carriers, stack size, the monitor, the reactor; else `TRINE_…` variables |
//!
//! # What waits where
//!
//! | called | in a coroutine | on a thread, such as `main` | in a future's poll |
//! |---|---|---|---|
//! | what waits in trine: `join`, `recv`, `lock`, `sleep`, `read`, `accept`, [`scope()`], [`block_on`](future::block_on) | parks the coroutine | parks the thread | blocks the carrier: await instead |
//! | what blocks in std: I/O, `std::sync::Mutex` | blocks the carrier and its coroutines | blocks the thread | blocks the carrier |
//! | a `spawn`, a `try_…`, dropping a guard, [`Task::cancel`] | does not wait | does not wait | does not wait |
//!
//! What waits in trine ends when its task is cancelled or its time is up: with an error where it
//! returns a `Result`, else by unwinding the task, without a message.
//!
//! # Platform
//!
//! Linux 5.10 or newer on x86-64 or aarch64.

mod config;
pub mod coroutine;
mod executor;
pub mod fs;
pub mod future;
#[cfg(feature = "hyper")]
pub mod hyper;
pub mod ipc;
pub mod net;
pub mod process;
mod reactor;
mod scope;
pub mod signal;
pub mod sync;
mod sys;
pub mod task;
pub mod thread;
pub mod time;

pub use config::{AlreadyStarted, Config, HogWatch, Reactor, configure};
pub use executor::{Executor, Map, Unordered};
pub use reactor::{ReactorInUse, reactor};
pub use scope::{Scope, ScopedTask, Supervised, join_all, race, scope, supervise};
pub use task::cancel::{cancelled, checkpoint, shield};
pub use task::progress::progress;
pub use task::{
    Backtrace, Canceller, Cause, CodecStage, Interrupted, Kind, Limit, SourceLocation, State, Task,
    TaskError, TaskId, TaskInfo, UnknownKind,
};

/// The README's programs, run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The guide's programs, run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/GUIDE.md")]
struct Guide;
