//! One task, three ways to run it.

pub mod process;
mod sys;
pub mod task;
pub use task::{Cause, Kind, State, Task, TaskError, TaskId, TaskInfo};
