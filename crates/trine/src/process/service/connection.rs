//! The socket of one worker, as the service thread reads it.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::evidence::{Evidence, cause_of};
use crate::process::pool::dispatcher::Dispatcher;
use crate::process::pool::link::WorkerLink;
use crate::process::pool::replies;
use crate::process::wire::reader::{FrameReader, Stream};
use crate::process::wire::{Frame, FrameKind};
use crate::sys::io::Blocking;
use crate::sys::process::child::{self, Ended};
use crate::task::Cause;

pub(super) struct WorkerConnection {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) link: Arc<WorkerLink>,
    incoming: FrameReader,
    /// True if it has notified the service that there is something in its ring.
    pub(super) rung: bool,
    /// True if it has reported that its stack is used up.
    overflowed: bool,
    /// The reason it gave for not becoming ready.
    refusal: Option<String>,
    /// The reason for which the service killed it.
    condemned: Option<String>,
}

impl WorkerConnection {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, link: Arc<WorkerLink>) -> WorkerConnection {
        WorkerConnection {
            dispatcher,
            link,
            incoming: FrameReader::default(),
            rung: false,
            overflowed: false,
            refusal: None,
            condemned: None,
        }
    }

    /// Receives and acts on frames; `dead` says that no more can come.
    pub(super) fn receive(&mut self, scratch: &mut [u8], dead: bool) -> Stream {
        let stream = self.incoming.receive(self.link.socket.as_fd(), scratch, Blocking::No);
        while let Some(frame) = self.incoming.ready.pop_front() {
            if let Err(reason) = self.handle(frame, dead) {
                return Stream::Broken(reason);
            }
        }
        stream
    }

    /// Acts on one frame.
    ///
    /// # Errors
    ///
    /// No intact worker would send it.
    fn handle(&mut self, frame: Frame, dead: bool) -> Result<(), String> {
        let Frame { head, body, descriptors, .. } = frame;
        match head.kind {
            FrameKind::Ready if dead => {}
            FrameKind::Ready => self.dispatcher.is_ready(&self.link),
            FrameKind::Overflow => self.overflowed = true,
            FrameKind::Bell if head.task == 0 => self.rung = true,
            FrameKind::Bell => {
                // It was idle when it sent this, and all of its earlier replies are there.
                replies::receive_all(&self.dispatcher, &self.link, dead);
                if self.dispatcher.is_first(self.link.id, head.task) {
                    return Err("it has lost its task, or the answer to it".into());
                }
            }
            FrameKind::Refused if !self.link.is_ready() => {
                self.refusal = Some(String::from_utf8_lossy(&body).into_owned());
            }
            FrameKind::Value | FrameKind::Failed | FrameKind::Refused | FrameKind::Progress => {
                // A worker that refuses a task ends.
                let dead = dead || head.kind == FrameKind::Refused;
                let reply = (head, &*body, descriptors);
                return replies::deliver(&self.dispatcher, &self.link, reply, dead);
            }
            FrameKind::Setup | FrameKind::Run | FrameKind::OnSocket => {
                return Err(format!("it sent {:?}, which only masters do", head.kind));
            }
        }
        Ok(())
    }

    /// Kills a worker that is of no use any more.
    pub(super) fn condemn(&mut self, reason: String) {
        self.condemned.get_or_insert(reason);
        child::kill(&self.link.pidfd);
    }

    /// Returns the cause of failure for a task that it had begun.
    pub(super) fn cause(&self, ended: Ended, evidence: Evidence) -> Cause {
        if self.overflowed {
            return Cause::StackOverflow;
        }
        if let Some(reason) = &self.refusal {
            return Cause::NotSpawned { reason: reason.clone() };
        }
        if let Some(reason) = self.condemned.as_ref().or(self.link.broken()) {
            return Cause::Lost { reason: reason.clone() };
        }
        cause_of(ended, evidence)
    }
}
