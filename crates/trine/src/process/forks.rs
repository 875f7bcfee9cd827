//! Getting workers from the template, and a new template when the old one is gone.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::board::Place;
use super::crew::Crew;
use super::launch::{self, Template};
use super::lines::{self, MasterLines};
use super::link::Link;
use super::ring::Producer;
use super::service::Service;
use super::wire::{ForkReply, ForkRequest, GREETING, PACKET};
use super::{template, worker};
use crate::sys::socket::{self, Packet, Patience};
use crate::sys::{child, limits};

/// Forks asked of the template and not answered, at the most: descriptors under way count
/// against a limit, and each of them holds two of this process.
const AT_ONCE: usize = 32;
/// After how many templates in a row that died before they were ready no more are started.
const MOST_STILLBORN: u32 = 3;

/// The forking side of the service.
pub(super) struct Forks {
    service: Arc<Service>,
    template: Option<Template>,
    /// Workers wanted and not asked for yet: for whom, and how many.
    wanted: VecDeque<(Arc<Crew>, usize)>,
    /// Workers asked for, by request.
    asked: HashMap<u64, Asked>,
    /// Workers that the template has forked.
    forked: Vec<Forked>,
    /// Children of templates that died before they could tell of them, by number.
    strays: HashMap<u64, OwnedFd>,
    /// Templates in a row that died before they were ready.
    stillborn: u32,
    /// The next number for a template, worker or stray; 0 is the bell's.
    next: u64,
}

/// A worker under way.
struct Asked {
    crew: Arc<Crew>,
    socket: OwnedFd,
    place: Place,
    lines: Option<MasterLines>,
}

/// A new worker, and the ring of its tasks.
pub(super) struct Forked {
    pub(super) crew: Arc<Crew>,
    pub(super) link: Arc<Link>,
    pub(super) tasks: Option<Producer>,
}

/// Why a worker could not be asked for.
enum NotAsked {
    /// The template is busy or dying; an event will tell.
    Yet(Arc<Crew>),
    /// For this reason.
    Because(Arc<Crew>, String),
}

impl Forks {
    pub(super) fn new(service: Arc<Service>) -> Forks {
        Forks {
            service,
            template: None,
            wanted: VecDeque::new(),
            asked: HashMap::new(),
            forked: Vec::new(),
            strays: HashMap::new(),
            stillborn: 0,
            next: 1,
        }
    }

    /// Notes workers that are wanted.
    pub(super) fn order(&mut self, orders: Vec<(Arc<Crew>, usize)>) {
        self.wanted.extend(orders);
    }

    /// Asks for as many of the wanted workers as may be under way, and gives out the new ones.
    pub(super) fn pump(&mut self) -> Vec<Forked> {
        while self.asked.len() < AT_ONCE
            && let Some((crew, count)) = self.wanted.pop_front()
        {
            if count > 1 {
                self.wanted.push_front((Arc::clone(&crew), count - 1));
            }
            if crew.withdraw() {
                continue;
            }
            match self.ask(crew) {
                Ok(()) => {}
                Err(NotAsked::Yet(crew)) => {
                    self.wanted.push_front((crew, 1));
                    break;
                }
                Err(NotAsked::Because(crew, reason)) => self.refuse(&crew, reason),
            }
        }
        std::mem::take(&mut self.forked)
    }

    /// Whether `id` is the number of a template or a stray.
    pub(super) fn is_concerned(&self, id: u64) -> bool {
        self.template.as_ref().is_some_and(|template| template.id == id)
            || self.strays.contains_key(&id)
    }

    /// Acts on an event of a template or a stray.
    pub(super) fn handle(&mut self, id: u64, is_pidfd: bool, is_member: &dyn Fn(u32) -> bool) {
        if let Some(stray) = self.strays.get(&id) {
            if child::reap(stray).is_some() {
                self.strays.remove(&id);
            }
            return;
        }
        self.hear();
        if is_pidfd {
            self.bury_template(is_member);
        }
    }

    fn ask(&mut self, crew: Arc<Crew>) -> Result<(), NotAsked> {
        if self.template.is_none() {
            match self.start_template() {
                Ok(template) => self.template = Some(template),
                Err(reason) => return Err(NotAsked::Because(crew, reason)),
            }
        }
        let template = self.template.as_ref().expect("there is one now");
        let Some(place) = template.board.take() else {
            let reason = format!("{} workers live, as many as trine serves", super::board::PLACES);
            return Err(NotAsked::Because(crew, reason));
        };
        let (socket, theirs) = match socket::stream_pair() {
            Ok(pair) => pair,
            Err(error) => {
                let reason = limits::explain_missing("socket for a worker process", &error);
                return Err(NotAsked::Because(crew, reason));
            }
        };
        let lines = crew.has_lines().then(lines::create).transpose();
        let (lines, memory) = match lines {
            Ok(lines) => lines.unzip(),
            Err(error) => {
                let reason = limits::explain_missing("shared memory for a worker process", &error);
                return Err(NotAsked::Because(crew, reason));
            }
        };
        let request = ForkRequest {
            request: self.next,
            place: place.number,
            has_lines: lines.is_some(),
            awaits_setup: crew.setup().is_some(),
        };
        let packet = postcard::to_stdvec(&request).expect("numbers only");
        let theirs: Vec<_> = [&theirs].into_iter().chain(&memory).map(AsFd::as_fd).collect();
        match socket::send_packet(&template.socket, &packet, &theirs, Patience::Now) {
            Ok(()) => {
                self.next += 1;
                self.asked.insert(request.request, Asked { crew, socket, place, lines });
                Ok(())
            }
            // It has requests to answer, or is dead, which its pidfd will tell.
            Err(error) if will_be_told(&error) => Err(NotAsked::Yet(crew)),
            Err(error) => {
                let reason = limits::explain_missing(
                    "way to hand over the socket of a worker process",
                    &error,
                );
                Err(NotAsked::Because(crew, reason))
            }
        }
    }

