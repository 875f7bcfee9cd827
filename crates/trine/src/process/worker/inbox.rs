//! A worker's inbox and outbox: rings in shared memory where possible, else the socket.
//!
//! | traffic | way |
//! |---|---|
//! | short tasks and answers of a pool's worker | rings |
//! | long ones, those with descriptors, all of a fresh process | socket |
//! | a wake-up for a sleeping side | socket; for a thread of the master, the futex of its word |
//!
//! After an answer the worker spins for a moment. A joiner that is awake takes the answer in that
//! time and hands over the next task, so neither side has to be woken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::thread;
use std::time::Duration;

use super::limits;
use crate::process::wire::reader::{FrameReader, Stream};
use crate::process::wire::ring::{self, Consumer, Producer};
use crate::process::wire::rings::{NO_TARGET, THREAD, Words, WorkerRings};
use crate::process::wire::spin::TimedSpin;
use crate::process::wire::{self, Frame, FrameKind, HEAD, Head, RECORD_HEAD};
use crate::sys::io::{Blocking, socket};
use crate::sys::{self, futex};

/// Receives orders: the tasks and set-ups from the master.
pub(in crate::process) struct Inbox {
    pub(in crate::process) outbox: Outbox,
    tasks: Option<Consumer>,
    incoming: FrameReader,
    scratch: Box<[u8]>,
    /// Buffer for the next record.
    spare: Vec<u8>,
    spin: TimedSpin,
    /// True if the master knows that the worker is ready: by an answer, or by READY.
    is_announced: bool,
}

/// Sends answers.
pub(in crate::process) struct Outbox {
    socket: OwnedFd,
    ring: Option<Ring>,
    /// The frame under construction.
    frame: Vec<u8>,
}

struct Ring {
    words: Words,
    answers: Producer,
    /// Position of the last answer, if the master was not notified of it.
    unnotified: Option<u64>,
    /// The wait for a joiner that is awake to take that answer.
    spin: TimedSpin,
    /// True if the master was ever notified. The joiner of a fresh worker's first answer sleeps, so
    /// that answer is notified at once.
    has_notified: bool,
}

/// Attempts to put an answer into a full ring before it goes through the socket.
const TRIES: u32 = 200;
/// Pause between the later half of these attempts: the master is busy with other work by then.
const PAUSE: Duration = Duration::from_micros(100);
/// Pause before an answer is sent again that the kernel has refused, because too many descriptors
/// are in flight or memory is short.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// Largest buffer for answers that is kept for the next answer.
const KEPT: usize = 1 << 20;

/// Makes the buffer in which an inbox receives.
pub(in crate::process) fn scratch() -> Box<[u8]> {
    vec![0; 8192].into_boxed_slice()
}

impl Inbox {
    pub(in crate::process) fn new(
        socket: OwnedFd,
        rings: Option<WorkerRings>,
        scratch: Box<[u8]>,
    ) -> Inbox {
        let (ring, tasks) = rings
            .map(|WorkerRings { words, tasks, answers }| {
                (
                    Ring {
                        words,
                        answers,
                        unnotified: None,
                        spin: TimedSpin::new(),
                        has_notified: false,
                    },
                    tasks,
                )
            })
            .unzip();
        Inbox {
            outbox: Outbox { socket, ring, frame: Vec::new() },
            tasks,
            incoming: FrameReader::default(),
            scratch,
            spare: Vec::new(),
            spin: TimedSpin::new(),
            is_announced: false,
        }
    }

    /// Waits for the next order. The worker exits when the master has hung up.
    ///
    /// A worker that finds no order at its first look sends READY: tasks may be waiting for a
    /// worker that is not ready. A task that the master has withdrawn from it does not count as an
    /// order.
    pub(in crate::process) fn next(&mut self) -> Frame {
        loop {
            let Some(tasks) = &mut self.tasks else { return self.frame() };
            let mut record = std::mem::take(&mut self.spare);
            record.clear();
            match tasks.take(&mut record) {
                Ok(true) => {
                    self.is_announced = true;
                    self.outbox.settle(|| true);
                    return self.order(record);
                }
                Ok(false) => self.spare = record,
                Err(ring::Broken) => exit_corrupted("its ring is overwritten"),
            }
            if !std::mem::replace(&mut self.is_announced, true) {
                self.outbox.send(&wire::head(FrameKind::Ready, 0, 0), &[]);
                continue;
            }
            // If a frame is announced by a record in the ring, it is read right after that record.
            // No record announces this frame.
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
                // The next bytes are a bell, the frame of a long task, or the end.
                receive(&self.outbox.socket, &mut self.incoming, &mut self.scratch);
            }
            crash_point!("worker: awake, still marked asleep");
            words.stay_awake();
        }
    }

    /// Takes the body of a finished order as the buffer for the next record.
    pub(in crate::process) fn reuse(&mut self, body: Vec<u8>) {
        if body.capacity() <= 2 * ring::LONGEST {
            self.spare = body;
        }
    }

    /// Decodes the order in a record.
    fn order(&mut self, mut record: Vec<u8>) -> Frame {
        let Some((head, _)) = Head::of_record(&record) else {
            exit_corrupted("its ring is overwritten")
        };
        if head.kind == FrameKind::OnSocket {
            crash_point!("worker: task announced, not received");
            self.spare = record;
            return self.frame();
        }
        record.drain(..RECORD_HEAD);
        Frame::of_record(head, record)
    }

    /// Waits for the next frame from the socket that is no bell.
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

