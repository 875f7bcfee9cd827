//! The argument of a child's function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reports::{Flags, Pipe, Reporter};

/// The first argument of a child's function: it reports to the supervisor.
///
/// ```
/// use trine::supervisor::{Child, Restart};
///
/// let child = Child::thread(|context| {
///     context.ready(); // the next child starts
///     assert_eq!((context.name(), context.restarts()), ("first", 0));
/// });
/// let child = child.restart(Restart::Transient).reports_ready();
/// trine::supervisor().child("first", child).run()?;
/// # Ok::<(), trine::supervisor::SupervisorError>(())
/// ```
pub struct Context {
    name: Arc<str>,
    restarts: u64,
    /// The interval in which the supervisor expects a sign of life of a coroutine or thread.
    health: Option<Duration>,
    way: Way,
}

/// The way of the reports to the supervisor.
enum Way {
    /// The supervisor waits for no report.
    None,
    Flags(Arc<Flags>),
    Pipe(Pipe),
}

impl Context {
    /// Makes the context of a coroutine or thread.
    pub(super) fn of_flags(
        name: Arc<str>,
        restarts: u64,
        health: Option<Duration>,
        flags: Arc<Flags>,
    ) -> Context {
        Context { name, restarts, health, way: Way::Flags(flags) }
    }

    pub(super) fn health(&self) -> Option<Duration> {
        self.health
    }

    /// Reports that the child is ready: the children after it may start. It is a sign of life, too.
    /// Later calls do nothing.
    ///
    /// The supervisor waits for it if the child is made with
    /// [`reports_ready`](super::Child::reports_ready).
    pub fn ready(&self) {
        match &self.way {
            Way::None => {}
            Way::Flags(flags) => flags.report_ready(),
            Way::Pipe(pipe) => pipe.report_ready(),
        }
    }

    /// Reports that the child is alive; see [`health`](super::Child::health). It may be called as
    /// often as is convenient: a call costs a store, in a process a look at the clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::{Child, Restart};
    ///
    /// let child = Child::process(1000, |context, items: u32| {
    ///     for _item in 0..items {
    ///         context.alive(); // … and a part of the work
    ///     }
    /// });
    /// let child = child.health(Duration::from_secs(10)).restart(Restart::Transient);
    /// trine::supervisor().child("worker", child).run()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    pub fn alive(&self) {
        match &self.way {
            Way::None => {}
            Way::Flags(flags) => flags.report_alive(),
            Way::Pipe(pipe) => pipe.report_alive(),
        }
    }

    /// Returns the name of the child.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of runs that the child has had before this one.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Context");
        debug.field("name", &self.name).field("restarts", &self.restarts);
        debug.finish_non_exhaustive()
    }
}

/// A context on its way to a process.
#[derive(Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) name: String,
    pub(super) restarts: u64,
    pub(super) reporter: Option<Reporter>,
}

impl From<Sent> for Context {
    fn from(sent: Sent) -> Context {
        let way = sent.reporter.map_or(Way::None, |reporter| Way::Pipe(reporter.into()));
        Context { name: sent.name.into(), restarts: sent.restarts, health: None, way }
    }
}
