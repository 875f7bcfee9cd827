//! A task on the master's side: the call as it will cross, and the one right to end the task.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::record::{Answer, Record, Submitted};
use crate::process::pool::chunk::Gather;
use crate::process::pool::dispatcher::Dispatcher;
use crate::process::pool::link::WorkerLink;
use crate::process::service::alarms::{Key, Whom};
use crate::process::service::{self, Service};
use crate::process::wire::{FrameKind, Head, REST};
use crate::sys::signal::SIGKILL;
use crate::sys::signal::sigterm::SIGTERM;
use crate::task::slot;
use crate::task::{Cause, Printed, TaskError};

/// To how many workers a task is given that die before they begin it.
const MOST_HANDED: u32 = 5;

/// How long an answer may be on its way from a worker that has begun its next task.
const PUT_OFF: Duration = Duration::from_millis(100);

/// A task that has not ended. Exactly one exists for each; it moves from queue to worker and back, and so keeps what few
/// tasks have out of the way.
pub(in crate::process) struct Job {
    /// `None` once the task has ended.
    task: Option<Arc<dyn Submitted>>,
    /// The `RUN` frame; kept until the end, as another worker may need it.
    call: Option<Arc<Vec<u8>>>,
    /// The descriptors that belong to it.
    pub(in crate::process) descriptors: Descriptors,
    /// The answers that have come, if it is a task of many arguments.
    pub(in crate::process) many: Option<Box<Gather>>,
    /// Where it stands in the ring of the worker that has it; `None` if it came through the socket.
    pub(in crate::process) place: Option<u64>,
    /// A `SETUP` frame for the worker that is forked for this task.
    pub(in crate::process) setup: Option<Arc<Vec<u8>>>,
    /// To how many workers it was given.
    pub(in crate::process) handed: u32,
    /// The item that has crashed last, and for which time it runs now.
    tries: (u32, u32),
    /// When the worker that has it was given it, and when it has begun there, as far as its limit wants to know.
    pub(in crate::process) handed_at: Option<Instant>,
    pub(in crate::process) begun_at: Option<Instant>,
    /// When its time is up.
    pub(in crate::process) deadline: Option<Instant>,
    /// How long it may go on after it was asked to end, if it is not as its dispatcher says.
    pub(in crate::process) grace: Option<Duration>,
    /// What it has printed, if that is captured; known when it has failed.
    pub(in crate::process) printed: Option<Box<Printed>>,
    /// That it was asked to end, at the worker that has it.
    stop: Option<Box<Stop>>,
}

/// Those of one task; `None` if there are none.
pub(in crate::process) type Descriptors = Option<Arc<Vec<OwnedFd>>>;

/// What becomes of a task whose worker has died.
#[must_use]
pub(in crate::process) enum Fate {
    /// Another worker is to have it.
    Goes,
    /// It runs once more, for the time that this says.
    RunsAgain(u32),
    Ends(Cause),
}

/// A task was asked to end.
struct Stop {
    /// What it ends with.
    cause: Cause,
    /// When its worker is killed.
    kill_at: Option<Instant>,
    /// Whether it was put off.
    put_off: bool,
    killed: bool,
}

impl Job {
    /// # Safety
    ///
    /// Called once for each task: a job is the one producer of its outcome.
    pub(in crate::process) unsafe fn new(task: Arc<dyn Submitted>) -> Job {
        Job {
            task: Some(task),
            call: None,
            descriptors: None,
            many: None,
            place: None,
            setup: None,
            handed: 0,
            tries: (0, 1),
            handed_at: None,
            begun_at: None,
            deadline: None,
            grace: None,
            printed: None,
            stop: None,
        }
    }

    /// Enters what is to be sent: the frame, whose arguments are there, and what goes with it.
    pub(in crate::process) fn set_call(&mut self, mut frame: Vec<u8>, descriptors: Vec<OwnedFd>) {
        Head::of(FrameKind::Run, self.id()).write(&mut frame, descriptors.len());
        self.call = Some(Arc::new(frame));
        self.descriptors = (!descriptors.is_empty()).then(|| Arc::new(descriptors));
    }

