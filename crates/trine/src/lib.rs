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
//! There is no runtime to build, no attribute on `main`, no call to make first. What waits
//! ([`Task::join`], [`time::sleep`]) parks the coroutine it is called in, or the thread where there is
//! none.
//!
//! # Which one
//!
//! | | costs (order) | isolation | for |
//! |---|---|---|---|
//! | [`coroutine`] | nanoseconds to switch, 4.3 KiB idle | none: shares memory and thread | waiting, a million at once |
//! | [`thread`] | microseconds | shares memory; a crash ends the program | computing on all cores |
//! | [`process`] | 100s of microseconds | full: a crash ends one task | code that may crash, leak or hang |
//!
//! Async code has a place too: [`future::spawn`] runs a future as a coroutine without a stack, in a few
//! hundred bytes, and any future can wait for any [`Task`].
//!
//! `trine measure`, the program that comes with the library, says what each costs on your machine.
//!
//! # Platform
//!
//! Linux 5.10 or newer on x86-64 or aarch64.

mod config;
pub mod coroutine;
mod executor;
pub mod future;
pub mod process;
mod scope;
pub mod sync;
mod sys;
pub mod task;
pub mod thread;
pub mod time;

pub use config::{AlreadyStarted, Config, HogWatch, configure};
pub use executor::{Executor, Map, Unordered};
pub use scope::{Scope, ScopedTask, Supervised, join_all, race, scope, supervise};
pub use task::cancel::{cancelled, checkpoint, shield};
pub use task::{
    Backtrace, Canceller, Cause, CodecStage, Interrupted, Kind, SourceLocation, State, Task,
    TaskError, TaskId, TaskInfo, UnknownKind,
};

/// The README's programs, run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
