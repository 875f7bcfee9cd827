//! One task, three ways to run it.
//!
//! An ordinary function runs as a **coroutine** (a stack of its own, switched in user space, a
//! million at once), on a **thread** (a kernel task that shares the memory of the program) or in a
//! **process** (an address space of its own: a crash ends one task, not the program). The choice is
//! one word:
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
//! let c = process::spawn(text, words); //        an argument that is sent, and a function
//! assert_eq!((a.join()?, b.join()?, c.join()?), (4, 4, 4));
//! # Ok::<(), trine::TaskError>(())
//! ```
//!
//! All three give the same handle, [`Task`], and end with a value or with the same error,
//! [`TaskError`]. A value of [`Kind`] chooses for a whole batch:
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
//! No runtime has to be built, `main` needs no attribute, and no call has to come first.
//!
//! # Which kind
//!
//! | | costs (order) | isolation | for |
//! |---|---|---|---|
//! | [`coroutine`] | nanoseconds a switch, 4.3 KiB idle | none | waiting, a million at once |
//! | [`thread`] | microseconds | a crash ends the program | computing on all cores |
//! | [`process`] | 100s of microseconds | a crash ends one task | code that may crash or hang |
//!
//! `trine measure`, the program that comes with the library, measures the costs on your machine.
//!
//! # Overview
//!
//! | item | for |
//! |---|---|
//! | [`scope()`], [`supervise`], [`join_all`], [`race`] | tasks that end together, and may borrow |
//! | [`supervisor()`] | tasks that are restarted when they fail |
//! | [`Task::cancel`], [`cancelled`], [`checkpoint`], [`shield`] | ending tasks from outside |
//! | [`Executor`], [`Kind`], [`thread::Pool`], [`process::Pool`] | a batch, of any kind |
//! | [`sync`] | `Mutex`, `RwLock`, `Condvar`, `Semaphore`, `Barrier`, `Event` |
//! | [`sync::channel`] | channels between tasks, and `select!` |
//! | [`net`], [`fs`] | sockets, files and directories with std's names |
//! | [`net::Readiness`] | waiting for any other descriptor |
//! | [`process::PoolBuilder`] | workers with limits, retries, memory loaded once |
//! | [`process::Sandbox`] | workers without access to files or the network |
//! | [`ipc`] | between processes: typed channels, shared memory, locks, pipes, queues |
//! | [`process::Command`], [`process::fork()`] | child processes, forks of this program |
//! | [`signal`] | waiting for signals, and sending them |
//! | [`reactor()`] | the interface by which carriers wait: `io_uring` or `epoll` |
//! | [`time`] | sleeping, ticking, and a limit for any wait |
//! | [`future`] | futures as tasks without a stack, and waiting for any future |
//! | [`coroutine::Generator`] | values from any depth of plain calls |
//! | [`coroutine::spawn_local`] | coroutines of one thread, for `Rc`s |
//! | [`coroutine::Local`] | variables of each coroutine |
//! | [`task`] | the live tasks: [`list`](task::list), [`current`](task::current) |
//! | [`progress()`] | the progress of a task |
//! | [`configure`] | carriers, stack size, the monitor, the reactor; also by `TRINE_…` variables |
//!
//! # Waiting calls
//!
//! | call | in a coroutine | on a thread, such as `main` | in a future's poll |
//! |---|---|---|---|
//! | `join`, `recv`, `lock`, `sleep`, `read`, … | parks the coroutine | parks the thread | blocks |
//! | [`scope()`], [`block_on`](future::block_on) | parks the coroutine | parks the thread | blocks |
//! | std's I/O, `std::sync::Mutex`, … | blocks | blocks the thread | blocks |
//! | `spawn`, `try_…`, [`Task::cancel`] | does not wait | does not wait | does not wait |
//!
//! A call that *blocks* holds up its carrier and all tasks of that carrier: in a future, await
//! instead.
//!
//! # What not to hold across a call
//!
//! **Hold none of these across a call of trine in a coroutine: a guard of `std::sync` or of another
//! crate's lock, a borrow of a `RefCell` in a thread-local, the lock of `std::io::stdout()`; and
//! make no such call in an initialiser of std's `LazyLock`, `OnceLock` or `thread_local!`.** That
//! includes those inside a library, such as a connection pool that connects under its lock.
//!
//! The coroutines of a carrier share its thread. Another one that wants the same lock blocks that
//! thread for good, so the holder never goes on; one that borrows the `RefCell` panics. After a
//! second, a line on standard error names the coroutine that blocks ([`HogWatch::Warn`]).
//!
//! **A call that need not wait may give the turn away, too**: in one turn of a coroutine, the 17th
//! successful call on a socket or file, and the 129th on a lock or channel. So a test with little
//! load does not show the mistake. The guards of [`sync`] may be held across any call, and its
//! [`LazyLock`](sync::LazyLock) and [`OnceLock`](sync::OnceLock) may wait; in place of a
//! thread-local there is [`coroutine::Local`].
//!
//! # The end of a wait
//!
//! A waiting call of trine ends when its task is cancelled or its time is up: with an error if it
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
pub mod supervisor;
pub mod sync;
mod sys;
pub mod task;
pub mod thread;
pub mod time;

pub use config::{AlreadyStarted, Config, HogWatch, Reactor, configure};
pub use executor::{Executor, Indexed, Map, Unordered};
pub use reactor::{ReactorInUse, reactor};
pub use scope::{
    Scope, ScopedMap, ScopedTask, ScopedUnordered, Supervised, TryScope, join_all, race, scope,
    supervise, try_scope,
};
#[doc(inline)]
pub use supervisor::supervisor;
pub use task::cancel::{cancelled, checkpoint, shield};
pub use task::info::progress::progress;
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
