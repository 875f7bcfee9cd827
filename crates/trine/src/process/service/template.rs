//! The template of one spec: requests for forks, its replies, and a new process when the old one
//! has ended.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::capture::Capture;
use super::children::Children;
use super::evidence::{Evidence, cause_of};
use super::launch::{self, TemplateProcess};
use super::spec::TemplateSpec;
use crate::process::pool::dispatcher::Dispatcher;
use crate::process::pool::link::WorkerLink;
use crate::process::wire::board::WorkerSlot;
use crate::process::wire::rings::MasterRings;
use crate::process::wire::{ForkReply, ForkRequest, LONG_PACKET, TemplateReply};
use crate::sys::io::Blocking;
use crate::sys::io::socket::{self, Packet};
use crate::sys::limits;
use crate::sys::process::child::{self, Ended};
use crate::sys::process::current;
use crate::sys::process::lifeline::Lifeline;

/// The most forks that are requested from a process and not answered. Each holds descriptors of
/// this program, and descriptors under way count against a limit.
const AT_ONCE: usize = 32;
/// The number of processes in a row that may die before they have forked a worker until no more are
/// started.
const MOST_FAILED_STARTS: usize = 3;

/// The processes of one spec, one after the other, and the workers requested from them.
pub(super) struct Template {
    pub(super) spec: Arc<TemplateSpec>,
    process: Option<TemplateProcess>,
    /// Workers wanted and not requested yet: the pool, and the number.
    wanted: VecDeque<(Arc<Dispatcher>, usize)>,
    /// Workers requested, by request.
    requested: HashMap<u64, Requested>,
    /// Processes in a row that were to fork workers, and died before there was one.
    failed_starts: Vec<FailedStart>,
    /// Pools that have not ended; not kept for the plain spec, whose process is never ended.
    pools: Vec<Arc<Dispatcher>>,
}

/// The end of a process that has forked no worker.
struct FailedStart {
    ended: Ended,
    greeted: bool,
    overdue: bool,
}

/// A worker under way.
struct Requested {
    /// Its pool; `None` if that does not need it any more.
    dispatcher: Option<Arc<Dispatcher>>,
    socket: OwnedFd,
    slot: WorkerSlot,
    lifeline: Option<Lifeline>,
    rings: Option<MasterRings>,
    capture: Option<Capture>,
}

/// The reason why a worker could not be requested.
enum NotRequested {
    /// The process is busy or dying; an event follows.
    Yet,
    /// This worker cannot be had.
    Refused(String),
    /// No worker of this template can be had.
    AllRefused(String),
}

impl Template {
    pub(super) fn new(spec: Arc<TemplateSpec>) -> Template {
        Template {
            spec,
            process: None,
            wanted: VecDeque::new(),
            requested: HashMap::new(),
            failed_starts: Vec::new(),
            pools: Vec::new(),
        }
    }

    /// Adds wanted workers of a pool.
    pub(super) fn want(&mut self, dispatcher: Arc<Dispatcher>, count: usize) {
        if !self.spec.is_plain() && !self.has(&dispatcher) {
            self.pools.push(Arc::clone(&dispatcher));
        }
        self.wanted.push_back((dispatcher, count));
    }

    fn has(&self, dispatcher: &Arc<Dispatcher>) -> bool {
        self.pools.iter().any(|known| Arc::ptr_eq(known, dispatcher))
    }

    /// Returns true if `id` is the number of its process.
    pub(super) fn is_concerned(&self, id: u64) -> bool {
        self.process.as_ref().is_some_and(|process| process.id == id)
    }

    /// Returns true if no pool needs it any more, and its process has ended.
    pub(super) fn is_over(&self) -> bool {
        !self.spec.is_plain() && self.pools.is_empty() && self.process.is_none()
    }

