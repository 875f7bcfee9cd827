//! A task on the master's side: the call as it will cross, and the one right to end the task.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::crew::Crew;
use super::service::{self, Service};
use crate::sys::signal::SIGKILL;
use crate::sys::termination::SIGTERM;
use crate::task::registry::{self, Slot};
use crate::task::{Cause, CodecStage, Core, Handle, Kind, Printed, TaskError, failure};

/// To how many workers a task is given that die before they begin it.
const MOST_HANDED: u32 = 5;

/// What a `Task` of a process holds on to. The result waits encoded: it is decoded by the joiner,
/// on whose thread an `R` may live.
pub(super) struct Remote<R> {
    pub(super) record: Record,
    result: PhantomData<fn() -> R>,
}

/// A [`Remote`] without the result's type.
pub(super) struct Record {
    core: Core<Vec<u8>>,
    /// Who has the task; none before it is submitted.
    crew: OnceLock<Arc<Crew>>,
    /// Where it stands in the crew's queue, or stood there last; used under the crew's lock.
    position: AtomicU64,
}

impl<R> Remote<R> {
    /// Enters the task in the registry.
    pub(super) fn new(name: Option<Arc<str>>, location: &'static Location<'static>) -> Remote<R> {
        let core = Core::new(Kind::Process, name, location);
        let record = Record { core, crew: OnceLock::new(), position: AtomicU64::new(0) };
        Remote { record, result: PhantomData }
    }
}

impl Record {
    /// The task's number.
    pub(super) fn id(&self) -> u64 {
        self.core.entry.id().get()
    }

    pub(super) fn crew(&self) -> Option<&Arc<Crew>> {
        self.crew.get()
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Relaxed)
    }

    pub(super) fn set_position(&self, position: u64) {
        self.position.store(position, Relaxed);
    }

    /// Calls code of the user (an encoder, a decoder) on behalf of the task; a panic is the task's.
    pub(super) fn call<T>(&self, function: impl FnOnce() -> T) -> Result<T, TaskError> {
        in_the_name_of(&self.core, function)
    }
}

impl<R: DeserializeOwned + Send + 'static> Handle for Remote<R> {
    type Raw = Vec<u8>;
    type Value = R;

    fn core(&self) -> &Core<Vec<u8>> {
        &self.record.core
    }

    fn finish(&self, raw: Vec<u8>) -> Result<R, TaskError> {
        self.record.call(|| postcard::from_bytes(&raw))?.map_err(|error| {
            let stage = CodecStage::DecodeResult;
            let cause = Cause::Codec { stage, message: error.to_string() };
            TaskError::new(cause, Some(self.record.core.entry.info()))
        })
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        if let Some(crew) = self.record.crew()
            && !self.record.core.outcome.is_done()
        {
            crew.stop(&self.record, Cause::Cancelled { reason });
        }
    }
}

fn in_the_name_of<T>(core: &Core<Vec<u8>>, function: impl FnOnce() -> T) -> Result<T, TaskError> {
    /// Gives the caller its own name back.
    struct Caller(Option<&'static Slot>);
    impl Drop for Caller {
        fn drop(&mut self) {
            registry::set_current(self.0);
        }
    }
    let _caller = Caller(registry::current());
    registry::set_current(Some(core.entry.slot));
    failure::catch(|| Some(core.entry.info()), function)
}

/// A [`Remote`] that can be shared without the result's type.
pub(super) trait Submitted: Send + Sync {
    fn record(&self) -> &Record;
}

impl<R: DeserializeOwned + Send + 'static> Submitted for Remote<R> {
    fn record(&self) -> &Record {
        &self.record
    }
}

/// A task that has not ended. Exactly one exists for each; it moves from queue to worker and back.
pub(super) struct Job {
    /// `None` once the task has ended.
    task: Option<Arc<dyn Submitted>>,
    /// The `RUN` frame; kept until the end, as another worker may need it.
    pub(super) call: Arc<Vec<u8>>,
    /// A `SETUP` frame for the worker that is forked for this task.
    pub(super) setup: Option<Arc<Vec<u8>>>,
    /// To how many workers it was given.
    pub(super) handed: u32,
    /// When its time is up.
    pub(super) deadline: Option<Instant>,
    /// How long it may go on after it was asked to end, if it is not as its crew says.
    pub(super) grace: Option<Duration>,
    /// What it has printed, if that is captured; known when it has failed.
    pub(super) printed: Option<Printed>,
    /// That it was asked to end, at the worker that has it.
    stop: Option<Stop>,
}

/// A task was asked to end.
struct Stop {
    /// What it ends with.
    cause: Cause,
    /// When its worker is killed.
    kill_at: Option<Instant>,
    killed: bool,
}

