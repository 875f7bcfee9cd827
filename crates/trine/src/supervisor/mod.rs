//! Supervisors: tasks that are started again when they fail, with the strategies of Erlang's OTP.
//!
//! A [`Supervisor`] starts its children in the order of their declaration, and ends them in the
//! reverse order. It restarts a child that fails, and the others that the [`Strategy`] names. If
//! restarts become too many, it ends all children and fails itself. Children are coroutines,
//! threads and processes, in any mix, and other supervisors.
//!
//! ```
//! use std::time::Duration;
//! use trine::supervisor::{Child, Restart, Strategy};
//! use trine::time;
//!
//! let supervisor = trine::supervisor()
//!     .strategy(Strategy::RestForOne)
//!     .intensity(10, Duration::from_secs(60))
//!     .backoff(Duration::from_millis(100), Duration::from_secs(5))
//!     .child("cache", Child::thread(|_| time::sleep(Duration::MAX)))
//!     .child("parser", Child::process(4, |_, _depth: u32| time::sleep(Duration::MAX)))
//!     .child("report", Child::coroutine(|_| println!("up")).restart(Restart::Transient))
//!     .start();
//! for child in supervisor.children() {
//!     println!("{} {:?} {:?}", child.name, child.state, child.pid);
//! }
//! supervisor.stop()?;
//! # Ok::<(), trine::supervisor::SupervisorError>(())
//! ```
//!
//! # Promises
//!
//! - The old run of a child has ended before the new one begins: its function has returned or
//!   unwound, or its process was reaped. After a return or an unwinding, the process itself may
//!   take a moment longer to exit: statics and threads of a task end with the process.
//! - No child outlives [`run`](Supervisor::run), nor [`join`](Handle::join) and
//!   [`stop`](Handle::stop) of a [`Handle`]. If the supervisor is cancelled or its time is up, it
//!   ends its children in reverse order, and waits for them.
//! - A child that ignores its cancellation is waited for, if it is a coroutine or a thread: nothing
//!   can end it. A process is killed. Under [`Strategy::OneForOne`] the other children are
//!   restarted meanwhile; under the other strategies they wait.

// | file | contents |
// |---|---|
// | `mod.rs` | `Supervisor` |
// | `blueprint.rs` | its parts |
// | `child.rs` | `Child`, `Restart`, `Ending` |
// | `context.rs` | `Context` |
// | `handle.rs` | `Handle` |
// | `info.rs` | `ChildInfo`, `ChildState` |
// | `engine.rs` | the loop of a supervisor |
// | `shared.rs` | the state that the loop shares with the handle |
// | `plan.rs` | `Strategy`, and the decisions: which child ends or starts next |
// | `backoff.rs` | the pauses before restarts, and the number that is too many |
// | `reports.rs` | the way of a child's reports |
// | `error.rs` | `Failure`, `SupervisorError` |

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::coroutine;

mod backoff;
mod blueprint;
mod child;
mod context;
mod engine;
mod error;
mod handle;
mod info;
mod plan;
mod reports;
mod shared;

pub use child::{Child, Ending, Restart};
pub use context::Context;
pub use error::{Failure, SupervisorError};
pub use handle::{Handle, NotRestarted};
pub use info::{ChildInfo, ChildState};
pub use plan::Strategy;

use backoff::Backoff;
use blueprint::Blueprint;
use shared::Shared;

/// Makes a supervisor without children.
///
/// ```
/// use trine::supervisor::{Child, Restart};
///
/// let child = Child::thread(|context| match context.restarts() {
///     0 => Err("no luck"),
///     _ => Ok(()),
/// });
/// trine::supervisor().child("second try", child.restart(Restart::Transient)).run()?;
/// # Ok::<(), trine::supervisor::SupervisorError>(())
/// ```
pub fn supervisor() -> Supervisor {
    Supervisor(Blueprint {
        strategy: Strategy::default(),
        intensity: (3, Duration::from_secs(5)),
        backoff: Backoff::default(),
        children: Vec::new(),
    })
}

/// Children, and the rules for their restarts; see [`supervisor()`] and the [module](self).
#[must_use = "a supervisor does nothing until `run` or `start`"]
pub struct Supervisor(Blueprint);

impl Supervisor {
    /// Sets which children are restarted with one that has failed; [`Strategy::OneForOne`] by
    /// default.
    ///
    /// A child that is done (see [`Restart`]) is not started again by the failure of another. A
    /// [`Temporary`](Restart::Temporary) child that is ended for the sake of another is done, too.
    pub fn strategy(mut self, strategy: Strategy) -> Supervisor {
        self.0.strategy = strategy;
        self
    }

