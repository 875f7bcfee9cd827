//! The workers that descend from templates of one kind: asking for them, hearing of them, and a new
//! template when the old one is gone.

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
use crate::process::wire::board::{SLOTS, WorkerSlot};
use crate::process::wire::rings::MasterRings;
use crate::process::wire::{ForkReply, ForkRequest, LONG_PACKET, TemplateReply};
use crate::sys::io::Blocking;
use crate::sys::io::socket::{self, Packet};
use crate::sys::limits;
use crate::sys::process::child::{self, Ended};

/// Spawner asked of a template and not answered, at the most: descriptors under way count
/// against a limit, and each of them holds two of this process.
const AT_ONCE: usize = 32;
/// After how many templates in a row that died before they had forked a worker no more are started.
const MOST_FAILED_STARTS: usize = 3;

/// The templates of one origin, one after the other, and the workers that are asked of them.
pub(super) struct Template {
    pub(super) spec: Arc<TemplateSpec>,
    process: Option<TemplateProcess>,
    /// Workers wanted and not asked for yet: for whom, and how many.
    wanted: VecDeque<(Arc<Dispatcher>, usize)>,
    /// Workers asked for, by request.
    asked: HashMap<u64, Asked>,
    /// Templates in a row that were to fork workers, and died before there was one.
    failed_starts: Vec<FailedStart>,
    /// Crews that have not ended, unless it is the plain program's.
    dispatchers: Vec<Arc<Dispatcher>>,
}

/// How a template died that has forked nobody.
struct FailedStart {
    ended: Ended,
    greeted: bool,
    overdue: bool,
}

/// A worker under way.
struct Asked {
    /// For whom; none if nobody wants it any more.
    dispatcher: Option<Arc<Dispatcher>>,
    socket: OwnedFd,
    slot: WorkerSlot,
    rings: Option<MasterRings>,
    capture: Option<Capture>,
}

/// Why a worker could not be asked for.
enum NotAsked {
    /// The template is busy or dying; an event will tell.
    Yet,
    /// For this reason.
    Because(String),
    /// For this reason, which holds for all others too.
    NorOthers(String),
}

impl Template {
    pub(super) fn new(spec: Arc<TemplateSpec>) -> Template {
        Template {
            spec,
            process: None,
            wanted: VecDeque::new(),
            asked: HashMap::new(),
            failed_starts: Vec::new(),
            dispatchers: Vec::new(),
        }
    }

    /// Notes workers that are wanted.
    pub(super) fn want(&mut self, dispatcher: Arc<Dispatcher>, count: usize) {
        if !self.spec.is_plain() && !self.has(&dispatcher) {
            self.dispatchers.push(Arc::clone(&dispatcher));
        }
        self.wanted.push_back((dispatcher, count));
    }

    fn has(&self, dispatcher: &Arc<Dispatcher>) -> bool {
        self.dispatchers.iter().any(|known| Arc::ptr_eq(known, dispatcher))
    }

    /// Whether `id` is the number of its template.
    pub(super) fn is_concerned(&self, id: u64) -> bool {
        self.process.as_ref().is_some_and(|template| template.id == id)
    }

    /// Whether nobody needs it any more, and nothing of it is left.
    pub(super) fn is_over(&self) -> bool {
        !self.spec.is_plain() && self.dispatchers.is_empty() && self.process.is_none()
    }

