//! What a worker of a master gets and sends: through rings in shared memory where it can, through the socket
//! where it must.
//!
//! | what | way |
//! |---|---|
//! | short tasks and answers of a pool's worker | rings |
//! | long ones, such with descriptors, all of a fresh process | socket |
//! | "look into your ring", to one that sleeps | socket; a master's thread by the futex of its word |
//!
//! A worker that has answered spins for a moment: the joiner, if it looks by itself, takes the answer and brings the
//! next task, and nobody is woken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::thread;
use std::time::Duration;

use super::limits;
use crate::process::wire::reader::{FrameReader, Stream};
use crate::process::wire::ring::{self, Consumer, Producer};
use crate::process::wire::rings::{NOBODY, THREAD, Words, WorkerRings};
use crate::process::wire::spin::TimedSpin;
use crate::process::wire::{self, Frame, FrameKind, HEAD, Head, RECORD_HEAD};
use crate::sys::futex;
use crate::sys::io::socket;

/// Where orders come from.
pub(in crate::process) struct Inbox {
    pub(in crate::process) outbox: Outbox,
    tasks: Option<Consumer>,
    incoming: FrameReader,
    scratch: Box<[u8]>,
    /// Memory for the next record.
    spare: Vec<u8>,
    spin: TimedSpin,
    /// Whether the master knows that the worker is there: by an answer, or because it was told.
    offered: bool,
}

/// Where answers go.
pub(in crate::process) struct Outbox {
    socket: OwnedFd,
    ring: Option<Ring>,
    /// The frame that is being made.
    reply: Vec<u8>,
}

struct Ring {
    words: Words,
    answers: Producer,
    /// Where the last answer stands that nobody was told of.
    untold: Option<u64>,
    /// How long a joiner that looks by itself is given to take it.
    spin: TimedSpin,
    /// Whether the master has ever been told: whoever waits for a fresh worker sleeps, so its first answer does not wait.
    told: bool,
}

/// How often an answer that finds no room in the ring is tried again before it goes through the socket.
const TRIES: u32 = 200;
/// The later half of these are so far apart: the master is busy with something else.
const PAUSE: Duration = Duration::from_micros(100);
/// How long after a refusal, as too much is on its way between others, an answer is sent again.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// A buffer for long answers is given back if it is longer than this.
const KEPT: usize = 1 << 20;

/// Where an inbox receives.
pub(in crate::process) fn scratch() -> Box<[u8]> {
    vec![0; 8192].into_boxed_slice()
}

impl Inbox {
    pub(in crate::process) fn new(
        socket: OwnedFd,
        lines: Option<WorkerRings>,
        scratch: Box<[u8]>,
    ) -> Inbox {
        let (ring, tasks) = lines
            .map(|WorkerRings { words, tasks, answers }| {
                (Ring { words, answers, untold: None, spin: TimedSpin::new(), told: false }, tasks)
            })
            .unzip();
        Inbox {
            outbox: Outbox { socket, ring, reply: Vec::new() },
            tasks,
            incoming: FrameReader::default(),
            scratch,
            spare: Vec::new(),
            spin: TimedSpin::new(),
            offered: false,
        }
    }

    /// The next order. Where none can come any more, the worker ends.
    ///
    /// One that finds none at its first look tells the master that it is there: there may be tasks that wait for a worker
    /// that is not ready. What was taken back from it does not count.
    pub(in crate::process) fn next(&mut self) -> Frame {
        loop {
            let Some(tasks) = &mut self.tasks else { return self.frame() };
            let mut record = std::mem::take(&mut self.spare);
            record.clear();
            match tasks.take(&mut record) {
                Ok(true) => {
                    self.offered = true;
                    self.outbox.settle(|| true);
                    return self.order(record);
                }
                Ok(false) => self.spare = record,
                Err(ring::Broken) => end_of_nonsense("its ring is overwritten"),
            }
            if !std::mem::replace(&mut self.offered, true) {
                self.outbox.send(&wire::head(FrameKind::Ready, 0, 0), &[]);
                continue;
            }
            // One that has a record was announced before it came, so this one has none.
            if let Some(frame) = self.incoming.ready.pop_front() {
                self.outbox.settle(|| true);
                if frame.head.kind != FrameKind::Bell {
                    return frame;
                }
                self.outbox.reply_to(&frame.head);
                continue;
            }
            self.outbox.settle(|| tasks.is_ready());
            if tasks.is_ready() || self.spin.spin(|| false, || tasks.is_ready()) {
                continue;
            }
            let words = &self.outbox.ring.as_ref().expect("both rings or none").words;
            words.fall_asleep();
            crash_point!("worker: about to sleep");
            if !tasks.is_ready() {
                // Something comes: the bell, the frame of a long task, the end.
                receive(&self.outbox.socket, &mut self.incoming, &mut self.scratch);
            }
            crash_point!("worker: awake, and says otherwise");
            words.stay_awake();
        }
    }

    /// Memory that is not needed any more.
    pub(in crate::process) fn reuse(&mut self, body: Vec<u8>) {
        if body.capacity() <= 2 * ring::LONGEST {
            self.spare = body;
        }
    }

    /// What a record asks for.
    fn order(&mut self, mut record: Vec<u8>) -> Frame {
        let Some((head, _)) = Head::of_record(&record) else {
            end_of_nonsense("its ring is overwritten")
        };
        if head.kind == FrameKind::OnSocket {
            crash_point!("worker: task announced, not received");
            self.spare = record;
            return self.frame();
        }
        record.drain(..RECORD_HEAD);
        Frame::of_record(head, record)
    }