    /// Returns the process id.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// Withdraws the wanted workers that a pool does not need any more. `requested` includes those
    /// requested from the process, if that is not waited for any longer.
    pub(super) fn withdraw(&mut self, dispatcher: &Arc<Dispatcher>, requested: bool) {
        self.wanted.retain_mut(|(whose, count)| {
            while *count > 0 && Arc::ptr_eq(whose, dispatcher) && dispatcher.withdraw() {
                *count -= 1;
            }
            *count > 0
        });
        for request in self.requested.values_mut().filter(|_| requested) {
            let is_theirs =
                request.dispatcher.as_ref().is_some_and(|whose| Arc::ptr_eq(whose, dispatcher));
            if is_theirs && dispatcher.withdraw() {
                request.dispatcher = None;
            }
        }
    }

    /// Notes that a pool has ended. After the last one the process ends too, unless it is plain.
    pub(super) fn pool_ended(&mut self, dispatcher: &Arc<Dispatcher>) {
        if self.has(dispatcher) {
            self.pools.retain(|known| !Arc::ptr_eq(known, dispatcher));
            if self.pools.is_empty()
                && let Some(process) = &mut self.process
            {
                process.dismiss();
            }
        }
    }

    /// Requests as many of the wanted workers as may be under way.
    pub(super) fn pump(&mut self, children: &mut Children) {
        while self.requested.len() < AT_ONCE
            && let Some((dispatcher, count)) = self.wanted.pop_front()
        {
            if count > 1 {
                self.wanted.push_front((Arc::clone(&dispatcher), count - 1));
            }
            if dispatcher.withdraw() {
                continue;
            }
            let requested = self.request(&dispatcher, children);
            children.spare.fill();
            match requested {
                Ok(()) => {}
                Err(NotRequested::Refused(reason)) => dispatcher.refused(reason),
                Err(NotRequested::Yet) => {
                    self.wanted.push_front((dispatcher, 1));
                    break;
                }
                Err(NotRequested::AllRefused(reason)) => {
                    self.wanted.push_front((dispatcher, 1));
                    self.refuse_all(&reason);
                }
            }
        }
    }

    fn request(
        &mut self,
        dispatcher: &Arc<Dispatcher>,
        children: &mut Children,
    ) -> Result<(), NotRequested> {
        if self.process.is_none() {
            self.process = Some(self.start(children)?);
        }
        let process = self.process.as_mut().expect("there is one now");
        if !process.takes_requests(&self.spec) {
            return Err(NotRequested::Yet);
        }
        let (socket, theirs) = children.spare.connection().map_err(|error| {
            let reason = limits::explain_missing("socket for a worker process", &error);
            NotRequested::Refused(reason)
        })?;
        let (rings, memory) = children.spare.rings().map_err(|error| {
            let reason = limits::explain_missing("shared memory for a worker process", &error);
            NotRequested::Refused(reason)
        })?;
        let slot = WorkerSlot::new(Arc::clone(rings.words.memory()));
        let rings = dispatcher.has_rings().then_some(rings);
        let directory = current::directory().map_err(|error| {
            let what = "descriptor of the current directory for a worker process";
            NotRequested::Refused(limits::explain_missing(what, &error))
        })?;
        crash_point!("master: descriptors of a worker made, fork not asked for");
        let (lifeline, end) = lifeline_for_worker(process)?.unzip();
        let capture = dispatcher.captures().then(Capture::new).transpose();
        let (capture, outputs) = capture.map_err(NotRequested::Refused)?.unzip();
        let request = ForkRequest {
            request: children.number(),
            has_rings: rings.is_some(),
            has_lifeline: lifeline.is_some(),
            captures: capture.is_some(),
            awaits_setup: dispatcher.has_setup(),
        };
        let packet = postcard::to_stdvec(&request).expect("numbers only");
        let outputs = outputs.iter().flatten().map(AsFd::as_fd);
        let theirs: Vec<_> = [&theirs, &directory, &memory]
            .into_iter()
            .chain(&end)
            .map(AsFd::as_fd)
            .chain(outputs)
            .collect();
        match socket::send_packet(&process.socket, &packet, &theirs, Blocking::No) {
            Ok(()) => {
                crash_point!("master: fork asked for");
                process.awaited.get_or_insert_with(Instant::now);
                let dispatcher = Some(Arc::clone(dispatcher));
                self.requested.insert(
                    request.request,
                    Requested { dispatcher, socket, slot, lifeline, rings, capture },
                );
                children.spare.fill();
                Ok(())
            }
            // It has requests to answer, or is dead, which its pidfd reports.
            Err(error) if is_followed_by_event(&error) => Err(NotRequested::Yet),
            Err(error) => {
                let what = "way to hand over the socket of a worker process";
                Err(NotRequested::Refused(limits::explain_missing(what, &error)))
            }
        }
    }

