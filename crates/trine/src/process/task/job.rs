//! A task on the master's side: the call as it will cross, and the single right to end the task.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gather::Gather;
use super::record::{Answer, Record, Submitted};
use crate::process::capsule::store::{CapsulePath, Pending};
use crate::process::wire::{FrameKind, Head, REST};
use crate::sys::io::arrived::Arrived;
use crate::sys::signal::SIGKILL;
use crate::sys::signal::sigterm::SIGTERM;
use crate::task::slot;
use crate::task::{Cause, Printed, TaskError};

/// The number of workers that may die before beginning a task until the task fails.
const MOST_HANDED: u32 = 5;

/// The time allowed for a reply from a worker that has begun its next task.
const PUT_OFF: Duration = Duration::from_millis(100);

/// A task that has not ended. Exactly one exists for each task. It moves from queue to worker and
/// back, so it keeps behind pointers what few tasks have.
pub(in crate::process) struct Job {
    /// `None` once the task has ended.
    task: Option<Arc<dyn Submitted>>,
    /// The `RUN` frame; kept until the end, as another worker may need it.
    call: Option<Arc<Vec<u8>>>,
    /// The descriptors that belong to the frame.
    pub(in crate::process) descriptors: Descriptors,
    /// The replies received so far, for a task of many arguments.
    pub(super) items: Option<Box<Gather>>,
    /// The position in the ring of the worker that has it; `None` if it went through the socket.
    pub(in crate::process) ring_position: Option<u64>,
    /// A `SETUP` frame for the worker that is forked for this task.
    pub(in crate::process) setup: Option<Arc<Vec<u8>>>,
    /// The number of workers that it was handed to and that died before beginning it.
    handed: u32,
    /// The item that crashed last, and the number of its current run.
    tries: (u32, u32),
    /// The number of runs that an item may have, known from the second on.
    most_tries: u32,
    /// The item that its worker had begun when it was killed, for a task of many arguments.
    killed_at: Option<u32>,
    /// The moments at which it was handed to its worker and was begun there; set if it has a limit.
    pub(in crate::process) handed_at: Option<Instant>,
    pub(in crate::process) begun_at: Option<Instant>,
    /// The end of the time allowed to the task, including its wait in the queue.
    pub(in crate::process) deadline: Option<Instant>,
    /// The grace after a request to end; the dispatcher's if `None`.
    pub(in crate::process) grace: Option<Duration>,
    /// The captured output; set when the task has failed.
    pub(in crate::process) printed: Option<Box<Printed>>,
    /// The request to end, if its worker was sent one.
    stop: Option<Box<Stop>>,
    /// The time that the spawner gave the task, if it has a deadline.
    pub(super) allowed: Option<Duration>,
    /// The capsules to write at its end, if its pool keeps any.
    pub(in crate::process) capsules: Option<Box<Pending>>,
}

/// The descriptors of one task; `None` if there are none.
pub(in crate::process) type Descriptors = Option<Arc<Vec<OwnedFd>>>;

/// A moment at which the dispatcher looks at a task again: its deadline, or the end of its grace.
pub(in crate::process) type TaskAlarm = (Instant, Arc<dyn Submitted>);

/// The next step for a task whose worker has died.
#[must_use]
pub(in crate::process) enum Fate {
    /// Goes to another worker.
    Goes,
    /// Runs again; the number of the next run.
    RunsAgain(u32),
    Ends(Cause),
}

/// A request to end a task.
struct Stop {
    /// The cause that the task ends with.
    cause: Cause,
    /// The moment at which the worker is killed.
    kill_at: Option<Instant>,
    /// True if the kill was put off once.
    put_off: bool,
    killed: bool,
}

impl Job {
    /// # Safety
    ///
    /// Called once for each task: a job is the only producer of its outcome.
    pub(in crate::process) unsafe fn new(task: Arc<dyn Submitted>) -> Job {
        Job {
            task: Some(task),
            call: None,
            descriptors: None,
            items: None,
            ring_position: None,
            setup: None,
            handed: 0,
            tries: (0, 1),
            most_tries: 1,
            killed_at: None,
            handed_at: None,
            begun_at: None,
            deadline: None,
            grace: None,
            printed: None,
            stop: None,
            allowed: None,
            capsules: None,
        }
    }

