//! What a worker has to do, as its master knows: the tasks that it was given, and how they reach it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::deferred::{End, Received};
use super::link::WorkerLink;
use super::policy::Policy;
use crate::process::task::job::{Descriptors, Job, TaskAlarm};
use crate::process::wire::board::Begun;
use crate::process::wire::ring::{self, Producer};
use crate::process::wire::rings::Words;
use crate::process::wire::{self, Failure, FrameKind, HEAD, Head, RECORD_HEAD, REST};
use crate::sys::io::poll::Interest;
use crate::sys::io::{Blocking, socket};
use crate::task::Cause;

/// A frame on its way out.
struct Outgoing {
    frame: Arc<Vec<u8>>,
    /// How much of it is gone.
    gone: usize,
    /// What goes with its first byte.
    descriptors: Descriptors,
}

/// What a worker is doing, as its master knows.
pub(super) struct WorkerState {
    pub(super) link: Arc<WorkerLink>,
    /// The tasks that it was given and has not answered, in order.
    pub(super) jobs: VecDeque<Job>,
    /// Its ring of tasks.
    tasks: Option<Producer>,
    out: VecDeque<Outgoing>,
    /// Whether the service waits for room to write.
    waits_for_room: bool,
    /// Whether it is among the idle ones of its dispatcher.
    pub(super) idle: bool,
    /// Since when it is, if that matters.
    pub(super) idle_since: Option<Instant>,
    /// By when it has to be ready.
    pub(super) ready_by: Option<Instant>,
    /// Whether it was told to end, or is being killed.
    pub(super) dismissed: bool,
    /// By when it has to be gone after it was told to end.
    pub(super) leaves_by: Option<Instant>,
    /// Whether it was killed.
    pub(super) killed: bool,
    /// How many tasks it was given; each argument of a map counts.
    pub(super) given: u64,
    /// The task that it was seen not to begin, and since when.
    unbegun: Option<(u64, Instant)>,
    /// Whether it has closed its connection: it gets no more tasks.
    pub(super) hung_up: bool,
    /// The task that was its first when it was looked at last, and the one for which it was asked.
    seen: u64,
    asked: u64,
}

/// What a look at the limit of a worker's task has shown.
pub(super) enum Look {
    /// To look again then.
    Again(Instant),
    /// Nothing to look at, until the worker has another task.
    Never,
    /// It does not begin its next task.
    Hung,
}

