//! The master's end of one worker.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Place;
use super::capture::Capture;
use super::job::Job;
use super::service::Service;
use crate::sys::poll::Interest;
use crate::sys::socket::{self, Patience};
use crate::sys::{child, termination};
use crate::task::{Cause, Printed};

/// One living worker: two descriptors and a place on the board, given back when dropped.
pub(super) struct Link {
    /// The master's own number of the worker; never used twice.
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) socket: OwnedFd,
    pub(super) pidfd: OwnedFd,
    pub(super) place: Place,
    /// What it prints, if that is captured.
    pub(super) capture: Option<Capture>,
    pub(super) service: Arc<Service>,
}

/// What a worker is doing, as its master knows.
pub(super) struct Post {
    pub(super) link: Arc<Link>,
    /// The task it was given and has not answered.
    pub(super) job: Option<Job>,
    /// Frames on their way out, each with how much of it is gone.
    out: VecDeque<(Arc<Vec<u8>>, usize)>,
    /// Whether the service waits for room to write.
    waits_for_room: bool,
    /// Whether it was told to end.
    pub(super) dismissed: bool,
}

impl Post {
    pub(super) fn new(link: Arc<Link>) -> Post {
        let out = VecDeque::new();
        Post { link, job: None, out, waits_for_room: false, dismissed: false }
    }

    /// Gives the worker a task; never sleeps. That the worker is dead already shows at its pidfd.
    pub(super) fn hand(&mut self, mut job: Job) {
        debug_assert!(self.job.is_none() && !self.dismissed);
        job.given_to(self.link.pid);
        self.out.extend(job.setup.iter().chain([&job.call]).map(|frame| (Arc::clone(frame), 0)));
        self.job = Some(job);
        self.flush();
    }

    /// Sends a frame that is no task; never sleeps.
    pub(super) fn send(&mut self, frame: Arc<Vec<u8>>) {
        self.out.push_back((frame, 0));
        self.flush();
    }

    /// Asks the worker to end its task, once, and has the service look again when `grace` is over.
    pub(super) fn stop(&mut self, cause: Cause, grace: Duration, service: &Service) {
        let Some(job) = &mut self.job else { return };
        let (id, cancelled) = (job.id(), matches!(cause, Cause::Cancelled { .. }));
        if job.stop(cause, grace, service) {
            if cancelled {
                self.link.place.cancel(id);
            } else {
                self.link.place.expire(id);
            }
            termination::ask(&self.link.pidfd);
        }
    }

    /// Kills the worker if the grace of its task is over.
    pub(super) fn kill_if_due(&mut self, now: Instant) {
        if self.job.as_mut().is_some_and(|job| job.kill_if_due(now)) {
            child::kill(&self.link.pidfd);
        }
    }

    /// Writes as much as there is room for.
    pub(super) fn flush(&mut self) {
        while let Some((frame, gone)) = self.out.front_mut() {
            match socket::send(&self.link.socket, &frame[*gone..], Patience::Now) {
                Ok(sent) if *gone + sent < frame.len() => *gone += sent,
                Ok(_) => drop(self.out.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.out.clear(),
            }
        }
        if self.waits_for_room == self.out.is_empty() {
            self.waits_for_room = !self.out.is_empty();
            let interest = if self.waits_for_room { Interest::ReadWrite } else { Interest::Read };
            self.link.service.poll.change(&self.link.socket, self.link.token(), interest);
        }
    }

    /// Tells an idle worker to end.
    pub(super) fn dismiss(&mut self) {
        debug_assert!(self.job.is_none());
        self.dismissed = true;
        socket::hang_up(&self.link.socket);
    }

    /// Whether the worker has begun the task that it was given last.
    pub(super) fn has_begun(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.id() == self.link.place.begun())
    }
}

impl Link {
    /// The end of what the worker has printed since the last call, if that is captured.
    pub(super) fn printed(&self) -> Option<Printed> {
        self.capture.as_ref().map(Capture::take)
    }

    /// Under which number the service watches the socket.
    pub(super) fn token(&self) -> u64 {
        self.id * 2
    }

    /// Under which number the service watches the pidfd.
    pub(super) fn pidfd_token(&self) -> u64 {
        self.id * 2 + 1
    }
}
