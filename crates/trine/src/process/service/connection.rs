//! The socket of one worker, as the service thread reads it.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::evidence::{Evidence, cause_of};
use crate::process::pool::dispatcher::Dispatcher;
use crate::process::pool::link::WorkerLink;
use crate::process::pool::replies;
use crate::process::task::value;
use crate::process::wire::reader::{FrameReader, Stream};
use crate::process::wire::{Frame, FrameKind, Head, LONGEST_FAILURE};
use crate::sys::io::{Blocking, socket};
use crate::sys::process::child::Ended;
use crate::task::Cause;

pub(super) struct WorkerConnection {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) link: Arc<WorkerLink>,
    incoming: FrameReader,
    /// The number of frames that were acted on.
    pub(super) frames: u64,
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
            frames: 0,
            rung: false,
            overflowed: false,
            refusal: None,
            condemned: None,
        }
    }

    /// Receives and acts on frames; `dead` says that no more can come.
    pub(super) fn receive(&mut self, scratch: &mut [u8], dead: bool) -> Stream {
        let WorkerConnection { dispatcher, link, incoming, .. } = self;
        let admit = &mut |head: &Head, len, descriptors| {
            admit(dispatcher, link.id, head, (len, descriptors))
        };
        let stream = incoming.receive_admitted(link.socket.as_fd(), scratch, Blocking::No, admit);
        while let Some(frame) = self.incoming.ready.pop_front() {
            self.frames += 1;
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
            // A reply to an earlier question, or to none.
            FrameKind::Bell if !self.dispatcher.awaits_reply(self.link.id, head.task) => {}
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

    /// Receives all bytes that a dead worker has left, and acts on whole frames. Afterwards the
    /// socket has no descriptors for whose end its owner could have to wait.
    ///
    /// A process that the worker has forked may have its socket, too; it can send no more.
    pub(super) fn drain(&mut self, scratch: &mut [u8]) {
        socket::refuse_more(&self.link.socket);
        loop {
            match self.receive(scratch, true) {
                Stream::More | Stream::Drained => {}
                Stream::WouldBlock | Stream::Ended => return,
                Stream::Broken(_) => break,
            }
        }
        while let Ok(part) = socket::receive_with(&self.link.socket, scratch, Blocking::No)
            && part.len > 0
        {}
    }

    /// Kills a worker that is of no use any more.
    pub(super) fn condemn(&mut self, reason: String) {
        self.condemned.get_or_insert(reason);
        self.link.kill();
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

/// Decides about a frame of which the head has arrived: no worker fills the master's memory or its
/// table of descriptors by more than its task may return.
///
/// # Errors
///
/// No intact worker would send it.
fn admit(
    dispatcher: &Dispatcher,
    worker: u64,
    head: &Head,
    (len, descriptors): (u64, usize),
) -> Result<(), String> {
    let most = match head.kind {
        FrameKind::Value => {
            let Some(most) = dispatcher.room_for(worker, head) else {
                return Err(format!(
                    "it answered task {}, item {}, which it does not have",
                    head.task, head.item
                ));
            };
            // A byte before the value says where it is.
            if len > most.saturating_add(1) {
                return Err(value::known_too_long(most));
            }
            return Ok(());
        }
        FrameKind::Failed | FrameKind::Refused => LONGEST_FAILURE,
        FrameKind::Progress => 8,
        _ => 0,
    };
    if len > most {
        return Err(format!("it sent {:?} with {len} bytes, and {most} are the most", head.kind));
    }
    if descriptors > 0 {
        return Err(format!("it sent {:?} with descriptors, which only results have", head.kind));
    }
    Ok(())
}
