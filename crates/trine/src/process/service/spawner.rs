//! Getting workers from templates: one lineage for each kind of template, and what they have in common.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::Service;
use super::spare::Spare;
use super::template::Template;
use crate::process::pool::dispatcher::Dispatcher;
use crate::process::pool::link::WorkerLink;
use crate::process::wire::board::WorkerSlot;
use crate::process::wire::ring::Producer;
use crate::process::worker::{self, template};
use crate::sys::limits;
use crate::sys::process::child;

/// The forking side of the service.
pub(in crate::process) struct Spawner {
    lineages: Vec<Template>,
    births: Births,
}

/// What all lineages share.
pub(in crate::process) struct Births {
    pub(in crate::process) service: Arc<Service>,
    /// The next number for a template, worker or stray; 0 is the bell's.
    next: u64,
    /// Workers that a template has forked.
    forked: Vec<Forked>,
    /// For the next worker.
    pub(in crate::process) spare: Spare,
    /// Children that are nobody's worker and have to be waited for, by number.
    strays: HashMap<u64, Stray>,
}

/// A new worker, and the ring of its tasks.
pub(in crate::process) struct Forked {
    pub(in crate::process) dispatcher: Arc<Dispatcher>,
    pub(in crate::process) link: Arc<WorkerLink>,
    pub(in crate::process) tasks: Option<Producer>,
}

/// A worker that nobody wanted any more, or whose template died before it could tell of it.
struct Stray {
    pid: u32,
    pidfd: OwnedFd,
    /// Its place on the board, if that is known; nobody else has it before the stray is gone.
    _place: Option<WorkerSlot>,
}

impl Spawner {
    pub(in crate::process) fn new(service: Arc<Service>) -> Spawner {
        let (forked, strays) = (Vec::new(), HashMap::new());
        let births = Births { service, next: 1, forked, spare: Spare::default(), strays };
        Spawner { lineages: Vec::new(), births }
    }

    /// Notes workers that are wanted.
    pub(in crate::process) fn order(&mut self, orders: Vec<(Arc<Dispatcher>, usize)>) {
        for (dispatcher, count) in orders {
            self.lineage_of(&dispatcher).order(dispatcher, count);
        }
    }

    fn lineage_of(&mut self, dispatcher: &Dispatcher) -> &mut Template {
        let origin = dispatcher.origin();
        let known = self.lineages.iter().position(|lineage| lineage.origin == *origin);
        let index = known.unwrap_or_else(|| {
            self.lineages.push(Template::new(Arc::clone(origin)));
            self.lineages.len() - 1
        });
        &mut self.lineages[index]
    }

    /// Asks for as many of the wanted workers as may be under way, and gives out the new ones.
    pub(in crate::process) fn pump(&mut self) -> Vec<Forked> {
        for lineage in &mut self.lineages {
            lineage.pump(&mut self.births);
        }
        std::mem::take(&mut self.births.forked)
    }

    /// Takes back what a closed dispatcher does not need any more; `asked` for, too, if the template is not
    /// waited for any longer.
    pub(in crate::process) fn withdraw(&mut self, dispatcher: &Arc<Dispatcher>, asked: bool) {
        self.lineage_of(dispatcher).withdraw(dispatcher, asked);
    }

    /// A dispatcher has ended.
    pub(in crate::process) fn left(&mut self, dispatcher: &Arc<Dispatcher>) {
        self.lineage_of(dispatcher).left(dispatcher);
        self.forget_the_past();
    }

    /// When a template has to have said its next word.
    pub(in crate::process) fn due(&self) -> Option<Instant> {
        self.lineages.iter().filter_map(Template::due).min()
    }

    /// Ends templates that take too long.
    pub(in crate::process) fn look(&mut self, now: Instant) {
        let births = &mut self.births;
        self.lineages.iter_mut().for_each(|lineage| lineage.look(now, births));
    }

