//! The service thread: its loop, and all that it does for living workers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::WorkerConnection;
use super::evidence;
use super::requests::BELL;
use super::spawner::{Forked, Spawner};
use crate::process::pool::dispatcher::{Dispatcher, Service};
use crate::process::pool::replies;
use crate::process::wire::reader::Stream;
use crate::sys::io::poll::Event;
use crate::sys::process::child;
use crate::task::Cause;

/// The time that a worker may live after it closed its connection. The kernel closes descriptors a
/// moment before it reports a death: most such workers are dying, and their status tells more.
const GRACE: Duration = Duration::from_secs(1);

/// The interval at which workers are probed that may have overwritten the memory they share with
/// their master.
const ROUND: Duration = Duration::from_secs(1);

/// The number of replies taken at once from which on a worker is attended: more are on their way.
const MANY: usize = 4;

/// The interval at which the rings of attended workers are polled: a few dozen tiny tasks.
const TURN: Duration = Duration::from_micros(100);

/// The number of frames of one worker after which the others get their turn.
const TURN_FRAMES: u64 = 256;

/// The state of the service thread.
pub(super) struct ServiceThread {
    service: Arc<Service>,
    spawner: Spawner,
    workers: HashMap<u64, WorkerConnection>,
    /// Workers that have closed their connection, and the moment at which they are killed.
    fading: VecDeque<(Instant, u64)>,
    /// Workers whose rings are polled every [`TURN`], and that do not notify the service.
    attended: Vec<u64>,
    /// The next moment for probing workers.
    round: Instant,
    /// Closed pools that have not ended, and the moment from which on they wait for no process that
    /// does not reply.
    retiring: Vec<(Instant, Arc<Dispatcher>)>,
    scratch: Box<[u8]>,
}

impl ServiceThread {
    /// Called by the service thread.
    pub(super) fn new(service: Arc<Service>) -> ServiceThread {
        service.serve_by_this_thread();
        ServiceThread {
            spawner: Spawner::new(Arc::clone(&service)),
            service,
            workers: HashMap::new(),
            fading: VecDeque::new(),
            attended: Vec::new(),
            round: Instant::now(),
            retiring: Vec::new(),
            scratch: vec![0; 64 * 1024].into_boxed_slice(),
        }
    }

    pub(super) fn serve(mut self) {
        let mut happened = Vec::new();
        loop {
            self.take_fork_requests();
            // One moment for both, so that none falls between them.
            let now = Instant::now();
            self.retire(now);
            let deadline = self.next_deadline(now);
            let service = Arc::clone(&self.service);
            service.poll.wait(&mut happened, deadline);
            for happened in &happened {
                self.handle(*happened);
            }
            self.attend();
            self.probe();
            self.give_up_unkillable();
            self.end_fading();
            self.spawner.check_deadlines(Instant::now());
            while let Some(alarm) = service.alarms.pop(Instant::now()) {
                if let Some(dispatcher) = alarm.pool.upgrade() {
                    match alarm.task {
                        Some(task) => dispatcher.check_task(task.record()),
                        None => check(&dispatcher),
                    }
                }
            }
        }
    }

