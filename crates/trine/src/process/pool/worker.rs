//! The state of one worker, as the dispatcher knows it: the tasks that it was given, and how they
//! reach it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::deferred::{End, Received};
use super::link::WorkerLink;
use super::policy::Policy;
use crate::process::task::job::{Descriptors, Job, TaskAlarm};
use crate::process::task::value;
use crate::process::wire::board::Begun;
use crate::process::wire::ring::{self, Producer};
use crate::process::wire::rings::Words;
use crate::process::wire::{self, Failure, FrameKind, HEAD, Head, RECORD_HEAD, REST};
use crate::sys::io::Blocking;
use crate::sys::io::poll::Interest;
use crate::sys::io::socket::{self, MOST_DESCRIPTORS};
use crate::task::Cause;

/// A frame on its way out.
struct Outgoing {
    frame: Arc<Vec<u8>>,
    /// The number of bytes that were sent.
    sent: usize,
    /// The descriptors that go with its first byte.
    descriptors: Descriptors,
}

pub(super) struct WorkerState {
    pub(super) link: Arc<WorkerLink>,
    /// The tasks that it was given and has not replied to, in order.
    pub(super) jobs: VecDeque<Job>,
    /// Its ring of tasks.
    tasks: Option<Producer>,
    out: VecDeque<Outgoing>,
    /// True if the service waits for room to write.
    waits_for_room: bool,
    /// True if it is among the idle workers.
    pub(super) idle: bool,
    /// The moment at which it became idle; set if idle workers are dismissed.
    pub(super) idle_since: Option<Instant>,
    /// The moment by which it has to be ready.
    pub(super) ready_by: Option<Instant>,
    /// True if it was asked to end, or is being killed.
    pub(super) dismissed: bool,
    /// The moment by which it has to end after it was dismissed.
    pub(super) leaves_by: Option<Instant>,
    /// True if it was killed.
    pub(super) killed: bool,
    /// The number of tasks that it was given; each argument of a map counts.
    pub(super) given: u64,
    /// The task that it has not begun, and the moment at which that was first seen.
    unbegun: Option<(u64, Instant)>,
    /// True if it has closed its connection: it gets no more tasks.
    pub(super) hung_up: bool,
    /// The first task at the last probe.
    seen: u64,
    /// The task for which it was asked if it is idle.
    asked: u64,
    /// The same, until it has replied; 0 for none.
    question: u64,
}

/// The result of checking the limit of a worker's task.
pub(super) enum LimitCheck {
    /// Check again then.
    Again(Instant),
    /// There is nothing to check until the worker has another task.
    Never,
    /// The worker does not begin its next task.
    Hung,
}

/// The time after which an idle worker that does not begin its next task hangs: it was stopped. No
/// machine is so busy that a runnable worker would not run in this time.
const HUNG: Duration = Duration::from_secs(2);
/// The shortest interval at which limits are checked.
const GRAIN: Duration = Duration::from_millis(1);

impl WorkerState {
    pub(super) fn new(link: Arc<WorkerLink>, tasks: Option<Producer>) -> WorkerState {
        WorkerState {
            link,
            jobs: VecDeque::new(),
            tasks,
            out: VecDeque::new(),
            waits_for_room: false,
            idle: false,
            idle_since: None,
            ready_by: None,
            dismissed: false,
            hung_up: false,
            seen: 0,
            asked: 0,
            question: 0,
            leaves_by: None,
            killed: false,
            given: 0,
            unbegun: None,
        }
    }

    /// Gives the worker a task, as [`hand`](WorkerState::hand) does, and notes what the policy
    /// needs.
    #[must_use = "a task that is given back has to go elsewhere"]
    pub(super) fn give(&mut self, mut job: Job, policy: &Policy) -> Option<Job> {
        job.handed_at = policy.limit.map(|_| Instant::now());
        let weight = job.weight();
        let back = self.hand(job);
        if back.is_none() {
            self.given += weight;
        }
        back
    }