    /// The process id of its template.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|template| template.pid)
    }

    /// Takes back what is wanted for a dispatcher and no longer needed; `asked` for, too, if the template
    /// is not waited for any longer.
    pub(super) fn withdraw(&mut self, dispatcher: &Arc<Dispatcher>, asked: bool) {
        self.wanted.retain_mut(|(whose, count)| {
            while *count > 0 && Arc::ptr_eq(whose, dispatcher) && dispatcher.withdraw() {
                *count -= 1;
            }
            *count > 0
        });
        for request in self.asked.values_mut().filter(|_| asked) {
            let is_theirs =
                request.dispatcher.as_ref().is_some_and(|whose| Arc::ptr_eq(whose, dispatcher));
            if is_theirs && dispatcher.withdraw() {
                request.dispatcher = None;
            }
        }
    }

    /// A dispatcher has ended. The template of the last one ends as well, unless it is the plain program's.
    pub(super) fn left(&mut self, dispatcher: &Arc<Dispatcher>) {
        if self.has(dispatcher) {
            self.dispatchers.retain(|known| !Arc::ptr_eq(known, dispatcher));
            if self.dispatchers.is_empty()
                && let Some(template) = &mut self.process
            {
                template.dismiss();
            }
        }
    }

    /// Asks for as many of the wanted workers as may be under way.
    pub(super) fn pump(&mut self, children: &mut Children) {
        while self.asked.len() < AT_ONCE
            && let Some((dispatcher, count)) = self.wanted.pop_front()
        {
            if count > 1 {
                self.wanted.push_front((Arc::clone(&dispatcher), count - 1));
            }
            if dispatcher.withdraw() {
                continue;
            }
            let asked = self.ask(&dispatcher, children);
            children.spare.fill();
            match asked {
                Ok(()) => {}
                Err(NotAsked::Because(reason)) => dispatcher.refused(reason),
                Err(NotAsked::Yet) => {
                    self.wanted.push_front((dispatcher, 1));
                    break;
                }
                Err(NotAsked::NorOthers(reason)) => {
                    self.wanted.push_front((dispatcher, 1));
                    self.refuse_all(&reason);
                }
            }
        }
    }

    fn ask(
        &mut self,
        dispatcher: &Arc<Dispatcher>,
        children: &mut Children,
    ) -> Result<(), NotAsked> {
        if self.process.is_none() {
            self.process = Some(self.start_template(children)?);
        }
        let template = self.process.as_mut().expect("there is one now");
        if !template.takes_requests(&self.spec) {
            return Err(NotAsked::Yet);
        }
        let Some(slot) = template.board.take() else {
            let reason = format!("{SLOTS} workers live, as many as trine serves");
            return Err(NotAsked::Because(reason));
        };
        let (socket, theirs) = children.spare.connection().map_err(|error| {
            let reason = limits::explain_missing("socket for a worker process", &error);
            NotAsked::Because(reason)
        })?;
        let rings = dispatcher.has_rings().then(|| children.spare.rings()).transpose().map_err(
            |error| {
                let reason = limits::explain_missing("shared memory for a worker process", &error);
                NotAsked::Because(reason)
            },
        )?;
        crash_point!("master: descriptors of a worker made, fork not asked for");
        let (rings, memory) = rings.unzip();
        let capture = dispatcher.captures().then(Capture::new).transpose();
        let (capture, outputs) = capture.map_err(NotAsked::Because)?.unzip();
        let request = ForkRequest {
            request: children.number(),
            slot: slot.number,
            has_rings: rings.is_some(),
            captures: capture.is_some(),
            awaits_setup: dispatcher.setup().is_some(),
        };
        let packet = postcard::to_stdvec(&request).expect("numbers only");
        let outputs = outputs.iter().flatten().map(AsFd::as_fd);
        let theirs: Vec<_> =
            [&theirs].into_iter().chain(&memory).map(AsFd::as_fd).chain(outputs).collect();
        match socket::send_packet(&template.socket, &packet, &theirs, Blocking::No) {
            Ok(()) => {
                crash_point!("master: fork asked for");
                template.awaited.get_or_insert_with(Instant::now);
                let dispatcher = Some(Arc::clone(dispatcher));
                self.asked
                    .insert(request.request, Asked { dispatcher, socket, slot, rings, capture });
                children.spare.fill();
                Ok(())
            }
            // It has requests to answer, or is dead, which its pidfd will tell.
            Err(error) if will_be_told(&error) => Err(NotAsked::Yet),
            Err(error) => {
                let what = "way to hand over the socket of a worker process";
                Err(NotAsked::Because(limits::explain_missing(what, &error)))
            }
        }
    }

    fn start_template(&mut self, children: &mut Children) -> Result<TemplateProcess, NotAsked> {
        if let [.., last] = &self.failed_starts[..]
            && self.failed_starts.len() >= MOST_FAILED_STARTS
        {
            let reason = self.explain_failed_start(last);
            // The next task tries again.
            self.failed_starts.clear();
            return Err(NotAsked::NorOthers(reason));
        }
        let template = launch::start(children.number(), &self.spec).map_err(NotAsked::Because)?;
        let poll = &children.service.poll;
        let watched = poll
            .add(&template.socket, template.id * 2)
            .and_then(|()| poll.add(&template.pidfd, template.id * 2 + 1));
        match watched {
            Ok(()) => Ok(template),
            Err(error) => {
                child::kill_and_wait(template.pid);
                let reason = limits::explain_missing("watch over the template process", &error);
                Err(NotAsked::Because(reason))
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
                "{who} failed {MOST_FAILED_STARTS} times in a row; the last time it {what} within {bound:?} \
                 (`start_timeout`) and was killed: {why}somebody has stopped it (SIGSTOP); allow more \
                 time, or see where it waits"
            );
        }
        let when = if last.greeted {
            "it had forked a worker".to_owned()
        } else {
            format!("it was ready{place}")
        };
        let how = cause_of(last.ended, Evidence::default());
        format!(
            "{who} died {MOST_FAILED_STARTS} times before {when}; the last time, {how}; what it wrote to \
             standard error may tell why"
        )
    }

    /// When its template has to have said its next word.
    pub(super) fn due(&self) -> Option<Instant> {
        let template = self.process.as_ref().filter(|one| !one.overdue && !one.dismissed)?;
        template.awaited?.checked_add(self.spec.bound()?)
    }

    /// Ends a template that takes too long.
    pub(super) fn check_deadline(&mut self, now: Instant, children: &mut Children) {
        let is_due = |template: &Template| template.due().is_some_and(|due| due <= now);
        if is_due(self) {
            // What has come in time counts.
            self.receive(children);
        }
        if is_due(self)
            && let Some(template) = &mut self.process
        {
            template.overdue = true;
            child::kill(&template.pidfd);
        }
    }

    fn refuse_all(&mut self, reason: &str) {
        for (dispatcher, count) in self.wanted.drain(..) {
            for _ in 0..count {
                dispatcher.refused(reason.to_owned());
            }
        }
    }

    /// Receives what the template has sent.
    pub(super) fn receive(&mut self, children: &mut Children) {
        loop {
            let Some(template) = &mut self.process else { return };
            let mut packet = [0; LONG_PACKET];
            let received = match socket::receive_packet(&template.socket, &mut packet, Blocking::No)
            {
                Ok(received) if received.len > 0 => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The end. Its death follows; if it lives on without a master, it is of no use.
                Ok(_) | Err(_) => {
                    children.service.poll.remove(&template.socket);
                    child::kill(&template.pidfd);
                    return;
                }
            };
            match postcard::from_bytes(&packet[..received.len]) {
                Ok(TemplateReply::Ready) => {
                    template.greeted = true;
                    template.awaited = (!self.asked.is_empty()).then(Instant::now);
                }
                Ok(TemplateReply::Unfit(reason)) => {
                    template.dismiss();
                    self.failed_starts.clear();
                    // It has forked nobody: what was asked of it before it was ready is refused, too.
                    let asked =
                        self.asked.drain().filter_map(|(_, asked)| Some((asked.dispatcher?, 1)));
                    self.wanted.extend(asked);
                    self.refuse_all(&reason);
                }
                Ok(TemplateReply::Forked(reply)) => self.forked(reply, received, children),
                Err(_) => {}
            }
        }
    }

    /// The template has answered a request.
    fn forked(&mut self, reply: ForkReply, mut packet: Packet, children: &mut Children) {
        let Some(asked) = self.asked.remove(&reply.request) else { return };
        if let Some(template) = &mut self.process {
            template.awaited = (!self.asked.is_empty()).then(Instant::now);
            template.has_forked |= reply.forked.is_ok();
        }
        if reply.forked.is_ok() {
            self.failed_starts.clear();
        }
        let Asked { dispatcher, socket, slot, rings, capture } = asked;
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
                let shared = (rings, capture);
                children.add(
                    dispatcher,
                    WorkerLink::new((id, pid), (socket, pidfd), slot, shared, poll),
                );
            }
            (Some(dispatcher), None) => {
                // No descriptor was left to receive the handle with.
                child::kill_and_wait(pid);
                let error = limits::out_of_descriptors();
                dispatcher.refused(limits::explain_missing("handle for a worker process", &error));
            }
            // Nobody wants it any more.
            (None, Some(pidfd)) => {
                child::kill(&pidfd);
                children.add_stray(pid, pidfd, Some(slot));
            }
            (None, None) => child::kill_and_wait(pid),
        }
    }

    /// The template may have ended; what was asked of it is asked of the next. `true` if it has.
    pub(super) fn reap(&mut self) -> bool {
        let Some(template) = &self.process else { return false };
        let Some(ended) = child::reap(&template.pidfd) else { return false };
        let TemplateProcess { greeted, overdue, .. } = *template;
        let is_needed = !self.asked.is_empty() || !self.wanted.is_empty();
        if !template.has_forked && !template.dismissed && (!greeted || is_needed) {
            self.failed_starts.push(FailedStart { ended, greeted, overdue });
        }
        // Dropping the sockets ends workers that were forked and not told of.
        let unanswered = self.asked.drain().filter_map(|(_, asked)| Some((asked.dispatcher?, 1)));
        self.wanted.extend(unanswered);
        self.process = None;
        true
    }
}

/// Whether an error of a send to the template is followed by an event that tells what to do.
fn will_be_told(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | BrokenPipe | ConnectionReset | NotConnected)
}