    /// Sets the frame, complete with its arguments, and the descriptors that belong to it.
    pub(super) fn set_call(&mut self, mut frame: Vec<u8>, descriptors: Vec<OwnedFd>) {
        Head::of(FrameKind::Run, self.id()).write(&mut frame, descriptors.len());
        self.call = Some(Arc::new(frame));
        self.descriptors = (!descriptors.is_empty()).then(|| Arc::new(descriptors));
    }

    /// Returns the `RUN` frame.
    pub(in crate::process) fn call(&self) -> &Arc<Vec<u8>> {
        self.call.as_ref().expect("set before it is submitted")
    }

    fn task(&self) -> &Arc<dyn Submitted> {
        self.task.as_ref().expect("the task has not ended: `end` consumes the job")
    }

    pub(in crate::process) fn record(&self) -> &Record {
        self.task().record()
    }

    /// Returns the task's number.
    pub(in crate::process) fn id(&self) -> u64 {
        self.record().id()
    }

    /// Returns the alarm that looks at the task at its deadline.
    pub(in crate::process) fn deadline_alarm(&self) -> Option<TaskAlarm> {
        Some((self.deadline?, Arc::clone(self.task())))
    }

    /// Returns the moments at which alarms of the task may be set.
    pub(in crate::process) fn alarms(&self) -> impl Iterator<Item = Instant> + use<> {
        let kill_at = self.stop.as_ref().and_then(|stop| stop.kill_at);
        [self.deadline, kill_at].into_iter().flatten()
    }

    /// Notes that this worker has the task now.
    pub(in crate::process) fn given_to(&self, worker: u64) {
        self.record().set_worker(worker);
    }

    /// Notes that the worker with this process id has no other task before it.
    pub(in crate::process) fn is_next(&self, pid: u32) {
        let slot = self.record().core().entry.slot;
        slot.set_os_id(pid);
        slot.set_state(crate::task::slot::RUNNABLE);
    }

    /// Notes that no worker has the task any more.
    pub(in crate::process) fn taken_back(&mut self) {
        (self.handed_at, self.begun_at) = (None, None);
        self.record().set_worker(0);
        let slot = self.record().core().entry.slot;
        slot.set_state(slot::NEW);
        slot.set_os_id(0);
    }

    /// Returns the number of tasks that it counts as: each argument is one.
    pub(in crate::process) fn weight(&self) -> u64 {
        self.items.as_ref().map_or(1, |items| items.len() as u64)
    }

    /// Returns true if the worker may still reply to this item.
    pub(in crate::process) fn awaits(&self, item: u32) -> bool {
        match &self.items {
            Some(items) => items.awaits(item),
            None => item == 0 || item == REST,
        }
    }

    /// Returns the first item that has not run.
    pub(in crate::process) fn first_item(&self) -> u32 {
        self.items.as_ref().map_or(0, |items| items.first_missing())
    }

    /// Returns the number of descriptors of the replies received so far.
    pub(in crate::process) fn descriptors_received(&self) -> usize {
        self.items.as_ref().map_or(0, |items| items.descriptors())
    }

    /// Returns the head of its `RUN`: the first item to run, and the number of descriptors that the
    /// master has of the results before it.
    pub(in crate::process) fn run_head(&self) -> Head {
        let nanos = self.descriptors_received() as u32;
        Head { item: self.first_item(), nanos, ..Head::of(FrameKind::Run, self.id()) }
    }

    /// Adds the value of an awaited item. Returns the task's result if that was the last item.
    pub(in crate::process) fn value(
        &mut self,
        head: &Head,
        value: &[u8],
        descriptors: Arrived,
    ) -> Option<Answer> {
        let Some(items) = &mut self.items else {
            return Some(Answer::One(value.to_vec(), descriptors));
        };
        items.value(head.item, value, descriptors);
        self.answer(head.nanos)
    }

    /// Adds the failure of an awaited item, or of all awaited items for [`REST`]. Returns the
    /// task's result if that was the last item.
    pub(in crate::process) fn item_failed(
        &mut self,
        item: u32,
        cause: Cause,
    ) -> Option<Result<Answer, TaskError>> {
        if let Some(begun) = self.killed_at.take_if(|_| item == REST) {
            // Its capsule is not that of the others, which did not run.
            let error = self.error(cause.clone(), begun);
            self.items.iter_mut().for_each(|items| items.failed(begun, &error));
        }
        let error = self.error(cause, item);
        let Some(items) = &mut self.items else { return Some(Err(error)) };
        items.failed(item, &error);
        self.answer(0).map(Ok)
    }

