//! The service: one thread of the master that forks, listens to and reaps workers.
//!
//! It starts with the first process task and never ends, because the kernel regards the *thread*
//! that started the template as the parent of all workers and kills them when that thread ends. All
//! signals are blocked in it.

pub(super) mod alarms;
pub(super) mod capture;
pub(super) mod connection;
pub(super) mod launch;
pub(super) mod spare;
pub(super) mod spawner;
pub(super) mod template;

use std::collections::{HashMap, VecDeque};
use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::pool::dispatcher::Dispatcher;
use super::wire::reader::{FrameReader, Stream};
use super::worker::limits as worker_limits;
use crate::sys::io::poll::{Bell, Event, Poll};
use crate::sys::process::child;
use crate::sys::process::fork_detect::Mark;
use crate::sys::{limits, observe};
use alarms::{Alarms, Key, Whom};
use connection::WorkerConnection;
use spawner::{Forked, Spawner};

/// What other threads see of the service.
pub(in crate::process) struct Service {
    pub(in crate::process) poll: Poll,
    bell: Bell,
    /// Workers asked for: for whom, and how many.
    orders: Mutex<Vec<(Arc<Dispatcher>, usize)>>,
    /// Crews that were closed.
    leaving: Mutex<Vec<Arc<Dispatcher>>>,
    alarms: Alarms,
    /// Of the process that it serves.
    mark: Mark,
    thread: OnceLock<u32>,
}

/// Under this number the service watches its bell.
const BELL: u64 = 0;

/// How long a worker may live that has closed its connection: the kernel closes descriptors a
/// moment before it tells of the death, so most of them are dying and will have a better reason.
const GRACE: Duration = Duration::from_secs(1);

/// How often workers are looked at that may have overwritten what they share with their master.
const ROUND: Duration = Duration::from_secs(1);

/// As many answers at once mean that more are on their way: a worker is attended then.
const MANY: usize = 4;

/// How often the service looks at the ring of a worker that it attends: a few dozen tiny tasks.
const TURN: Duration = Duration::from_micros(100);

/// The service of this process, started at the first call.
///
/// # Errors
///
/// Says what kept it from starting; the next call tries again.
pub(in crate::process) fn get() -> Result<&'static Arc<Service>, String> {
    static SERVICE: OnceLock<Arc<Service>> = OnceLock::new();
    /// Whoever starts it; the mark of an earlier one who could not.
    static STARTING: Mutex<Option<Mark>> = Mutex::new(None);
    if let Some(service) = SERVICE.get() {
        return service.check();
    }
    let mut starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(service) = SERVICE.get() {
        return service.check();
    }
    let explain = |error| limits::explain_missing("service for process tasks", &error);
    let mark = match *starting {
        Some(mark) => mark,
        None => *starting.insert(Mark::new().map_err(explain)?),
    };
    // It may have been made in a process that this one is a copy of.
    mark.renew();
    let service = Arc::new(Service {
        poll: Poll::new().map_err(explain)?,
        bell: Bell::new().map_err(explain)?,
        orders: Mutex::default(),
        leaving: Mutex::default(),
        alarms: Alarms::default(),
        mark,
        thread: OnceLock::new(),
    });
    service.poll.add(&service.bell, BELL).map_err(explain)?;
    let served = Arc::clone(&service);
    let signals = child::block_signals();
    let thread = std::thread::Builder::new().name("trine-processes".into()).spawn(move || {
        let _ends_with_it = Indispensable;
        Master::new(served).serve()
    });
    drop(signals);
    thread.map_err(|error| limits::explain_refused_task("thread", &error))?;
    SERVICE.get_or_init(|| service).check()
}

/// Ends the program with the thread whose panic drops it: nobody else could tell the joiners, who would wait for good.
struct Indispensable;

impl Drop for Indispensable {
    fn drop(&mut self) {
        eprintln!(
            "trine: without the thread that serves process tasks no task would end; aborting"
        );
        process::abort();
    }
}

impl Service {
    /// A child made by `fork` has the memory of the service and not its thread.
    fn check(self: &'static Arc<Service>) -> Result<&'static Arc<Service>, String> {
        if !self.mark.is_in_copy() {
            Ok(self)
        } else {
            Err("this process was forked from one that had started process tasks already, and the \
                 thread that serves them exists there only; fork before the first process task"
                .into())
        }
    }

    /// Asks for `count` workers for `dispatcher`.
    pub(in crate::process) fn ask_for_forks(&self, dispatcher: &Arc<Dispatcher>, count: usize) {
        if count == 0 {
            return;
        }
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.push((Arc::clone(dispatcher), count));
        drop(orders);
        self.ring();
    }

    /// Sees to it that a closed dispatcher ends: it gets no workers that it does not need.
    pub(in crate::process) fn retire(&self, dispatcher: &Arc<Dispatcher>) {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(dispatcher));
        self.ring();
    }