    /// Whether `id` is the number of a template or a stray.
    pub(in crate::process) fn is_concerned(&self, id: u64) -> bool {
        self.births.strays.contains_key(&id)
            || self.lineages.iter().any(|lineage| lineage.is_concerned(id))
    }

    /// Acts on an event of a template or a stray.
    pub(in crate::process) fn handle(
        &mut self,
        id: u64,
        is_pidfd: bool,
        is_member: &dyn Fn(u32) -> bool,
    ) {
        let births = &mut self.births;
        let Some(lineage) = self.lineages.iter_mut().find(|lineage| lineage.is_concerned(id))
        else {
            // It may be a worker that its template has just told of.
            self.lineages.iter_mut().for_each(|lineage| lineage.hear(births));
            if births.strays.get(&id).is_some_and(|stray| child::reap(&stray.pidfd).is_some()) {
                births.strays.remove(&id);
            }
            return;
        };
        lineage.hear(births);
        if is_pidfd && lineage.reap() {
            self.adopt_strays(is_member);
            self.forget_the_past();
        }
    }

    fn forget_the_past(&mut self) {
        self.lineages.retain(|lineage| !lineage.is_over());
    }

    /// Finds workers that a dying template has forked and not told of: children of this thread
    /// that nobody knows. They end by themselves, and somebody has to take their answers.
    fn adopt_strays(&mut self, is_member: &dyn Fn(u32) -> bool) {
        let births = &mut self.births;
        // What the other templates have told of by now is no stray.
        self.lineages.iter_mut().for_each(|lineage| lineage.hear(births));
        let ours = [template::SHORT_NAME, worker::SHORT_NAME].map(|name| name.to_str().ok());
        for pid in child::of_calling_thread() {
            let known = births.knows(pid)
                || is_member(pid)
                || self.lineages.iter().any(|lineage| lineage.template_pid() == Some(pid));
            // Children of an ended thread may have become this thread's: they are not ours.
            if known || !ours.contains(&child::short_name(pid).as_deref()) {
                continue;
            }
            match child::open(pid) {
                Ok(pidfd) => births.stray(pid, pidfd, None),
                // Nobody could tell of its end.
                Err(_) => child::kill_and_wait(pid),
            }
        }
    }
}

impl Births {
    /// A number for a template, worker or stray.
    pub(in crate::process) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// A worker of `dispatcher` cannot be had.
    pub(in crate::process) fn refuse(&self, dispatcher: &Arc<Dispatcher>, reason: String) {
        dispatcher.refused(reason).carry_out(dispatcher, &self.service);
    }

    /// A worker of `dispatcher` lives.
    pub(in crate::process) fn forked(
        &mut self,
        dispatcher: Arc<Dispatcher>,
        (link, tasks): (WorkerLink, Option<Producer>),
    ) {
        let poll = &self.service.poll;
        let watched = poll
            .add(&link.socket, link.token())
            .and_then(|()| poll.add(&link.pidfd, link.pidfd_token()));
        if let Err(error) = watched {
            child::kill_and_wait(link.pid);
            let reason = limits::explain_missing("watch over a worker process", &error);
            return self.refuse(&dispatcher, reason);
        }
        self.forked.push(Forked { dispatcher, link: Arc::new(link), tasks });
    }

    /// Waits for a child that is nobody's worker.
    pub(in crate::process) fn stray(
        &mut self,
        pid: u32,
        pidfd: OwnedFd,
        place: Option<WorkerSlot>,
    ) {
        let number = self.number();
        if self.service.poll.add(&pidfd, number * 2 + 1).is_ok() {
            self.strays.insert(number, Stray { pid, pidfd, _place: place });
        } else {
            child::kill_and_wait(pid);
        }
    }

    /// What was taken for a stray is a worker that its template has told of.
    pub(in crate::process) fn is_no_stray(&mut self, pid: u32) {
        self.strays.retain(|_, stray| stray.pid != pid);
    }

    fn knows(&self, pid: u32) -> bool {
        self.forked.iter().any(|forked| forked.link.pid == pid)
            || self.strays.values().any(|stray| stray.pid == pid)
    }
}