    /// The next frame from the socket that is no bell.
    pub(in crate::process) fn frame(&mut self) -> Frame {
        loop {
            match self.incoming.ready.pop_front() {
                Some(frame) if frame.head.kind == FrameKind::Bell => {
                    self.outbox.reply_to(&frame.head);
                }
                Some(frame) => return frame,
                None => receive(&self.outbox.socket, &mut self.incoming, &mut self.scratch),
            }
        }
    }
}

/// Sleeps until something comes through the socket. At its end the worker ends.
fn receive(socket: &OwnedFd, incoming: &mut FrameReader, scratch: &mut [u8]) {
    match incoming.receive(socket.as_fd(), scratch, socket::Patience::Wait) {
        Stream::More | Stream::Drained | Stream::WouldBlock => {}
        // Exit handlers run: C libraries flush their streams, profilers write their files.
        Stream::Ended => process::exit(0),
        Stream::Broken(reason) => {
            if let Some(head) = incoming.too_large {
                limits::die_of(&head, &reason);
            }
            end_of_nonsense(&reason)
        }
    }
}

fn end_of_nonsense(reason: &str) -> ! {
    eprintln!("trine: a worker ends, its master's words make no sense: {reason}");
    process::exit(1);
}

impl Outbox {
    /// An empty frame, behind whose head a body is pushed.
    pub(in crate::process) fn blank(&mut self) -> &mut Vec<u8> {
        self.reply.clear();
        self.reply.extend_from_slice(&wire::head(FrameKind::Value, 0, 0));
        &mut self.reply
    }

    /// Has another frame sent next, and gives back the one that was being made.
    pub(in crate::process) fn exchange(&mut self, frame: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.reply, frame)
    }

    /// Sends the frame under this head.
    pub(in crate::process) fn answer(&mut self, head: &Head, descriptors: &[OwnedFd]) {
        crash_point!("worker: task done, answer not sent");
        let body = &self.reply[HEAD..];
        if let Some(ring) = &mut self.ring
            && descriptors.is_empty()
            && RECORD_HEAD + body.len() <= ring::LONGEST
        {
            let record = head.record();
            for attempt in 0..TRIES {
                if let Some(place) = ring.answers.push(&record, body) {
                    ring.untold = Some(place);
                    crash_point!("worker: answer in the ring, master not told");
                    return;
                }
                tell(ring, &self.socket);
                if attempt < TRIES / 2 {
                    thread::yield_now();
                } else {
                    thread::sleep(PAUSE);
                }
            }
        }
        head.write(&mut self.reply, descriptors.len());
        self.send(&self.reply, descriptors);
        crash_point!("worker: answer through the socket");
        if self.reply.capacity() > KEPT {
            self.reply = Vec::new();
        }
    }

    /// The task has its last answer: a thread that sleeps for it is woken.
    pub(in crate::process) fn finished(&mut self) {
        if let Some(ring) = &mut self.ring
            && ring.words.is_awaited()
        {
            tell(ring, &self.socket);
        }
    }

    /// Sees to it that the master knows of all answers before the worker sleeps or begins a task.
    fn settle(&mut self, is_ready: impl Fn() -> bool) {
        let Some(ring) = &mut self.ring else { return };
        let Some(last) = ring.untold else { return };
        let is_taken = || ring.answers.is_consumed(last);
        if ring.told && !is_ready() {
            ring.spin.watch(is_taken, is_ready);
        }
        if is_taken() {
            ring.untold = None;
        } else {
            tell(ring, &self.socket);
        }
    }

    /// A bell has come while there was nothing to do. If it asks whether there is, so much is said.
    fn reply_to(&self, bell: &Head) {
        if bell.task != 0 {
            self.send(&wire::head(FrameKind::Bell, bell.task, 0), &[]);
        }
    }

    /// Sends a frame through the socket.
    pub(in crate::process) fn send(&self, mut frame: &[u8], descriptors: &[OwnedFd]) {
        let mut descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        while !frame.is_empty() {
            match self.send_part(frame, &descriptors) {
                Ok(sent) => {
                    frame = &frame[sent..];
                    descriptors.clear();
                }
                // Too many descriptors travel, or there is no memory.
                Err(error) if socket::takes_more_later(&error) => thread::sleep(REFUSED_PAUSE),
                // Nobody is left to tell, or the task has closed the connection.
                Err(_) => process::exit(1),
            }
        }
    }

    fn send_part(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if descriptors.is_empty() {
            socket::send(&self.socket, frame, socket::Patience::Wait)
        } else {
            socket::send_with(&self.socket, frame, descriptors, socket::Patience::Wait)
        }
    }
}

/// Tells the master of the answers in the ring, if it wants to be told.
fn tell(ring: &mut Ring, socket: &OwnedFd) {
    ring.untold = None;
    ring.told = true;
    match ring.words.tell_master() {
        NOBODY => {}
        THREAD => {
            crash_point!("worker: notify_target taken, thread not woken");
            let _ = futex::wake_shared(ring.words.notify_target());
        }
        _ => {
            crash_point!("worker: notify_target taken, service not told");
            if socket::send_all(socket, &wire::head(FrameKind::Bell, 0, 0)).is_err() {
                process::exit(1);
            }
        }
    }
}
