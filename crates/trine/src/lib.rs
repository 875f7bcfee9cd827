//! One task, three ways to run it.

mod config;
pub mod coroutine;
pub mod process;
mod sys;
pub mod task;
pub mod thread;
pub mod time;
pub use config::{AlreadyStarted, Config, configure};
pub use task::{Cause, Kind, State, Task, TaskError, TaskId, TaskInfo};
