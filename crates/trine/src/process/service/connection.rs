//! One worker, as the service thread knows it: what it says through its connection.

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::process::pool::deferred::Received;
use crate::process::pool::dispatcher::Dispatcher;
use crate::process::pool::link::WorkerLink;
use crate::process::wire::reader::{FrameReader, Stream};
use crate::process::wire::{Frame, FrameKind};
use crate::process::worker::limits::Evidence;
use crate::sys::io::Blocking;
use crate::sys::process::child::{self, Ended};
use crate::task::Cause;

pub(in crate::process) struct WorkerConnection {
    pub(in crate::process) dispatcher: Arc<Dispatcher>,
    pub(in crate::process) link: Arc<WorkerLink>,
    incoming: FrameReader,
    /// Whether it has said that there is something in its ring.
    pub(in crate::process) rung: bool,
    /// Whether it has said that its stack is used up.
    overflowed: bool,
    /// Why it could not be made ready, if it said so.
    refusal: Option<String>,
    /// Why it was killed by the service, if it was.
    condemned: Option<String>,
}

impl WorkerConnection {
    pub(in crate::process) fn new(
        dispatcher: Arc<Dispatcher>,
        link: Arc<WorkerLink>,
        incoming: FrameReader,
    ) -> WorkerConnection {
        let (refusal, condemned) = (None, None);
        WorkerConnection {
            dispatcher,
            link,
            incoming,
            rung: false,
            overflowed: false,
            refusal,
            condemned,
        }
    }

    /// Takes what has come through its connection; `dead` says that no more can.
    pub(in crate::process) fn receive(&mut self, scratch: &mut [u8], dead: bool) -> Stream {
        let stream = self.incoming.receive(self.link.socket.as_fd(), scratch, Blocking::No);
        while let Some(frame) = self.incoming.ready.pop_front() {
            if let Err(reason) = self.hear(frame, dead) {
                return Stream::Broken(reason);
            }
        }
        stream
    }

    /// Acts on one frame; `Err` if no worker of ours would send it.
    fn hear(&mut self, frame: Frame, dead: bool) -> Result<(), String> {
        let Frame { head, body, descriptors, .. } = frame;
        match head.kind {
            FrameKind::Ready if dead => {}
            FrameKind::Ready => self.dispatcher.is_ready(&self.link),
            FrameKind::Overflow => self.overflowed = true,
            FrameKind::Bell if head.task == 0 => self.rung = true,
            FrameKind::Bell => {
                // It had nothing to do, and all that it has answered before is there.
                self.link.hear_all(&self.dispatcher, dead);
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
                let answer = Received { head, body: &body, descriptors };
                let (ended, wrong) =
                    self.dispatcher.answered(&self.link, [answer].into_iter(), dead);
                ended.settle(&self.dispatcher, &self.link.service);
                return wrong.map_or(Ok(()), Err);
            }
            FrameKind::Setup | FrameKind::Run | FrameKind::OnSocket => {
                return Err(format!("it sent {:?}, which only masters do", head.kind));
            }
        }
        Ok(())
    }

    /// Ends a worker that is no use any more.
    pub(in crate::process) fn condemn(&mut self, reason: String) {
        self.condemned.get_or_insert(reason);
        child::kill(&self.link.pidfd);
    }

    /// Why a task that it had begun has no value.
    pub(in crate::process) fn cause(&self, ended: Ended, evidence: Evidence) -> Cause {
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

/// What a process that has ended so leaves a task with.
pub(in crate::process) fn cause_of(ended: Ended, evidence: Evidence) -> Cause {
    match ended {
        Ended::Exited(code) => Cause::Exited { code },
        Ended::Signaled { signal, core_dumped } => evidence.cause(signal, core_dumped),
        Ended::Unknown => Cause::Lost {
            reason: "it has ended, and other code of this program has taken the answer how: it \
                         ignores SIGCHLD or waits for any child"
                .into(),
        },
    }
}
