//! The pools that exist without being built.

use std::sync::{Arc, OnceLock};

use super::Pool;
use super::dispatcher::Dispatcher;
use super::policy::{Plan, Policy};
use crate::process::worker::setup::Setup;
use crate::sys::limits;

/// Returns the pool behind [`Kind::Process`](crate::Kind::Process): one worker for each core,
/// started at the first call.
///
/// ```
/// assert_eq!(trine::process::pool().spawn("abc".to_owned(), |s| s.len()).join()?, 3);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::builder().build())
}

/// Returns the dispatcher of tasks that run in a fresh process, when there is room for one.
pub(in crate::process) fn fresh(captures: bool) -> &'static Arc<Dispatcher> {
    /// The limit where there are enough descriptors: more processes than this help no program.
    const MOST: u64 = 4096;
    static DISPATCHERS: [OnceLock<Arc<Dispatcher>>; 2] = [const { OnceLock::new() }; 2];
    DISPATCHERS[usize::from(captures)].get_or_init(|| {
        // Two descriptors for each process, or four, and as many again for the program's own use.
        let each = if captures { 8 } else { 4 };
        let most = limits::descriptors().map_or(MOST, |limit| (limit / each).clamp(1, MOST));
        let policy = Policy::new(Plan::Fresh(most as usize));
        Dispatcher::new(policy, &Setup { captures, ..Setup::default() })
    })
}
