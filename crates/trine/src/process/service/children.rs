//! The children that all templates fork: numbers for them, new workers, and strays.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::spare::Spare;
use crate::process::pool::dispatcher::{Dispatcher, Service};
use crate::process::pool::link::WorkerLink;
use crate::process::wire::ring::Producer;
use crate::sys::limits;
use crate::sys::process::child;

/// The state that all templates share.
pub(super) struct Children {
    pub(super) service: Arc<Service>,
    /// The next number for a template, worker or stray; 0 is the bell's.
    next: u64,
    /// Workers that a template has forked, and that are not served yet.
    forked: Vec<Forked>,
    /// A connection and rings for the next worker.
    pub(super) spare: Spare,
    /// Strays, by number.
    strays: HashMap<u64, Stray>,
}

/// A new worker, and the ring of its tasks.
pub(super) struct Forked {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) link: Arc<WorkerLink>,
    pub(super) tasks: Option<Producer>,
}

/// A child that has to be reaped and is no worker: its pool did not need it any more, its template
/// died before it could report it, it cannot be killed, or this process ran another program before.
struct Stray {
    pid: u32,
    pidfd: OwnedFd,
    /// Its former link, which holds its descriptors.
    _link: Option<Arc<WorkerLink>>,
}

impl Children {
    pub(super) fn new(service: Arc<Service>) -> Children {
        let (forked, strays) = (Vec::new(), HashMap::new());
        Children { service, next: 1, forked, spare: Spare::default(), strays }
    }

    /// Returns a number for a template, worker or stray.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Adds a living worker of `dispatcher`.
    pub(super) fn add(
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
            return dispatcher.refused(reason);
        }
        self.forked.push(Forked { dispatcher, link: Arc::new(link), tasks });
    }

    /// Takes the workers added since the last call.
    pub(super) fn take_forked(&mut self) -> Vec<Forked> {
        std::mem::take(&mut self.forked)
    }

    /// Adds a stray.
    pub(super) fn add_stray(&mut self, pid: u32, pidfd: OwnedFd) {
        let number = self.number();
        if self.service.poll.add(&pidfd, number * 2 + 1).is_ok() {
            self.strays.insert(number, Stray { pid, pidfd, _link: None });
        } else {
            child::kill_and_wait(pid);
        }
    }

    /// Adds a worker that goes on without a pool, as it cannot be killed. Without a descriptor to
    /// watch it by, it is never reaped, and its descriptors and memory are leaked.
    pub(super) fn add_living(&mut self, link: Arc<WorkerLink>) {
        let number = self.number();
        match link.pidfd.try_clone() {
            Ok(pidfd) if self.service.poll.add(&pidfd, number * 2 + 1).is_ok() => {
                let pid = link.pid;
                self.strays.insert(number, Stray { pid, pidfd, _link: Some(link) });
            }
            _ => std::mem::forget(link),
        }
    }

    /// Removes a process that was taken for a stray: its template has reported it as a worker.
    pub(super) fn is_no_stray(&mut self, pid: u32) {
        self.strays.retain(|_, stray| stray.pid != pid);
    }

    /// Returns true if `id` is the number of a stray.
    pub(super) fn is_stray(&self, id: u64) -> bool {
        self.strays.contains_key(&id)
    }

    /// Reaps the stray with this number, if there is one and it has ended.
    pub(super) fn reap_stray(&mut self, id: u64) {
        if self.strays.get(&id).is_some_and(|stray| child::reap(&stray.pidfd).is_some()) {
            self.strays.remove(&id);
        }
    }

    /// Returns true if the process is a new worker or a stray.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.forked.iter().any(|forked| forked.link.pid == pid)
            || self.strays.values().any(|stray| stray.pid == pid)
    }
}
