//! The description of a child.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Failure;
use crate::task::Kind;

/// The description of a child at one moment; see [`Handle::children`](super::Handle::children).
///
/// ```
/// use trine::Kind;
/// use trine::supervisor::Child;
///
/// let child = Child::coroutine(|_| trine::time::sleep(std::time::Duration::MAX));
/// let supervisor = trine::supervisor().child("sleeper", child).start();
/// let info = &supervisor.children()[0];
/// assert_eq!((&*info.name, info.kind, info.restarts), ("sleeper", Kind::Coroutine, 0));
/// assert!(info.last_failure.is_none() && info.pid.is_none());
/// supervisor.stop()?;
/// # Ok::<(), trine::supervisor::SupervisorError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildInfo {
    /// The child's name.
    pub name: Arc<str>,
    /// The way in which it runs; that of a nested supervisor is `Coroutine`.
    pub kind: Kind,
    /// Its state.
    pub state: ChildState,
    /// The number of its restarts, whatever their reason.
    pub restarts: u64,
    /// The moment at which its present run was started, if it has one.
    pub running_since: Option<Instant>,
    /// Its last failure.
    pub last_failure: Option<Failure>,
    /// The id of its process, if it is a process that has been forked and has not ended. It may be
    /// missing for a moment in which the process has begun already.
    pub pid: Option<u32>,
}

/// The state of a child.
///
/// ```
/// use trine::supervisor::ChildState;
///
/// let waits = |state: &ChildState| matches!(state, ChildState::Waiting { .. });
/// assert!(!waits(&ChildState::Running));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// It is to be started: after this pause since its last end, and in its turn.
    #[non_exhaustive]
    Waiting {
        /// The pause that its failures have earned it; zero for a first start and a first failure.
        pause: Duration,
    },
    /// It was started, and has not reported that it is [ready](super::Context::ready).
    Starting,
    /// It runs.
    Running,
    /// It is being ended.
    Ending,
    /// It has ended, and is not started again.
    Ended,
}
