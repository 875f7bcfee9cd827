//! Every failure in every place where it can happen: the task's error names the failure, the other
//! tasks have their values, and the pool has as many workers as before.
//!
//! | place | module | difference |
//! |---|---|---|
//! | the task runs, its argument is decoded, its result encoded | `tasks` | |
//! | its result is decoded | `tasks` | the joiner's process decodes it: panics only |
//! | the worker is idle | `idle` | there is no task to report to |
//! | a worker is forked, a template prepared or stopped | `starts` | limited by `start_timeout` |
//! | the same, at each start | `endless` | the tasks end with the reason |
//! | a replay of the task from its capsule | `replays` | by the same program, started again |
//! | the master has no descriptors | `descriptors` | no worker can be replaced meanwhile |

mod descriptors;
mod endless;
mod failure;
mod idle;
mod pools;
mod replays;
mod starts;
mod tasks;

#[path = "../common/mod.rs"]
mod common;