impl Job {
    /// # Safety
    ///
    /// Called once for each task: a job is the one producer of its outcome.
    pub(super) unsafe fn new<R: DeserializeOwned + Send + 'static>(task: Arc<Remote<R>>) -> Job {
        Job {
            task: Some(task),
            call: Arc::default(),
            setup: None,
            handed: 0,
            deadline: None,
            grace: None,
            printed: None,
            stop: None,
        }
    }

    fn task(&self) -> &Arc<dyn Submitted> {
        self.task.as_ref().expect("the task has not ended: `settle` consumes the job")
    }

    pub(super) fn record(&self) -> &Record {
        self.task().record()
    }

    /// The task's number.
    pub(super) fn id(&self) -> u64 {
        self.record().id()
    }

    /// Notes who has the task, for good.
    pub(super) fn submitted_to(&self, crew: &Arc<Crew>) {
        self.record().crew.get_or_init(|| Arc::clone(crew));
    }

    /// Notes that the process `pid` has the task now.
    pub(super) fn given_to(&mut self, pid: u32) {
        self.handed += 1;
        let slot = self.record().core.entry.slot;
        slot.set_os_id(pid);
        slot.set_state(registry::RUNNABLE);
    }

    /// Notes that no process has the task any more.
    pub(super) fn taken_back(&self) {
        let slot = self.record().core.entry.slot;
        slot.set_state(registry::NEW);
        slot.set_os_id(0);
    }

    /// Has the service look at the task when its time is up; under the crew's lock.
    pub(super) fn watch_deadline(&self, service: &Service) {
        if let Some(deadline) = self.deadline {
            service.set_alarm(deadline, Arc::clone(self.task()));
        }
    }

    /// Notes that the task was asked to end with `cause`, and has the service look again when
    /// `grace` is over; under the crew's lock. `false` if it was asked before.
    pub(super) fn stop(&mut self, cause: Cause, grace: Duration, service: &Service) -> bool {
        if self.stop.is_some() {
            return false;
        }
        let kill_at = Instant::now().checked_add(self.grace.unwrap_or(grace));
        if let Some(kill_at) = kill_at {
            service.set_alarm(kill_at, Arc::clone(self.task()));
        }
        self.stop = Some(Stop { cause, kill_at, killed: false });
        true
    }

    /// Whether the task was asked to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Notes that its worker is killed for it, if that is due.
    pub(super) fn kill_if_due(&mut self, now: Instant) -> bool {
        let due = |stop: &&mut Stop| stop.kill_at.is_some_and(|kill_at| kill_at <= now);
        let Some(stop) = self.stop.as_mut().filter(due) else { return false };
        stop.killed = true;
        true
    }

    /// Whether its worker was killed for it.
    pub(super) fn is_killed(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.killed)
    }

    /// What the task ends with when its worker says that it failed with `cause`.
    pub(super) fn cause_of_failure(&self, cause: Cause) -> Cause {
        match &self.stop {
            // The worker does not know the reason.
            Some(stop) if matches!(cause, Cause::Cancelled { .. }) => stop.cause.clone(),
            _ => cause,
        }
    }

    /// What the task ends with when its worker has died of `cause`; `None` if another worker is to
    /// have it.
    pub(super) fn cause_of_death(&self, begun: bool, cause: &Cause) -> Option<Cause> {
        match &self.stop {
            Some(stop) if !begun || stop.is_behind(cause) => Some(stop.cause.clone()),
            None if !begun && self.handed < MOST_HANDED => None,
            _ => Some(cause.clone()),
        }
    }

    /// Ends the task without a value.
    pub(super) fn fail(mut self, cause: Cause) {
        let printed = self.printed.take();
        let error = TaskError::new(cause, Some(self.record().core.entry.info()));
        self.settle(Err(error.with_printed(printed)));
    }

    /// Ends the task.
    pub(super) fn settle(mut self, result: Result<Vec<u8>, TaskError>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<Vec<u8>, TaskError>) {
        let Some(task) = self.task.take() else { return };
        let kill_at = self.stop.as_ref().and_then(|stop| stop.kill_at);
        let alarms = || [self.deadline, kill_at].into_iter().flatten();
        // Before it has a crew it has no alarms, and the service need not exist.
        if alarms().next().is_some()
            && task.record().crew().is_some()
            && let Ok(service) = service::get()
        {
            alarms().for_each(|at| service.unset_alarm(at, task.record().id()));
        }
        // SAFETY: the job is the one producer, and has just given up its task for good.
        unsafe { task.record().core.complete(result) };
    }
}

impl Stop {
    /// Whether a worker that died so died of having been asked to end.
    fn is_behind(&self, cause: &Cause) -> bool {
        match cause {
            Cause::Signaled { signal, .. } => {
                *signal == SIGTERM || (*signal == SIGKILL && self.killed)
            }
            _ => false,
        }
    }
}

impl Drop for Job {
    /// No path of this crate drops a job that has not ended; if one did, nobody may wait for ever.
    fn drop(&mut self) {
        if self.task.is_some() {
            let reason = "trine has dropped the task; this is a mistake in trine".into();
            let info = self.record().core.entry.info();
            self.end(Err(TaskError::new(Cause::Lost { reason }, Some(info))));
        }
    }
}