    /// Returns the result of a task of many arguments, if all replies are there.
    pub(super) fn answer(&mut self, nanos: u32) -> Option<Answer> {
        let items = self.items.as_mut().filter(|items| items.is_complete())?;
        Some(Answer::Many(items.take(nanos)))
    }

    /// Notes that the task was asked to end with `cause`, and adds an alarm for the end of its
    /// grace. Returns false if it was asked before.
    pub(in crate::process) fn stop(
        &mut self,
        cause: Cause,
        grace: Duration,
        alarms: &mut Vec<TaskAlarm>,
    ) -> bool {
        if self.stop.is_some() {
            return false;
        }
        let kill_at = Instant::now().checked_add(self.grace.unwrap_or(grace));
        alarms.extend(kill_at.map(|at| (at, Arc::clone(self.task()))));
        self.stop = Some(Box::new(Stop { cause, kill_at, put_off: false, killed: false }));
        true
    }

    /// Returns true if the task was asked to end.
    pub(in crate::process) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Returns the cause that the task was asked to end with.
    pub(in crate::process) fn stop_cause(&self) -> Option<&Cause> {
        self.stop.as_ref().map(|stop| &stop.cause)
    }

    /// Returns true if the task was asked to end and its grace is over.
    pub(in crate::process) fn is_due(&self, now: Instant) -> bool {
        let kill_at = self.stop.as_ref().and_then(|stop| stop.kill_at);
        kill_at.is_some_and(|kill_at| kill_at <= now)
    }

    /// Puts the kill off once, and adds an alarm for it. Returns false if it was put off before.
    pub(in crate::process) fn put_off(
        &mut self,
        now: Instant,
        alarms: &mut Vec<TaskAlarm>,
    ) -> bool {
        let task = Arc::clone(self.task());
        let Some(stop) = self.stop.as_mut().filter(|stop| !stop.put_off) else { return false };
        let kill_at = now + PUT_OFF;
        (stop.kill_at, stop.put_off) = (Some(kill_at), true);
        alarms.push((kill_at, task));
        true
    }

    /// Notes that its worker is killed with all of its tasks.
    pub(in crate::process) fn killed(&mut self) {
        if let Some(stop) = &mut self.stop {
            stop.killed = true;
        }
    }

    /// Returns the cause of the task's failure when its worker reports `cause`.
    pub(in crate::process) fn cause_of_failure(&self, cause: Cause) -> Cause {
        match &self.stop {
            // The worker does not know the reason.
            Some(stop) if matches!(cause, Cause::Cancelled { .. }) => stop.cause.clone(),
            _ => cause,
        }
    }