    /// Sets the number of restarts that are allowed within a time; 3 within 5 seconds by default.
    /// One more, and the supervisor ends all children and fails.
    ///
    /// A failure that restarts several children counts once. `usize::MAX` is no limit; a pause
    /// ([`backoff`](Supervisor::backoff)) then keeps a child that always fails from using up a core.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::Child;
    ///
    /// let child = Child::coroutine(|_| Err::<(), _>("no luck"));
    /// let error = trine::supervisor().intensity(9, Duration::MAX).child("unlucky", child).run();
    /// assert!(error.unwrap_err().gave_up());
    /// ```
    pub fn intensity(mut self, max_restarts: usize, within: Duration) -> Supervisor {
        self.0.intensity = (max_restarts, within);
        self
    }

    /// Sets the pause before a child is restarted; none by default.
    ///
    /// The first failure of a child has no pause. The second in a row has `first`, and each further
    /// one twice as much, up to `most`. A random part of at most a half is taken off, so that
    /// children do not come back all at once. A child that has run for `most` begins anew.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::{Child, Restart};
    ///
    /// let child = Child::coroutine(|context| match context.restarts() {
    ///     0 | 1 => Err("no luck"),
    ///     _ => Ok(()),
    /// });
    /// trine::supervisor()
    ///     .backoff(Duration::from_millis(1), Duration::from_secs(1))
    ///     .child("third try", child.restart(Restart::Transient))
    ///     .run()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    pub fn backoff(mut self, first: Duration, most: Duration) -> Supervisor {
        self.0.backoff = Backoff { first, most };
        self
    }

    /// Adds a child. Children start in the order in which they are added.
    ///
    /// # Panics
    ///
    /// If there is a child of that name, or the name holds a NUL byte.
    #[track_caller]
    pub fn child(mut self, name: impl Into<Arc<str>>, child: Child) -> Supervisor {
        let name = name.into();
        assert!(
            !name.contains('\0'),
            "the name of a child holds a NUL byte, which no thread's may"
        );
        let is_taken = self.0.children.iter().any(|(taken, _)| *taken == name);
        assert!(!is_taken, "there are two children named `{name}`; `restart` needs to know which");
        self.0.children.push((name, child));
        self
    }

    /// Starts the children, and supervises them until none is to run any more.
    ///
    /// Parks the calling coroutine, or the thread if there is none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::Child;
    /// use trine::time;
    ///
    /// let child = Child::process((), |_, ()| time::sleep(Duration::MAX));
    /// let supervisor = trine::supervisor().child("sleeper", child);
    /// let ended = time::timeout(Duration::from_millis(50), || supervisor.run());
    /// assert!(ended.unwrap().unwrap_err().is_timeout());
    /// ```
    ///
    /// # Errors
    ///
    /// The children were restarted too often ([`intensity`](Supervisor::intensity)), or the caller
    /// was cancelled or its time was up. All children have ended before.
    pub fn run(self) -> Result<(), SupervisorError> {
        engine::run(&self.0, &Shared::new(&self.0), None)
    }

    /// Starts the children and supervises them in a coroutine.
    ///
    /// ```
    /// use trine::supervisor::{Child, Restart};
    ///
    /// let child = Child::process((), |_, ()| ()).restart(Restart::Transient);
    /// let supervisor = trine::supervisor().child("once", child).start();
    /// supervisor.join()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn start(self) -> Handle {
        let shared = Arc::new(Shared::new(&self.0));
        let served = Arc::clone(&shared);
        let builder = coroutine::Builder::new().name("supervisor");
        let run = move || engine::run(&self.0, &served, None);
        Handle { shared, task: Some(builder.spawn_at(Location::caller(), run)) }
    }
}

impl Child {
    /// Makes a child that is a supervisor, in a coroutine. It is ready when all its children are.
    /// When it fails, it has ended them, and starts them again if it is restarted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::{Child, Strategy};
    /// use trine::time;
    ///
    /// let sleep = || Child::coroutine(|_| time::sleep(Duration::MAX));
    /// let pair = trine::supervisor().strategy(Strategy::OneForAll);
    /// let pair = pair.child("reader", sleep()).child("writer", sleep());
    /// let all = trine::supervisor().child("pair", Child::supervisor(pair)).child("log", sleep());
    /// all.start().stop()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn supervisor(supervisor: Supervisor) -> Child {
        let run = move |context: &Context| {
            let parent = Some((context, context.health()));
            engine::run(&supervisor.0, &Shared::new(&supervisor.0), parent)
        };
        Child::coroutine(run).reports_ready()
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("strategy", &self.0.strategy)
            .field("children", &self.0.children)
            .finish_non_exhaustive()
    }
}