/// A worker that has not begun its next task for so long, and has nothing else to do, hangs: somebody has stopped
/// it. No machine is so busy that one that could run would not.
const HUNG: Duration = Duration::from_secs(2);
/// Limits are not looked at more often.
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
            leaves_by: None,
            killed: false,
            given: 0,
            unbegun: None,
        }
    }

    /// Gives the worker a task, as [`hand`](WorkerState::hand), and notes what its policy wants to know.
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

    /// Looks whether the task that the worker has begun has used up its time.
    pub(super) fn look_at_limit(
        &mut self,
        now: Instant,
        limit: Duration,
        grace: Duration,
        alarms: &mut Vec<TaskAlarm>,
    ) -> Look {
        let begun = self.begun().task;
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id() == begun) {
            let earliest = job.handed_at.unwrap_or(now).min(now);
            let at = *job
                .begun_at
                .get_or_insert_with(|| self.link.slot.begun_at(now).clamp(earliest, now));
            return match at.checked_add(limit) {
                // When its grace is over is another alarm's to say.
                _ if job.is_stopped() => Look::Never,
                Some(end) if end <= now => {
                    self.stop(begun, Cause::TimedOut, grace, alarms);
                    Look::Never
                }
                Some(end) => Look::Again(end),
                None => Look::Never,
            };
        }
        let Some(next) = self.jobs.front().map(Job::id) else { return Look::Never };
        let soon = now + limit.clamp(GRAIN, HUNG);
        // It may not even have it.
        if !self.link.is_ready() || !self.out.is_empty() {
            return Look::Again(soon);
        }
        match self.unbegun {
            Some((task, since)) if task == next => {
                if now >= since + limit.clamp(HUNG, HUNG * 2) {
                    Look::Hung
                } else {
                    Look::Again(soon)
                }
            }
            _ => {
                self.unbegun = Some((next, now));
                Look::Again(soon)
            }
        }
    }

    /// Gives all tasks back that the worker has not begun, and asks it to end the others with `cause`.
    pub(super) fn end(
        &mut self,
        cause: &Cause,
        within: Duration,
        alarms: &mut Vec<TaskAlarm>,
    ) -> Vec<Job> {
        let mut back = Vec::new();
        // The first one at last: its number is to stay on the board.
        for index in (0..self.jobs.len()).rev() {
            let task = self.jobs[index].id();
            match self.withdraw(task) {
                Some(job) => back.push(job),
                None => self.stop(task, cause.clone(), within, alarms),
            }
        }
        back
    }

    /// Gives the worker a task; never sleeps. That the worker is dead already shows at its pidfd.
    ///
    /// Gives it back if the worker has another one and there is no room in the ring, or the task has to go through
    /// the socket, from where nobody could take it back.
    #[must_use = "a task that is given back has to go elsewhere"]
    pub(super) fn hand(&mut self, mut job: Job) -> Option<Job> {
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
            let head = Head { kind, task: job.id(), item: job.first_item(), nanos: 0 };
            match tasks.push(&head.record(), body) {
                Some(position) => job.ring_position = in_ring.then_some(position),
                // Full of what it will skip, or overwritten: it gets the task when it finds no more there.
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
                gone: 0,
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

    /// Takes an answer: what its task ends with, if it was the last one. The running average of what a task
    /// takes is brought up to date.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub(super) fn answered(
        &mut self,
        answer: Received<'_>,
        pace: &mut u64,
    ) -> Result<Option<End>, String> {
        let Received { head, body, descriptors } = answer;
        let wrong = || {
            format!("it answered task {}, item {}, which it does not have", head.task, head.item)
        };
        let index = self.jobs.iter().position(|job| job.id() == head.task);
        if head.kind == FrameKind::Progress {
            // Its answer may have been quicker, by the socket.
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
        // It has one task at a time if this is captured; the next one is to begin with nothing.
        let printed = self.link.printed();
        let result = match head.kind {
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

    /// Notes which task is the next, or runs.
    fn advance(&self) {
        if let Some(job) = self.jobs.front() {
            job.is_next(self.link.pid);
            self.tell_of_stop(job);
        }
    }

    /// Asks the worker again to end the task, if it was asked before: while it had another task
    /// before it, that one's number was on the board.
    fn tell_of_stop(&self, job: &Job) {
        if let Some(cause) = job.stop_cause() {
            self.link.end_task(job.id(), cause);
        }
    }

    /// What the worker has begun last.
    pub(super) fn begun(&self) -> Begun {
        let first = || self.jobs.front().map(|job| (job.id(), job.first_item()));
        self.link.slot.begun().unwrap_or_else(|| {
            let (task, item) = first().unwrap_or_default();
            Begun { task, item }
        })
    }

    /// Whether the worker has this task.
    pub(super) fn has(&self, task: u64) -> bool {
        self.jobs.iter().any(|job| job.id() == task)
    }

    /// Whether this task of it was asked to end.
    pub(super) fn is_stopped(&self, task: u64) -> bool {
        self.jobs.iter().any(|job| job.id() == task && job.is_stopped())
    }

    /// Takes a task back that the worker has not begun.
    pub(super) fn withdraw(&mut self, task: u64) -> Option<Job> {
        let index = self.jobs.iter().rposition(|job| job.id() == task)?;
        let position = self.jobs[index].ring_position?;
        // Whoever has written over the ring has made its own record look as it was: it is not to begin anew elsewhere.
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

    /// Takes back all that it has not begun.
    pub(super) fn withdraw_all(&mut self) -> Vec<Job> {
        let all: Vec<u64> = self.jobs.iter().map(Job::id).collect();
        all.into_iter().rev().filter_map(|task| self.withdraw(task)).collect()
    }

    /// Takes back the task that it would begin last.
    pub(super) fn withdraw_last(&mut self) -> Option<Job> {
        // The first one it has begun, or is about to, if it is ready.
        let least = usize::from(self.link.is_ready());
        let last = self.jobs.back().filter(|_| self.jobs.len() > least)?.id();
        self.withdraw(last)
    }

    /// Asks the worker, once for each task that is its first for long, whether it has anything to do; and tries again
    /// to send it what the kernel has refused.
    pub(super) fn ask_after(&mut self) {
        if !self.out.is_empty() && !self.waits_for_room {
            self.flush();
        }
        let Some(first) = self.jobs.front().map(Job::id) else { return };
        if self.seen != first {
            self.seen = first;
        } else if self.asked != first {
            self.asked = first;
            self.send(Arc::new(wire::begin(FrameKind::Bell, first)));
        }
    }

    /// Sends a frame that is no task; never sleeps.
    pub(super) fn send(&mut self, frame: Arc<Vec<u8>>) {
        self.out.push_back(Outgoing { frame, gone: 0, descriptors: None });
        self.flush();
    }

    /// Asks the worker to end one of its tasks, once, and has the service look again when `grace` is over.
    pub(super) fn stop(
        &mut self,
        task: u64,
        cause: Cause,
        grace: Duration,
        alarms: &mut Vec<TaskAlarm>,
    ) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.id() == task) else { return };
        if job.stop(cause, grace, alarms) {
            let index = self.jobs.iter().position(|job| job.id() == task).expect("found above");
            self.tell_of_stop(&self.jobs[index]);
        }
    }

    /// Whether the worker, which has nothing left to begin, is to be killed because the grace of one of its tasks is
    /// over. If it has begun another one, the answer of the first is on its way: there is time for that, once.
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

    /// Writes as much as there is room for. What the kernel refuses for want of memory or of descriptors in flight is
    /// tried again [some time later](Self::ask_after).
    pub(super) fn flush(&mut self) {
        let mut is_refused = false;
        while let Some(Outgoing { frame, gone, descriptors }) = self.out.front_mut() {
            match send(&self.link.socket, &frame[*gone..], *gone, descriptors) {
                Ok(sent) if *gone + sent < frame.len() => *gone += sent,
                Ok(_) => drop(self.out.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if socket::takes_more_later(&error) => {
                    is_refused = true;
                    break;
                }
                // Its end is seen at the pidfd.
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
    gone: usize,
    descriptors: &Descriptors,
) -> io::Result<usize> {
    let Some(descriptors) = descriptors.as_ref().filter(|_| gone == 0) else {
        return socket::send(socket, bytes, Blocking::No);
    };
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    socket::send_with(socket, bytes, &descriptors, Blocking::No)
}