    /// Has somebody looked at at this moment.
    pub(in crate::process) fn set_alarm(&self, at: Instant, whom: Whom) {
        if self.alarms.set(at, whom) {
            self.ring();
        }
    }

    /// Takes an alarm back.
    pub(in crate::process) fn unset_alarm(&self, at: Instant, key: Key) {
        self.alarms.unset(at, key);
    }

    /// The service itself looks at orders and alarms before it sleeps.
    fn ring(&self) {
        if self.thread.get() != Some(&observe::thread_id()) {
            self.bell.ring();
        }
    }
}

impl Service {
    fn orders(&self) -> Vec<(Arc<Dispatcher>, usize)> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_orders(&self) -> bool {
        !self.orders.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What the service thread owns.
struct Master {
    service: Arc<Service>,
    forks: Spawner,
    members: HashMap<u64, WorkerConnection>,
    /// Workers that have closed their connection, and until when they may live.
    fading: VecDeque<(Instant, u64)>,
    /// Workers whose rings are looked at every [`TURN`], instead of being rung for.
    attended: Vec<u64>,
    /// When workers are looked at next.
    round: Instant,
    /// Closed dispatchers that have not ended, and from when on they wait for nobody who does not answer.
    leaving: Vec<(Instant, Arc<Dispatcher>)>,
    scratch: Box<[u8]>,
}

impl Master {
    fn new(service: Arc<Service>) -> Master {
        service.thread.set(observe::thread_id()).expect("one thread serves, and says so once");
        Master {
            forks: Spawner::new(Arc::clone(&service)),
            service,
            members: HashMap::new(),
            fading: VecDeque::new(),
            attended: Vec::new(),
            round: Instant::now(),
            leaving: Vec::new(),
            scratch: vec![0; 64 * 1024].into_boxed_slice(),
        }
    }

    fn serve(mut self) {
        let mut happened = Vec::new();
        loop {
            self.take_orders();
            // One moment for both, so that none falls between them.
            let now = Instant::now();
            self.retire(now);
            let leaving = self.leaving.iter().map(|(until, _)| *until).filter(|until| *until > now);
            let fading = self.fading.front().map(|(until, _)| *until);
            let turn = (!self.attended.is_empty()).then(|| now + TURN);
            let round = (!self.members.is_empty()).then_some(self.round);
            let deadline = fading
                .into_iter()
                .chain(leaving)
                .chain(self.forks.due())
                .chain(self.service.alarms.first())
                .chain(turn)
                .chain(round)
                .min();
            let service = Arc::clone(&self.service);
            service.poll.wait(&mut happened, deadline);
            for happened in &happened {
                self.handle(*happened);
            }
            self.attend();
            self.go_round();
            self.end_fading();
            self.forks.look(Instant::now());
            while let Some(whom) = service.alarms.pop(Instant::now()) {
                whom.look();
            }
        }
    }

    /// Asks for the workers that are wanted, until nothing more can be done about it for now.
    fn take_orders(&mut self) {
        loop {
            let orders = self.service.orders();
            self.forks.order(orders);
            for forked in self.forks.pump() {
                self.enlist(forked);
            }
            // A refusal may have woken somebody who has ordered more.
            if !self.service.has_orders() {
                return;
            }
        }
    }

    /// Takes back what closed dispatchers do not need any more. Whoever has not answered for a while (a
    /// template that is stopped, a worker whose initializer goes on) is waited for no longer.
    fn retire(&mut self, now: Instant) {
        let new = std::mem::take(
            &mut *self.service.leaving.lock().unwrap_or_else(PoisonError::into_inner),
        );
        for dispatcher in new {
            if !self.leaving.iter().any(|(_, known)| Arc::ptr_eq(known, &dispatcher)) {
                self.leaving.push((now + GRACE, dispatcher));
            }
        }
        let (forks, members) = (&mut self.forks, &self.members);
        self.leaving.retain(|(until, dispatcher)| {
            let overdue = *until <= now;
            forks.withdraw(dispatcher, overdue);
            let own = |member: &&WorkerConnection| {
                Arc::ptr_eq(&member.dispatcher, dispatcher) && !member.link.is_ready()
            };
            for member in members.values().filter(|member| overdue && own(member)) {
                if dispatcher.has_dismissed(member.link.id) {
                    child::kill(&member.link.pidfd);
                }
            }
            let gone = dispatcher.is_gone();
            if gone {
                forks.left(dispatcher);
            }
            !gone
        });
    }

    fn handle(&mut self, happened: Event) {
        let (id, is_pidfd) = (happened.token / 2, happened.token % 2 == 1);
        if happened.token == BELL {
            self.service.bell.quiet();
        } else if self.forks.is_concerned(id) {
            let members = &self.members;
            self.forks.handle(id, is_pidfd, &|pid| members.values().any(|m| m.link.pid == pid));
        } else if self.members.contains_key(&id) {
            if is_pidfd {
                self.reap(id);
            } else {
                if happened.writable {
                    self.members[&id].dispatcher.room(id);
                }
                if happened.readable {
                    self.listen(id);
                    self.answer_bell(id);
                }
            }
        }
        // Otherwise: news of somebody who was reaped in this very turn.
    }

    fn enlist(&mut self, forked: Forked) {
        let Forked { dispatcher, link, tasks } = forked;
        let incoming = FrameReader::default();
        let member = WorkerConnection::new(Arc::clone(&dispatcher), Arc::clone(&link), incoming);
        self.members.insert(link.id, member);
        crash_point!("master: worker watched, without tasks");
        dispatcher.joined(link, tasks);
    }

    /// Receives what a living worker has sent, a little at a time so that the others get their turn.
    fn listen(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        for _ in 0..16 {
            match member.receive(&mut self.scratch, false) {
                Stream::More => {}
                // Should there be more, the poll says so again.
                Stream::Drained | Stream::WouldBlock => return,
                Stream::Ended => {
                    self.service.poll.remove(&member.link.socket);
                    self.fading.push_back((Instant::now() + GRACE, id));
                    member.dispatcher.hung_up(id);
                    return;
                }
                Stream::Broken(reason) => {
                    self.service.poll.remove(&member.link.socket);
                    member.condemn(reason);
                    return;
                }
            }
        }
    }

    /// Takes what is in the ring of a worker that has rung, and decides whether it is to ring again.
    fn answer_bell(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if !std::mem::take(&mut member.rung) {
            return;
        }
        if member.link.hear(&member.dispatcher) >= MANY {
            member.link.mute();
            if !self.attended.contains(&id) {
                self.attended.push(id);
            }
        } else {
            member.link.listen(&member.dispatcher);
        }
    }

    /// Looks at the rings of workers that answer in quick succession.
    fn attend(&mut self) {
        let members = &self.members;
        self.attended.retain(|id| {
            let Some(member) = members.get(id) else { return false };
            let goes_on = member.link.hear(&member.dispatcher) > 1;
            if !goes_on {
                member.link.listen(&member.dispatcher);
            }
            goes_on
        });
    }

    /// Whoever tells of an answer, or is told of a task, is found by words in memory that a task can overwrite. So from
    /// time to time a worker is asked through its socket.
    fn go_round(&mut self) {
        let now = Instant::now();
        if self.round <= now {
            self.round = now + ROUND;
            self.members.values().for_each(|member| member.dispatcher.ask_after(member.link.id));
        }
    }

    /// A worker has ended: what it sent before still counts, then its task gets the true cause.
    fn reap(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let evidence = worker_limits::evidence(&member.link);
        let Some(ended) = child::reap(&member.link.pidfd) else { return };
        crash_point!("master: worker waited for, its last words not heard");
        // What a dead process has sent fits into a socket; more comes only from one that it left
        // the socket to.
        for _ in 0..4096 {
            match member.receive(&mut self.scratch, true) {
                Stream::More | Stream::Drained => {}
                Stream::WouldBlock | Stream::Ended | Stream::Broken(_) => break,
            }
        }
        member.link.hear_all(&member.dispatcher, true);
        let member = self.members.remove(&id).expect("found above");
        let cause = member.cause(ended, evidence);
        let WorkerConnection { dispatcher, link, .. } = member;
        let was_ready = link.is_ready();
        worker_limits::give_back(&link);
        self.service.poll.remove(&link.socket);
        self.service.poll.remove(&link.pidfd);
        drop(link);
        crash_point!("master: last words heard, tasks not given to others");
        dispatcher.died(id, was_ready, cause).carry_out(&dispatcher, &self.service);
    }

    fn end_fading(&mut self) {
        while self.fading.front().is_some_and(|(until, _)| *until <= Instant::now())
            && let Some((_, id)) = self.fading.pop_front()
        {
            if let Some(member) = self.members.get_mut(&id) {
                member.condemn("it closed the connection to its master and lived on".into());
            }
        }
    }
}
