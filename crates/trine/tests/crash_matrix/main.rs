//! Every way to fail in every place where it can happen: the task's error says what it was, the other tasks have their
//! values, and the pool has as many workers as before.
//!
//! | place | module | what is different there |
//! |---|---|---|
//! | the task runs, its argument is decoded, its result encoded | `tasks` | |
//! | its result is decoded | `tasks` | it is the joiner's process that does so: panics only |
//! | the worker is idle | `idle` | nobody is to be told |
//! | a worker is forked, a template prepared, or there and stopped | `starts` | the time is the pool's `start_timeout` |
//! | the same, each time anew | `endless` | the tasks end with the reason |
//! | the master has no descriptors | `descriptors` | no worker can be replaced meanwhile |

mod descriptors;
mod endless;
mod failure;
mod idle;
mod pools;
mod starts;
mod tasks;

#[path = "../common/mod.rs"]
mod common;