    /// Ends the task that the worker has begun, if it has used up its time.
    pub(super) fn check_limit(
        &mut self,
        now: Instant,
        limit: Duration,
        grace: Duration,
        alarms: &mut Vec<TaskAlarm>,
    ) -> LimitCheck {
        let begun = self.begun().task;
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id() == begun) {
            let earliest = job.handed_at.unwrap_or(now).min(now);
            let at = *job
                .begun_at
                .get_or_insert_with(|| self.link.slot.begun_at(now).clamp(earliest, now));
            return match at.checked_add(limit) {
                // The end of its grace has an alarm of its own.
                _ if job.is_stopped() => LimitCheck::Never,
                Some(end) if end <= now => {
                    self.stop(begun, Cause::TimedOut, grace, alarms);
                    LimitCheck::Never
                }
                Some(end) => LimitCheck::Again(end),
                None => LimitCheck::Never,
            };
        }
        let Some(next) = self.jobs.front().map(Job::id) else { return LimitCheck::Never };
        let soon = now + limit.clamp(GRAIN, HUNG);
        // It may not even have received it.
        if !self.link.is_ready() || !self.out.is_empty() {
            return LimitCheck::Again(soon);
        }
        match self.unbegun {
            Some((task, since)) if task == next => {
                if now >= since + limit.clamp(HUNG, HUNG * 2) {
                    LimitCheck::Hung
                } else {
                    LimitCheck::Again(soon)
                }
            }
            _ => {
                self.unbegun = Some((next, now));
                LimitCheck::Again(soon)
            }
        }
    }

    /// Gives all tasks back that the worker has not begun, and asks it to end the others with
    /// `cause`.
    pub(super) fn end(
        &mut self,
        cause: &Cause,
        within: Duration,
        alarms: &mut Vec<TaskAlarm>,
    ) -> Vec<Job> {
        let mut back = Vec::new();
        // The first task comes last: its number is to stay on the board.
        for index in (0..self.jobs.len()).rev() {
            let task = self.jobs[index].id();
            match self.withdraw(task) {
                Some(job) => back.push(job),
                None => self.stop(task, cause.clone(), within, alarms),
            }
        }
        back
    }

    /// Hands the worker a task; never sleeps. A dead worker is no error: its death shows at its
    /// pidfd.
    ///
    /// Gives the task back if the worker has another one, and there is no room in the ring or the
    /// task has to go through the socket, from where it could not be withdrawn.
    #[must_use = "a task that is given back has to go elsewhere"]
    fn hand(&mut self, mut job: Job) -> Option<Job> {
        debug_assert!(!self.dismissed && !self.idle);
        job.ring_position = None;
        let body = &job.call()[HEAD..];
        let short = RECORD_HEAD + body.len() <= ring::LONGEST;
        let in_ring = short && job.descriptors.is_none() && job.setup.is_none();
        let has_none = self.jobs.is_empty();
        if let Some(tasks) = &mut self.tasks {
            if !in_ring && !has_none {
                return Some(job);
            }
            let (kind, body) =
                if in_ring { (FrameKind::Run, body) } else { (FrameKind::OnSocket, [].as_slice()) };
            let head = Head { kind, ..job.run_head() };
            match tasks.push(&head.record(), body) {
                Some(position) => job.ring_position = in_ring.then_some(position),
                // The ring is full of withdrawn records, or corrupted: the worker reads its socket
                // when it finds no more there.
                None if has_none => {}
                None => return Some(job),
            }
            crash_point!("master: task in the ring, worker not told");
        }
        if job.ring_position.is_none() {
            let frames = job.setup.iter().map(|setup| (setup, None));
            let frames = frames.chain([(job.call(), job.descriptors.clone())]);
            self.out.extend(frames.map(|(frame, descriptors)| Outgoing {
                frame: Arc::clone(frame),
                sent: 0,
                descriptors,
            }));
            self.flush();
            crash_point!("master: task through the socket");
        } else if self.link.words().is_some_and(Words::wake_worker) {
            static BELL: OnceLock<Arc<Vec<u8>>> = OnceLock::new();
            let bell = BELL.get_or_init(|| Arc::new(wire::begin(FrameKind::Bell, 0)));
            self.send(Arc::clone(bell));
            crash_point!("master: worker told of a task");
        }
        job.given_to(self.link.id);
        self.jobs.push_back(job);
        if self.jobs.len() == 1 {
            self.advance();
        }
        None
    }

    /// Takes a reply. Returns the task and its result if that was the last one, and updates `pace`,
    /// the running average of the time that a task takes.
    ///
    /// # Errors
    ///
    /// Describes the fault of a reply that no intact worker would send.
    pub(super) fn answered(
        &mut self,
        reply: Received<'_>,
        pace: &mut u64,
    ) -> Result<Option<End>, String> {
        let Received { head, body, descriptors } = reply;
        let wrong = || {
            format!("it answered task {}, item {}, which it does not have", head.task, head.item)
        };
        let index = self.jobs.iter().position(|job| job.id() == head.task);
        if head.kind == FrameKind::Progress {
            // The task's value may have overtaken it, through the socket.
            let told = body.try_into().map(u64::from_le_bytes).map(f64::from_bits);
            if let (Some(index), Ok(progress)) = (index, told) {
                self.jobs[index].keep_progress(Some(progress));
            }
            return Ok(None);
        }
        let index = index.ok_or_else(wrong)?;
        let job = &mut self.jobs[index];
        if !job.awaits(head.item) {
            return Err(wrong());
        }
        // A worker whose output is captured has one task at a time; the next one begins with none.
        let printed = self.link.printed();
        let result = match head.kind {
            FrameKind::Value
                if job.descriptors_received() + descriptors.len() > MOST_DESCRIPTORS =>
            {
                return Err(format!(
                    "the results of task {} have more than {MOST_DESCRIPTORS} descriptors, which \
                     no task may have",
                    head.task
                ));
            }
            FrameKind::Value if body.len() as u64 > job.record().max_result().saturating_add(1) => {
                return Err(value::known_too_long(job.record().max_result()));
            }
            FrameKind::Value if head.item != REST => job.value(&head, body, descriptors).map(Ok),
            FrameKind::Failed => {
                let failure: Failure = postcard::from_bytes(body)
                    .map_err(|_| "it reported a failure that cannot be read".to_owned())?;
                let cause = job.cause_of_failure(failure.into());
                job.printed = printed.map(Box::new);
                job.item_failed(head.item, cause)
            }
            FrameKind::Refused => {
                let reason = String::from_utf8_lossy(body).into_owned();
                job.item_failed(REST, Cause::NotSpawned { reason })
            }
            kind => return Err(format!("it answered a task by {kind:?}")),
        };
        if head.nanos > 0 {
            *pace = (7 * *pace + u64::from(head.nanos)) / 8;
        }
        let Some(result) = result else { return Ok(None) };
        let ended = self.jobs.remove(index).map(|job| (job, result));
        if let Some((job, _)) = &ended {
            job.keep_progress(self.link.slot.progress(job.id()));
        }
        if index == 0 {
            self.advance();
        }
        Ok(ended)
    }

    /// Notes which task is the first one now: it runs, or is the next to run.
    fn advance(&self) {
        if let Some(job) = self.jobs.front() {
            job.is_next(self.link.pid);
            self.request_stop(job);
        }
    }

    /// Asks the worker to end the task, if that was decided. It has to be asked again when the task
    /// becomes the first one: until then the board had the number of another one.
    fn request_stop(&self, job: &Job) {
        if let Some(cause) = job.stop_cause() {
            self.link.end_task(job.id(), cause);
        }
    }

    /// Returns the task and item that the worker has begun last.
    pub(super) fn begun(&self) -> Begun {
        let first = || self.jobs.front().map(|job| (job.id(), job.first_item()));
        self.link.slot.begun().unwrap_or_else(|| {
            let (task, item) = first().unwrap_or_default();
            Begun { task, item }
        })
    }

    /// Returns true if the worker has this task.
    pub(super) fn has(&self, task: u64) -> bool {
        self.jobs.iter().any(|job| job.id() == task)
    }

    /// Returns true if the worker has this task and was asked to end it.
    pub(super) fn is_stopped(&self, task: u64) -> bool {
        self.jobs.iter().any(|job| job.id() == task && job.is_stopped())
    }

    /// Takes a task back that the worker has not begun.
    pub(super) fn withdraw(&mut self, task: u64) -> Option<Job> {
        let index = self.jobs.iter().rposition(|job| job.id() == task)?;
        let position = self.jobs[index].ring_position?;
        // A task that overwrote the ring may have made its own record look as before: it must not
        // begin a second time elsewhere.
        if self.begun().task == task {
            return None;
        }
        if !self.tasks.as_ref()?.withdraw(position) {
            return None;
        }
        crash_point!("master: record withdrawn, task not moved");
        let mut job = self.jobs.remove(index)?;
        job.taken_back();
        self.given -= job.weight();
        if index == 0 {
            self.advance();
        }
        Some(job)
    }

    /// Takes back all tasks that the worker has not begun.
    pub(super) fn withdraw_all(&mut self) -> Vec<Job> {
        let all: Vec<u64> = self.jobs.iter().map(Job::id).collect();
        all.into_iter().rev().filter_map(|task| self.withdraw(task)).collect()
    }

    /// Takes back the task that the worker would begin last.
    pub(super) fn withdraw_last(&mut self) -> Option<Job> {
        // A ready worker has begun its first task, or is about to.
        let least = usize::from(self.link.is_ready());
        let last = self.jobs.back().filter(|_| self.jobs.len() > least)?.id();
        self.withdraw(last)
    }

    /// Asks the worker if it is idle, once for each task that was the first one at the last probe
    /// too. Also sends again what the kernel has refused.
    pub(super) fn probe(&mut self) {
        if !self.out.is_empty() && !self.waits_for_room {
            self.flush();
        }
        let Some(first) = self.jobs.front().map(Job::id) else { return };
        if self.seen != first {
            self.seen = first;
        } else if self.asked != first {
            (self.asked, self.question) = (first, first);
            self.send(Arc::new(wire::begin(FrameKind::Bell, first)));
        }
    }

    /// Returns true if the worker was asked if it is idle at this task, and has not replied before.
    pub(super) fn take_reply(&mut self, task: u64) -> bool {
        let awaited = self.question == task;
        self.question = if awaited { 0 } else { self.question };
        awaited
    }

    /// Returns the most bytes of a result that the worker may send now for this task and item.
    pub(super) fn room_for(&self, head: &Head) -> Option<u64> {
        let job = self.jobs.iter().find(|job| job.id() == head.task)?;
        job.awaits(head.item).then(|| job.record().max_result())
    }

    /// Sends a frame that is no task; never sleeps.
    pub(super) fn send(&mut self, frame: Arc<Vec<u8>>) {
        self.out.push_back(Outgoing { frame, sent: 0, descriptors: None });
        self.flush();
    }

    /// Asks the worker once to end one of its tasks, and adds an alarm for the end of its grace.
    pub(super) fn stop(
        &mut self,
        task: u64,
        cause: Cause,
        grace: Duration,
        alarms: &mut Vec<TaskAlarm>,
    ) {
        let Some(index) = self.jobs.iter().position(|job| job.id() == task) else { return };
        if self.jobs[index].stop(cause, grace, alarms) {
            self.request_stop(&self.jobs[index]);
        }
    }

    /// Decides if the worker, which has nothing left to begin, is to be killed because the grace of
    /// one of its tasks is over. If it has begun another one, the reply to the first is on its way,
    /// and gets some time once.
    pub(super) fn is_to_be_killed(&mut self, now: Instant, alarms: &mut Vec<TaskAlarm>) -> bool {
        let is_further = self.jobs.iter().any(|job| !job.is_due(now));
        let mut is_to_be_killed = false;
        for job in self.jobs.iter_mut().filter(|job| job.is_due(now)) {
            is_to_be_killed |= !is_further || !job.put_off(now, alarms);
        }
        if is_to_be_killed {
            self.jobs.iter_mut().filter(|job| job.is_due(now)).for_each(Job::killed);
        }
        is_to_be_killed
    }

    /// Writes as much as there is room for. A [probe](Self::probe) sends again what the kernel
    /// refuses for want of memory, or of descriptors in flight.
    pub(super) fn flush(&mut self) {
        let mut is_refused = false;
        while let Some(Outgoing { frame, sent, descriptors }) = self.out.front_mut() {
            match send(&self.link.socket, &frame[*sent..], *sent, descriptors) {
                Ok(count) if *sent + count < frame.len() => *sent += count,
                Ok(_) => drop(self.out.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if socket::takes_more_later(&error) => {
                    is_refused = true;
                    break;
                }
                // Its end shows at the pidfd.
                Err(_) => self.out.clear(),
            }
        }
        let waits_for_room = !self.out.is_empty() && !is_refused;
        if self.waits_for_room != waits_for_room {
            self.waits_for_room = waits_for_room;
            let interest = if self.waits_for_room { Interest::ReadWrite } else { Interest::Read };
            self.link.poll.change(&self.link.socket, self.link.token(), interest);
        }
    }

    /// Tells an idle worker to end.
    pub(super) fn dismiss(&mut self) {
        debug_assert!(self.jobs.is_empty());
        crash_point!("master: worker about to be dismissed");
        self.dismissed = true;
        socket::hang_up(&self.link.socket);
    }
}

fn send(
    socket: &OwnedFd,
    bytes: &[u8],
    sent: usize,
    descriptors: &Descriptors,
) -> io::Result<usize> {
    let Some(descriptors) = descriptors.as_ref().filter(|_| sent == 0) else {
        return socket::send(socket, bytes, Blocking::No);
    };
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    socket::send_with(socket, bytes, &descriptors, Blocking::No)
}