    /// Returns the moment at which the thread has something to do, whatever happens until then.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let retiring = self.retiring.iter().map(|(until, _)| *until).filter(|until| *until > now);
        let fading = self.fading.front().map(|(until, _)| *until);
        let turn = (!self.attended.is_empty()).then(|| now + TURN);
        let round = (!self.workers.is_empty()).then_some(self.round);
        fading
            .into_iter()
            .chain(retiring)
            .chain(self.spawner.due())
            .chain(self.service.alarms.first())
            .chain(turn)
            .chain(round)
            .min()
    }

    /// Requests the wanted workers from templates, until nothing more can be done for now.
    fn take_fork_requests(&mut self) {
        loop {
            let wanted = self.service.take_forks();
            self.spawner.want(wanted);
            for forked in self.spawner.pump() {
                self.enlist(forked);
            }
            // A refusal may have woken a task that has requested more.
            if !self.service.has_forks() {
                return;
            }
        }
    }

    /// Withdraws requests that closed pools do not need any more. After a while, they wait no
    /// longer for a process that does not reply: a stopped template, a worker whose initializer
    /// goes on.
    fn retire(&mut self, now: Instant) {
        for dispatcher in self.service.take_retiring() {
            if !self.retiring.iter().any(|(_, known)| Arc::ptr_eq(known, &dispatcher)) {
                self.retiring.push((now + GRACE, dispatcher));
            }
        }
        let (spawner, workers) = (&mut self.spawner, &self.workers);
        self.retiring.retain(|(until, dispatcher)| {
            let overdue = *until <= now;
            spawner.withdraw(dispatcher, overdue);
            let own = |worker: &&WorkerConnection| {
                Arc::ptr_eq(&worker.dispatcher, dispatcher) && !worker.link.is_ready()
            };
            for worker in workers.values().filter(|worker| overdue && own(worker)) {
                if dispatcher.has_dismissed(worker.link.id) {
                    worker.link.kill();
                }
            }
            let is_ended = dispatcher.is_ended();
            if is_ended {
                spawner.pool_ended(dispatcher);
            }
            !is_ended
        });
    }

    fn handle(&mut self, happened: Event) {
        let (id, is_pidfd) = (happened.token / 2, happened.token % 2 == 1);
        if happened.token == BELL {
            self.service.bell.quiet();
        } else if self.spawner.is_concerned(id) {
            let workers = &self.workers;
            self.spawner.handle(id, is_pidfd, &|pid| workers.values().any(|w| w.link.pid == pid));
        } else if self.workers.contains_key(&id) {
            if is_pidfd {
                self.reap(id);
            } else {
                if happened.writable {
                    self.workers[&id].dispatcher.room(id);
                }
                if happened.readable {
                    self.receive(id);
                    self.answer_bell(id);
                }
            }
        }
        // Otherwise: an event of a worker that was reaped in this turn.
    }

    fn enlist(&mut self, forked: Forked) {
        let Forked { dispatcher, link, tasks } = forked;
        let worker = WorkerConnection::new(Arc::clone(&dispatcher), Arc::clone(&link));
        self.workers.insert(link.id, worker);
        crash_point!("master: worker watched, without tasks");
        dispatcher.joined(link, tasks);
    }

    /// Receives frames of a living worker, a few at a time so that the others get their turn.
    fn receive(&mut self, id: u64) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let most = worker.frames + TURN_FRAMES;
        for _ in 0..16 {
            match worker.receive(&mut self.scratch, false) {
                Stream::More if worker.frames < most => {}
                Stream::More => return,
                // If there is more, the poll reports it again.
                Stream::Drained | Stream::WouldBlock => return,
                Stream::Ended => {
                    self.service.poll.remove(&worker.link.socket);
                    self.fading.push_back((Instant::now() + GRACE, id));
                    worker.dispatcher.hung_up(id);
                    return;
                }
                Stream::Broken(reason) => {
                    self.service.poll.remove(&worker.link.socket);
                    worker.condemn(reason);
                    return;
                }
            }
        }
    }

    /// Takes the replies of a worker that has notified the service, and decides if it is to do so
    /// again.
    fn answer_bell(&mut self, id: u64) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !std::mem::take(&mut worker.rung) {
            return;
        }
        if replies::receive(&worker.dispatcher, &worker.link) >= MANY {
            worker.link.mute();
            if !self.attended.contains(&id) {
                self.attended.push(id);
            }
        } else {
            replies::listen(&worker.dispatcher, &worker.link);
        }
    }

    /// Polls the rings of workers that reply in quick succession.
    fn attend(&mut self) {
        let workers = &self.workers;
        self.attended.retain(|id| {
            let Some(worker) = workers.get(id) else { return false };
            let goes_on = replies::receive(&worker.dispatcher, &worker.link) > 1;
            if !goes_on {
                replies::listen(&worker.dispatcher, &worker.link);
            }
            goes_on
        });
    }

    /// Probes each worker over its socket from time to time: notification state is in memory that
    /// a task can corrupt.
    fn probe(&mut self) {
        let now = Instant::now();
        if self.round <= now {
            self.round = now + ROUND;
            self.workers.values().for_each(|worker| worker.dispatcher.probe(worker.link.id));
        }
    }

    /// Reaps a worker. Its last replies still count; then its task gets the true cause.
    fn reap(&mut self, id: u64) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let evidence = evidence::gather(&worker.link);
        let Some(ended) = child::reap(&worker.link.pidfd) else { return };
        crash_point!("master: worker waited for, its last words not heard");
        worker.drain(&mut self.scratch);
        replies::receive_all(&worker.dispatcher, &worker.link, true);
        let worker = self.workers.remove(&id).expect("found above");
        let cause = worker.cause(ended, evidence);
        let WorkerConnection { dispatcher, link, .. } = worker;
        let was_ready = link.is_ready();
        evidence::give_back(&link);
        self.service.poll.remove(&link.socket);
        self.service.poll.remove(&link.pidfd);
        drop(link);
        crash_point!("master: last words heard, tasks not given to others");
        dispatcher.died(id, was_ready, cause);
    }

    /// Ends the tasks of workers that go on though they were killed, and waits for the end of those
    /// processes without a pool. It comes when `probe` has woken the thread, at the latest.
    fn give_up_unkillable(&mut self) {
        let now = Instant::now();
        let living = |(id, worker): (&u64, &WorkerConnection)| {
            worker.link.why_it_lives(now).map(|reason| (*id, reason))
        };
        let unkillable: Vec<_> = self.workers.iter().filter_map(living).collect();
        for (id, reason) in unkillable {
            let worker = self.workers.remove(&id).expect("found above");
            let WorkerConnection { dispatcher, link, .. } = worker;
            self.service.poll.remove(&link.socket);
            self.service.poll.remove(&link.pidfd);
            self.spawner.outlives_its_pool(link);
            dispatcher.gave_up(id, &Cause::Lost { reason });
        }
    }

    fn end_fading(&mut self) {
        while self.fading.front().is_some_and(|(until, _)| *until <= Instant::now())
            && let Some((_, id)) = self.fading.pop_front()
        {
            // One that is being killed closes its connection, too.
            if let Some(worker) = self.workers.get_mut(&id).filter(|one| !one.link.is_doomed()) {
                worker.condemn("it closed the connection to its master and lived on".into());
            }
        }
    }
}

/// Acts on the alarm of a whole pool. Replies that came in time count: they are taken before the
/// limits of tasks are checked.
fn check(dispatcher: &Arc<Dispatcher>) {
    for link in dispatcher.limited_links() {
        replies::receive_present(dispatcher, &link);
    }
    dispatcher.check();
}