    fn refuse(&self, crew: &Arc<Crew>, reason: String) {
        crew.refused(reason).carry_out(crew, &self.service);
    }

    fn start_template(&mut self) -> Result<Template, String> {
        if self.stillborn >= MOST_STILLBORN {
            // The next task tries again.
            self.stillborn = 0;
            return Err(format!(
                "the template process (this program, started again) died {MOST_STILLBORN} times \
                 before it was ready; what it wrote to standard error may tell why"
            ));
        }
        let template = launch::start(self.next)?;
        self.next += 1;
        let poll = &self.service.poll;
        let watched = poll
            .add(&template.socket, template.id * 2)
            .and_then(|()| poll.add(&template.pidfd, template.id * 2 + 1));
        match watched {
            Ok(()) => Ok(template),
            Err(error) => {
                child::kill_and_wait(template.pid);
                Err(limits::explain_missing("watch over the template process", &error))
            }
        }
    }

    /// Receives what the template has sent.
    fn hear(&mut self) {
        loop {
            let Some(template) = &mut self.template else { return };
            let mut packet = [0; PACKET];
            let received =
                match socket::receive_packet(&template.socket, &mut packet, Patience::Now) {
                    Ok(received) if received.len > 0 => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    // The end. Its death follows; if it lives on without a master, it is of no use.
                    Ok(_) | Err(_) => {
                        self.service.poll.remove(&template.socket);
                        child::kill(&template.pidfd);
                        return;
                    }
                };
            if packet[..received.len] == *GREETING {
                template.greeted = true;
                self.stillborn = 0;
            } else if let Ok(reply) = postcard::from_bytes(&packet[..received.len]) {
                self.forked(reply, received);
            }
        }
    }

    /// The template has answered a request.
    fn forked(&mut self, reply: ForkReply, mut packet: Packet) {
        let Some(Asked { crew, socket, place, lines }) = self.asked.remove(&reply.request) else {
            return;
        };
        let pid = match reply.forked {
            Ok(pid) => pid,
            Err(number) => {
                let error = io::Error::from_raw_os_error(number);
                let reason = limits::explain_refused_task("process", &error);
                return self.refuse(&crew, reason);
            }
        };
        let Some(pidfd) = packet.descriptors.pop() else {
            // No descriptor was left to receive the handle with.
            child::kill_and_wait(pid);
            let error = limits::out_of_descriptors();
            let reason = limits::explain_missing("handle for a worker process", &error);
            return self.refuse(&crew, reason);
        };
        let (id, service) = (reply.request, Arc::clone(&self.service));
        let (link, tasks) = Link::new((id, pid), (socket, pidfd), place, lines, service);
        let poll = &self.service.poll;
        let watched = poll
            .add(&link.socket, link.token())
            .and_then(|()| poll.add(&link.pidfd, link.pidfd_token()));
        if let Err(error) = watched {
            child::kill_and_wait(pid);
            let reason = limits::explain_missing("watch over a worker process", &error);
            return self.refuse(&crew, reason);
        }
        self.forked.push(Forked { crew, link: Arc::new(link), tasks });
    }

    /// The template has ended; what was asked of it is asked of the next.
    fn bury_template(&mut self, is_member: &dyn Fn(u32) -> bool) {
        let Some(template) = &self.template else { return };
        if child::reap(&template.pidfd).is_none() {
            return;
        }
        if !template.greeted {
            self.stillborn += 1;
        }
        // Dropping the sockets ends workers that were forked and not told of.
        let unanswered = self.asked.drain().map(|(_, asked)| (asked.crew, 1));
        self.wanted.extend(unanswered);
        self.template = None;
        self.adopt_strays(is_member);
    }

    /// Finds workers that a dying template has forked and not told of: children of this thread
    /// that nobody knows. They end by themselves, and somebody has to take their answers.
    fn adopt_strays(&mut self, is_member: &dyn Fn(u32) -> bool) {
        let ours = [template::SHORT_NAME, worker::SHORT_NAME].map(|name| name.to_str().ok());
        for pid in child::of_calling_thread() {
            let new = self.forked.iter().any(|forked| forked.link.pid == pid);
            // Children of an ended thread may have become this thread's: they are not ours.
            if new || is_member(pid) || !ours.contains(&child::short_name(pid).as_deref()) {
                continue;
            }
            if let Ok(stray) = child::open(pid)
                && self.service.poll.add(&stray, self.next * 2 + 1).is_ok()
            {
                self.strays.insert(self.next, stray);
                self.next += 1;
            }
        }
    }
}

/// Whether an error of a send to the template is followed by an event that tells what to do.
fn will_be_told(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | BrokenPipe | ConnectionReset | NotConnected)
}