    /// The `RUN` frame.
    pub(in crate::process) fn call(&self) -> &Arc<Vec<u8>> {
        self.call.as_ref().expect("set before it is submitted")
    }

    fn task(&self) -> &Arc<dyn Submitted> {
        self.task.as_ref().expect("the task has not ended: `settle` consumes the job")
    }

    pub(in crate::process) fn record(&self) -> &Record {
        self.task().record()
    }

    /// The task's number.
    pub(in crate::process) fn id(&self) -> u64 {
        self.record().id()
    }

    /// Notes who has the task, for good.
    pub(in crate::process) fn submitted_to(&self, dispatcher: &Arc<Dispatcher>) {
        self.record().submitted_to.get_or_init(|| Arc::clone(dispatcher));
    }

    /// Notes that a worker has the task now.
    pub(in crate::process) fn given_to(&self, link: &WorkerLink) {
        self.record().at_post.store(link.id, Relaxed);
    }

    /// Notes that the worker has no other task before it.
    pub(in crate::process) fn is_next(&self, link: &WorkerLink) {
        let slot = self.record().core().entry.slot;
        slot.set_os_id(link.pid);
        slot.set_state(slot::RUNNABLE);
    }

    /// Notes that no worker has the task any more.
    pub(in crate::process) fn taken_back(&mut self) {
        (self.handed_at, self.begun_at) = (None, None);
        self.record().at_post.store(0, Relaxed);
        let slot = self.record().core().entry.slot;
        slot.set_state(slot::NEW);
        slot.set_os_id(0);
    }

    /// How many tasks it counts as: each argument is one.
    pub(in crate::process) fn weight(&self) -> u64 {
        self.many.as_ref().map_or(1, |many| many.len() as u64)
    }

    /// Whether the worker has an answer to give for this item.
    pub(in crate::process) fn awaits(&self, item: u32) -> bool {
        match &self.many {
            Some(many) => many.awaits(item),
            None => item == 0 || item == REST,
        }
    }

    /// The first item that is still to be run.
    pub(in crate::process) fn first_item(&self) -> u32 {
        self.many.as_ref().map_or(0, |many| many.first_missing())
    }