/// Sleeps until bytes come through the socket. Exits at its end.
fn receive(socket: &OwnedFd, incoming: &mut FrameReader, scratch: &mut [u8]) {
    match incoming.receive(socket.as_fd(), scratch, Blocking::Yes) {
        Stream::More | Stream::Drained | Stream::WouldBlock => {}
        // Exit handlers run: C libraries flush their streams, profilers write their files.
        Stream::Ended => process::exit(0),
        Stream::Broken(reason) => {
            if let Some(head) = incoming.too_large {
                limits::abort_out_of_memory(&head, &reason);
            }
            exit_corrupted(&reason)
        }
    }
}

/// Exits: the master's data is corrupted, so no further order can be trusted.
fn exit_corrupted(reason: &str) -> ! {
    sys::eprint(format_args!(
        "trine: a worker ends, as the data from its master is corrupted: {reason}\n"
    ));
    process::exit(1);
}

impl Outbox {
    /// Begins an answer; returns the frame, to which the caller appends the body.
    pub(in crate::process) fn blank(&mut self) -> &mut Vec<u8> {
        self.frame.clear();
        self.frame.extend_from_slice(&wire::head(FrameKind::Value, 0, 0));
        &mut self.frame
    }

    /// Makes `frame` the one under construction, and returns the former.
    pub(super) fn exchange(&mut self, frame: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.frame, frame)
    }

    /// Sends the frame under construction with this head.
    ///
    /// The worker's copies of the descriptors are closed by the time the master has the whole
    /// frame. So a joiner that drops the end of a channel which it got has dropped the last.
    pub(in crate::process) fn answer(&mut self, head: &Head, descriptors: Vec<OwnedFd>) {
        crash_point!("worker: task done, answer not sent");
        let body = &self.frame[HEAD..];
        if let Some(ring) = &mut self.ring
            && descriptors.is_empty()
            && RECORD_HEAD + body.len() <= ring::LONGEST
        {
            let record = head.record();
            for attempt in 0..TRIES {
                if let Some(position) = ring.answers.push(&record, body) {
                    ring.unnotified = Some(position);
                    crash_point!("worker: answer in the ring, master not notified");
                    return;
                }
                notify(ring, &self.socket);
                if attempt < TRIES / 2 {
                    thread::yield_now();
                } else {
                    thread::sleep(PAUSE);
                }
            }
        }
        head.write(&mut self.frame, descriptors.len());
        let (most, last) = self.frame.split_at(self.frame.len() - 1);
        if descriptors.is_empty() {
            self.send(&self.frame, &[]);
        } else {
            self.send(most, &descriptors);
            drop(descriptors);
            self.send(last, &[]);
        }
        crash_point!("worker: answer through the socket");
        if self.frame.capacity() > KEPT {
            self.frame = Vec::new();
        }
    }

    /// Wakes a thread of the master that sleeps until the task's last answer, which was just sent.
    pub(in crate::process) fn finished(&mut self) {
        if let Some(ring) = &mut self.ring
            && ring.words.is_awaited()
        {
            notify(ring, &self.socket);
        }
    }

    /// Makes sure that the master knows of all answers before the worker sleeps or begins a task.
    fn settle(&mut self, is_ready: impl Fn() -> bool) {
        let Some(ring) = &mut self.ring else { return };
        let Some(last) = ring.unnotified else { return };
        let is_taken = || ring.answers.is_consumed(last);
        if ring.has_notified && !is_ready() {
            ring.spin.watch(is_taken, is_ready);
        }
        if is_taken() {
            ring.unnotified = None;
        } else {
            notify(ring, &self.socket);
        }
    }

    /// Handles a bell while there is nothing to do. A bell with a task's number is a query; the
    /// reply says that the worker is idle.
    fn reply_to(&self, bell: &Head) {
        if bell.task != 0 {
            self.send(&wire::head(FrameKind::Bell, bell.task, 0), &[]);
        }
    }

    /// Sends a frame through the socket.
    pub(super) fn send(&self, mut frame: &[u8], descriptors: &[OwnedFd]) {
        let mut descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        while !frame.is_empty() {
            match self.send_part(frame, &descriptors) {
                Ok(sent) => {
                    frame = &frame[sent..];
                    descriptors.clear();
                }
                // Too many descriptors are in flight, or memory is short.
                Err(error) if socket::takes_more_later(&error) => thread::sleep(REFUSED_PAUSE),
                // The master has exited, or the task has closed the connection.
                Err(_) => process::exit(1),
            }
        }
    }

    fn send_part(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if descriptors.is_empty() {
            socket::send(&self.socket, frame, Blocking::Yes)
        } else {
            socket::send_with(&self.socket, frame, descriptors, Blocking::Yes)
        }
    }
}

/// Notifies the master of the answers in the ring, if it has set a notify target.
fn notify(ring: &mut Ring, socket: &OwnedFd) {
    ring.unnotified = None;
    ring.has_notified = true;
    match ring.words.take_notify_target() {
        NO_TARGET => {}
        THREAD => {
            crash_point!("worker: notify_target taken, thread not woken");
            let _ = futex::wake_shared(ring.words.notify_target());
        }
        _ => {
            crash_point!("worker: notify_target taken, service not notified");
            if socket::send_all(socket, &wire::head(FrameKind::Bell, 0, 0)).is_err() {
                process::exit(1);
            }
        }
    }
}