    fn start(&mut self, children: &mut Children) -> Result<TemplateProcess, NotRequested> {
        if let [.., last] = &self.failed_starts[..]
            && self.failed_starts.len() >= MOST_FAILED_STARTS
        {
            let reason = self.explain_failed_start(last);
            // The next task tries again.
            self.failed_starts.clear();
            return Err(NotRequested::AllRefused(reason));
        }
        let process =
            launch::start(children.number(), &self.spec).map_err(NotRequested::Refused)?;
        let poll = &children.service.poll;
        let watched = poll
            .add(&process.socket, process.id * 2)
            .and_then(|()| poll.add(&process.pidfd, process.id * 2 + 1));
        match watched {
            Ok(()) => Ok(process),
            Err(error) => {
                child::kill_and_wait(process.pid);
                let reason = limits::explain_missing("watch over the template process", &error);
                Err(NotRequested::Refused(reason))
            }
        }
    }

    fn explain_failed_start(&self, last: &FailedStart) -> String {
        let who = "the template process (this program, started again)";
        let (place, slow) = match self.spec.preload() {
            Some(_) => (", in preload or before it", "its preload"),
            None => ("", "an initialiser of the program"),
        };
        if let (true, Some(bound)) = (last.overdue, self.spec.bound()) {
            let (what, why) = if last.greeted {
                ("did not answer", String::new())
            } else {
                ("was not ready", format!("{slow} hangs or takes longer, or "))
            };
            return format!(
                "{who} failed {MOST_FAILED_STARTS} times in a row; the last time it {what} within \
                 {bound:?} (`start_timeout`) and was killed: {why}somebody has stopped it \
                 (SIGSTOP); allow more time, or see where it waits"
            );
        }
        let when = if last.greeted {
            "it had forked a worker".to_owned()
        } else {
            format!("it was ready{place}")
        };
        let how = cause_of(last.ended, Evidence::default());
        format!(
            "{who} died {MOST_FAILED_STARTS} times before {when}; the last time, {how}; what it \
             wrote to standard error may tell why"
        )
    }

    /// Returns the moment by which its process has to reply.
    pub(super) fn due(&self) -> Option<Instant> {
        let process = self.process.as_ref().filter(|one| !one.overdue && !one.dismissed)?;
        process.awaited?.checked_add(self.spec.bound()?)
    }

    /// Kills a process that takes too long.
    pub(super) fn check_deadline(&mut self, now: Instant, children: &mut Children) {
        let is_due = |template: &Template| template.due().is_some_and(|due| due <= now);
        if is_due(self) {
            // A reply that came in time counts.
            self.receive(children);
        }
        if is_due(self)
            && let Some(process) = &mut self.process
        {
            process.overdue = true;
            process.kill();
        }
    }

    fn refuse_all(&mut self, reason: &str) {
        for (dispatcher, count) in self.wanted.drain(..) {
            for _ in 0..count {
                dispatcher.refused(reason.to_owned());
            }
        }
    }

    /// Receives the replies of the process.
    pub(super) fn receive(&mut self, children: &mut Children) {
        loop {
            let Some(process) = &mut self.process else { return };
            let mut packet = [0; LONG_PACKET];
            let received = match socket::receive_packet(&process.socket, &mut packet, Blocking::No)
            {
                Ok(received) if received.len > 0 => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The end. Its death follows; a process that lives on without a master is useless.
                Ok(_) | Err(_) => {
                    children.service.poll.remove(&process.socket);
                    process.kill();
                    return;
                }
            };
            match postcard::from_bytes(&packet[..received.len]) {
                Ok(TemplateReply::Ready) => {
                    process.greeted = true;
                    process.awaited = (!self.requested.is_empty()).then(Instant::now);
                }
                Ok(TemplateReply::Unfit(reason)) => {
                    process.dismiss();
                    self.failed_starts.clear();
                    // It forks no worker: those requested before it was ready are refused, too.
                    self.want_requested();
                    self.refuse_all(&reason);
                }
                Ok(TemplateReply::Forked(reply)) => self.forked(reply, received, children),
                Err(_) => {}
            }
        }
    }