    /// Takes the value of an item that is awaited, and ends the task if it was the last.
    pub(in crate::process) fn value(
        &mut self,
        head: &Head,
        value: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Option<Answer> {
        let Some(many) = &mut self.many else {
            return Some(Answer::One(value.to_vec(), descriptors));
        };
        many.value(head.item, value, descriptors);
        self.answer(head.nanos)
    }

    /// Notes that an item that is awaited, or the rest of them, has failed: what the task ends with, if that was
    /// the last.
    pub(in crate::process) fn item_failed(
        &mut self,
        item: u32,
        cause: Cause,
    ) -> Option<Result<Answer, TaskError>> {
        let error = self.error(cause, item);
        let Some(many) = &mut self.many else { return Some(Err(error)) };
        many.failed(item, &error);
        self.answer(0).map(Ok)
    }

    /// What a task of many arguments ends with, if it has all answers.
    pub(in crate::process) fn answer(&mut self, nanos: u32) -> Option<Answer> {
        let many = self.many.as_mut().filter(|many| many.is_complete())?;
        Some(Answer::Many(many.take(nanos)))
    }

    /// Has the service look at the task when its time is up; under the dispatcher's lock.
    pub(in crate::process) fn watch_deadline(&self, service: &Service) {
        if let Some(deadline) = self.deadline {
            service.set_alarm(deadline, Whom::Task(Arc::clone(self.task())));
        }
    }

    /// Notes that the task was asked to end with `cause`, and has the service look again when
    /// `grace` is over; under the dispatcher's lock. `false` if it was asked before.
    pub(in crate::process) fn stop(
        &mut self,
        cause: Cause,
        grace: Duration,
        service: &Service,
    ) -> bool {
        if self.stop.is_some() {
            return false;
        }
        let kill_at = Instant::now().checked_add(self.grace.unwrap_or(grace));
        if let Some(kill_at) = kill_at {
            service.set_alarm(kill_at, Whom::Task(Arc::clone(self.task())));
        }
        self.stop = Some(Box::new(Stop { cause, kill_at, put_off: false, killed: false }));
        true
    }

    /// Whether the task was asked to end.
    pub(in crate::process) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether it was asked to end, and its grace is over.
    pub(in crate::process) fn is_due(&self, now: Instant) -> bool {
        let kill_at = self.stop.as_ref().and_then(|stop| stop.kill_at);
        kill_at.is_some_and(|kill_at| kill_at <= now)
    }

    /// Has the service look once more, a little later; `false` if it has done so before. Under the dispatcher's lock.
    pub(in crate::process) fn put_off(&mut self, now: Instant, service: &Service) -> bool {
        let task = Arc::clone(self.task());
        let Some(stop) = self.stop.as_mut().filter(|stop| !stop.put_off) else { return false };
        let kill_at = now + PUT_OFF;
        (stop.kill_at, stop.put_off) = (Some(kill_at), true);
        service.set_alarm(kill_at, Whom::Task(task));
        true
    }

    /// Notes that its worker is killed, with all that it has.
    pub(in crate::process) fn killed(&mut self) {
        if let Some(stop) = &mut self.stop {
            stop.killed = true;
        }
    }

    /// Has the worker told again that the task is to end: as long as it had another one before it, that one's
    /// number stood on the board.
    pub(in crate::process) fn tell_of_stop(&self, link: &WorkerLink) {
        if let Some(stop) = &self.stop {
            link.end_task(self.id(), &stop.cause);
        }
    }

    /// What the task ends with when its worker says that it failed with `cause`.
    pub(in crate::process) fn cause_of_failure(&self, cause: Cause) -> Cause {
        match &self.stop {
            // The worker does not know the reason.
            Some(stop) if matches!(cause, Cause::Cancelled { .. }) => stop.cause.clone(),
            _ => cause,
        }
    }

    /// What becomes of the task when its worker has died of `cause`. `begun` is the item that the worker was at;
    /// `is_first` that it would have begun this task next; an item runs again up to `retries` times.
    pub(in crate::process) fn died_with_worker(
        &mut self,
        begun: Option<u32>,
        is_first: bool,
        cause: &Cause,
        retries: u32,
    ) -> Fate {
        if let Some(stop) = &self.stop
            && (begun.is_none() || stop.is_behind(cause))
        {
            return Fate::Ends(stop.cause.clone());
        }
        match (self.goes_on(begun, is_first, cause, retries), &self.stop) {
            // The item that crashed has its answer; the others are not to run any more.
            (Fate::Goes, Some(stop)) => Fate::Ends(stop.cause.clone()),
            (fate, _) => fate,
        }
    }

    fn goes_on(&mut self, begun: Option<u32>, is_first: bool, cause: &Cause, retries: u32) -> Fate {
        self.handed += u32::from(is_first);
        if let Some(many) = &mut self.many {
            many.forget_behind_the_first();
        }
        match begun {
            None if self.handed < MOST_HANDED => {
                if self.many.is_some() {
                    self.go_on_at(self.first_item());
                }
                Fate::Goes
            }
            None => Fate::Ends(cause.clone()),
            Some(item) if !self.awaits(item) => {
                // Between two items.
                self.handed += 1;
                if self.handed >= MOST_HANDED {
                    return Fate::Ends(cause.clone());
                }
                self.go_on_at(self.first_item());
                Fate::Goes
            }
            Some(item) => self.crashed_at(item, cause, retries),
        }
    }

    fn crashed_at(&mut self, item: u32, cause: &Cause, retries: u32) -> Fate {
        let attempt = self.attempt(item);
        if attempt <= retries && cause.is_crash() && self.stop.is_none() {
            self.printed = None;
            self.tries = (item, attempt + 1);
            if self.many.is_some() {
                self.go_on_at(self.first_item());
            }
            return Fate::RunsAgain(attempt + 1);
        }
        if self.many.is_none() || item == REST {
            return Fate::Ends(cause.clone());
        }
        let error = self.error(cause.clone(), item);
        let many = self.many.as_mut().expect("seen above");
        many.failed(item, &error);
        if many.is_complete() {
            return Fate::Ends(cause.clone());
        }
        self.go_on_at(self.first_item());
        Fate::Goes
    }

    /// What is told of an item that has failed.
    fn error(&mut self, cause: Cause, item: u32) -> TaskError {
        let error = self.record().error(cause).with_attempt(self.attempt(item));
        error.with_printed(self.printed.take().map(|printed| *printed))
    }

    /// For which time the item runs, or has run.
    fn attempt(&self, item: u32) -> u32 {
        let (last, attempt) = self.tries;
        if item == last || self.many.is_none() { attempt } else { 1 }
    }

    /// Notes how far the task has come, for after its end.
    pub(in crate::process) fn set_progress(&self, progress: f64) {
        self.record().core().entry.slot.set_progress(progress);
    }

    /// Notes what the board says of how far the task has come.
    pub(in crate::process) fn keep_progress(&self, link: &WorkerLink) {
        if let Some(progress) = link.place.progress(self.id()) {
            self.set_progress(progress);
        }
    }

    /// Has the next worker begin at this item.
    fn go_on_at(&mut self, item: u32) {
        let head = Head { item, ..Head::of(FrameKind::Run, self.id()) };
        let descriptors = self.descriptors.as_ref().map_or(0, |descriptors| descriptors.len());
        if let Some(call) = &mut self.call {
            let call: &mut Vec<u8> = Arc::make_mut(call);
            head.write(call, descriptors);
        }
    }

    /// Ends the task; what has no answer yet has none.
    pub(in crate::process) fn fail(mut self, cause: Cause) {
        if let Some(result) = self.item_failed(REST, cause) {
            self.end(result);
        }
    }

    /// Ends the task.
    pub(in crate::process) fn settle(mut self, result: Result<Answer, TaskError>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<Answer, TaskError>) {
        let Some(task) = self.task.take() else { return };
        let kill_at = self.stop.as_ref().and_then(|stop| stop.kill_at);
        let alarms = || [self.deadline, kill_at].into_iter().flatten();
        // Before it has a dispatcher it has no alarms, and the service need not exist.
        if alarms().next().is_some()
            && task.record().dispatcher().is_some()
            && let Ok(service) = service::get()
        {
            let key = Key::Task(task.record().id());
            alarms().for_each(|at| service.unset_alarm(at, key));
        }
        if let Some(dispatcher) = task.record().dispatcher() {
            dispatcher.note_end(&result);
        }
        // SAFETY: the job is the one producer, and has just given up its task for good.
        unsafe { task.record().core().complete(result) };
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
            let info = self.record().core().entry.info();
            self.end(Err(TaskError::new(Cause::Lost { reason }, Some(info))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::process::pool::chunk::ChunkRemote;
    use crate::process::service::connection::cause_of;
    use crate::process::wire;
    use crate::process::worker::limits::Evidence;
    use crate::sys::process::child::Ended;

    #[test]
    fn a_cancelled_task_whose_worker_crashes_is_not_given_to_another() {
        let record = Record::new(None, Location::caller());
        let task = Arc::new(ChunkRemote::<()>::new(record));
        // SAFETY: a new task, and the one job made of it.
        let mut job = unsafe { Job::new(task.clone()) };
        job.many = Some(Box::new(Gather::new(3)));
        job.set_call(wire::begin(FrameKind::Run, job.id()), Vec::new());
        let crash = cause_of(Ended::Exited(7), Evidence::default());
        assert!(matches!(job.died_with_worker(Some(0), true, &crash, 0), Fate::Goes));
        let cause = Cause::Cancelled { reason: None };
        job.stop = Some(Box::new(Stop { cause, kill_at: None, put_off: false, killed: false }));
        let fate = job.died_with_worker(Some(1), true, &crash, 0);
        let Fate::Ends(cause) = fate else { panic!("it would go on") };
        job.fail(cause);
        // SAFETY: there is no other consumer.
        let answer = unsafe { task.record.core().outcome.take() };
        let Some(Ok(Answer::Many(answer))) = answer else { panic!("{answer:?}") };
        let ends: Vec<_> = answer.errors().map(|error| error.is_cancelled()).collect();
        assert_eq!(ends, [false, false, true]);
    }
}