    /// Decides the fate of the task when its worker has died of `cause`.
    ///
    /// `begun` is the item that the worker had begun. `is_first` says that the worker would have
    /// begun this task next. An item runs again up to `retries` times.
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
            let items = self.items.as_ref();
            let awaits = |item: &u32| *item != REST && items.is_some_and(|all| all.awaits(*item));
            self.killed_at = begun.filter(awaits);
            return Fate::Ends(stop.cause.clone());
        }
        match (self.goes_on(begun, is_first, cause, retries), &self.stop) {
            // The item that crashed has its error; the others do not run any more.
            (Fate::Goes, Some(stop)) => Fate::Ends(stop.cause.clone()),
            (fate, _) => fate,
        }
    }

    fn goes_on(&mut self, begun: Option<u32>, is_first: bool, cause: &Cause, retries: u32) -> Fate {
        self.handed += u32::from(is_first);
        if let Some(items) = &mut self.items {
            items.forget_behind_the_first();
        }
        match begun {
            None if self.handed < MOST_HANDED => {
                self.go_on();
                Fate::Goes
            }
            None => Fate::Ends(cause.clone()),
            Some(item) if !self.awaits(item) => {
                // The worker died between two items.
                self.handed += 1;
                if self.handed >= MOST_HANDED {
                    return Fate::Ends(cause.clone());
                }
                self.go_on();
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
            self.most_tries = retries.saturating_add(1);
            self.go_on();
            return Fate::RunsAgain(attempt + 1);
        }
        if self.items.is_none() || item == REST {
            return Fate::Ends(cause.clone());
        }
        let error = self.error(cause.clone(), item);
        let items = self.items.as_mut().expect("seen above");
        items.failed(item, &error);
        if items.is_complete() {
            return Fate::Ends(cause.clone());
        }
        self.go_on();
        Fate::Goes
    }

    /// Returns the error of an item that has failed, and takes the captured output for it.
    fn error(&mut self, cause: Cause, item: u32) -> TaskError {
        let attempt = self.attempt(item);
        let error = self.record().error(cause).with_attempt(attempt, self.most_tries);
        let error = error.with_printed(self.printed.take().map(|printed| *printed));
        let capsule = self.note_capsule(&error, item);
        error.with_capsule(capsule)
    }

    /// Notes the failure of an item that a worker has begun, if the pool keeps capsules.
    #[inline]
    fn note_capsule(&mut self, error: &TaskError, item: u32) -> Option<CapsulePath> {
        let capsules = self.capsules.as_mut()?;
        let record = self.task.as_ref()?.record();
        let call = self.call.as_ref().filter(|_| record.worker() != 0)?;
        capsules.note(error, (call, &self.descriptors), item, self.allowed)
    }

    /// Returns the number of the item's current or last run, from 1.
    fn attempt(&self, item: u32) -> u32 {
        let (last, attempt) = self.tries;
        if item == last || self.items.is_none() { attempt } else { 1 }
    }

    /// Keeps the task's progress, if it is known, for after its end.
    pub(in crate::process) fn keep_progress(&self, progress: Option<f64>) {
        if let Some(progress) = progress {
            self.record().core().entry.slot.set_progress(progress);
        }
    }

    /// Has the next worker begin at the first item that has not run.
    fn go_on(&mut self) {
        if self.items.is_none() {
            return;
        }
        let head = self.run_head();
        let descriptors = self.descriptors.as_ref().map_or(0, |descriptors| descriptors.len());
        if let Some(call) = &mut self.call {
            let call: &mut Vec<u8> = Arc::make_mut(call);
            head.write(call, descriptors);
        }
    }

    /// Ends a task that was not submitted: every item fails.
    ///
    /// A submitted task is ended by its dispatcher, which also counts it.
    pub(in crate::process) fn fail_unsubmitted(mut self, cause: Cause) {
        if let Some(result) = self.item_failed(REST, cause) {
            self.end(result);
        }
    }

    /// Ends the task and wakes its joiner.
    pub(in crate::process) fn end(mut self, result: Result<Answer, TaskError>) {
        self.complete(result);
    }

    fn complete(&mut self, result: Result<Answer, TaskError>) {
        let Some(task) = self.task.take() else { return };
        // Before the joiner is woken: it may hold the last end of a channel otherwise, and believe
        // that it has closed the channel by dropping it.
        self.descriptors = None;
        // SAFETY: the job is the only producer, and has just given up its task.
        unsafe { task.record().core().complete(result) };
    }
}

impl Stop {
    /// Returns true if a worker that died of `cause` died of the request to end.
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
    /// Ends a task that was dropped by mistake, so that its joiner does not wait forever. No path
    /// of this crate drops a job that has not ended: its room in the queue would be lost.
    fn drop(&mut self) {
        if self.task.is_some() {
            let reason = "trine has dropped the task; this is a mistake in trine".into();
            let info = self.record().core().entry.info();
            self.complete(Err(TaskError::new(Cause::Lost { reason }, Some(info))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::process::wire;

    #[test]
    fn a_cancelled_task_whose_worker_crashes_is_not_given_to_another() {
        let task = Arc::new(Record::new(None, Location::caller()));
        // SAFETY: a new task, and the only job made of it.
        let mut job = unsafe { Job::new(task.clone()) };
        job.items = Some(Box::new(Gather::new(3)));
        job.set_call(wire::begin(FrameKind::Run, job.id()), Vec::new());
        let crash = Cause::Exited { code: 7 };
        assert!(matches!(job.died_with_worker(Some(0), true, &crash, 0), Fate::Goes));
        let cause = Cause::Cancelled { reason: None };
        job.stop = Some(Box::new(Stop { cause, kill_at: None, put_off: false, killed: false }));
        let fate = job.died_with_worker(Some(1), true, &crash, 0);
        let Fate::Ends(cause) = fate else { panic!("it would go on") };
        job.fail_unsubmitted(cause);
        // SAFETY: there is no other consumer.
        let answer = unsafe { task.core().outcome.take() };
        let Some(Ok(Answer::Many(answer))) = answer else { panic!("{answer:?}") };
        let ends: Vec<_> = answer.errors().map(|error| error.is_cancelled()).collect();
        assert_eq!(ends, [false, false, true]);
    }
}