    /// Acts on the reply to a request.
    fn forked(&mut self, reply: ForkReply, mut packet: Packet, children: &mut Children) {
        let Some(requested) = self.requested.remove(&reply.request) else { return };
        if let Some(process) = &mut self.process {
            process.awaited = (!self.requested.is_empty()).then(Instant::now);
            process.has_forked |= reply.forked.is_ok();
        }
        if reply.forked.is_ok() {
            self.failed_starts.clear();
        }
        let Requested { dispatcher, socket, slot, lifeline, rings, capture } = requested;
        let pid = match (reply.forked, &dispatcher) {
            (Ok(pid), _) => pid,
            (Err(number), Some(dispatcher)) => {
                let error = io::Error::from_raw_os_error(number);
                return dispatcher.refused(limits::explain_refused_task("process", &error));
            }
            (Err(_), None) => return,
        };
        crash_point!("master: fork answered, worker not known");
        children.is_no_stray(pid);
        let pidfd = packet.descriptors.pop();
        match (dispatcher, pidfd) {
            (Some(dispatcher), Some(pidfd)) => {
                let (id, poll) = (reply.request, Arc::clone(&children.service.poll));
                let (held, shared) = ((socket, pidfd, lifeline), (rings, capture));
                children.add(dispatcher, WorkerLink::new((id, pid), held, slot, shared, poll));
            }
            (Some(dispatcher), None) => {
                // No descriptor was left to receive the handle with.
                child::kill_and_wait(pid);
                let error = limits::out_of_descriptors();
                dispatcher.refused(limits::explain_missing("handle for a worker process", &error));
            }
            // Its pool does not need it any more.
            (None, Some(pidfd)) => {
                // A kill that is refused is done by the end of its lifeline, which is closed here.
                let _ = child::kill(&pidfd);
                children.add_stray(pid, pidfd);
            }
            (None, None) => child::kill_and_wait(pid),
        }
    }

    /// Reaps the process, if it has ended. The workers requested from it are requested from the
    /// next one. Returns false if it has not ended.
    pub(super) fn reap(&mut self) -> bool {
        let Some(process) = &self.process else { return false };
        let Some(ended) = child::reap(&process.pidfd) else { return false };
        let TemplateProcess { greeted, overdue, .. } = *process;
        let is_needed = !self.requested.is_empty() || !self.wanted.is_empty();
        if !process.has_forked && !process.dismissed && (!greeted || is_needed) {
            self.failed_starts.push(FailedStart { ended, greeted, overdue });
        }
        // Dropping their sockets ends workers that were forked and not reported.
        self.want_requested();
        self.process = None;
        true
    }

    /// Turns requested workers into wanted ones.
    fn want_requested(&mut self) {
        let requested = self.requested.drain();
        let wanted = requested.filter_map(|(_, requested)| Some((requested.dispatcher?, 1)));
        self.wanted.extend(wanted);
    }
}

/// Makes a lifeline for a worker of `process`, if that needs one.
fn lifeline_for_worker(
    process: &TemplateProcess,
) -> Result<Option<(Lifeline, OwnedFd)>, NotRequested> {
    process.lifeline.as_ref().map(|_| Lifeline::new()).transpose().map_err(|error| {
        let reason = limits::explain_missing("lifeline for a worker process", &error);
        NotRequested::Refused(reason)
    })
}

/// Returns true if an event follows this error of a send to the process, and decides what to do.
fn is_followed_by_event(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | BrokenPipe | ConnectionReset | NotConnected)
}
