//! What master, template and workers say to each other.
//!
//! ```text
//!   master ─► template   Handshake            once, written before the template is started
//!          ─►            Setup                behind it, if the template has a preload
//!          ◄─            Ready, or Unfit      once, when it is ready to fork, or never will be
//!          ─►            ForkRequest + socket one for each worker
//!          ◄─            Forked + pidfd       one for each request
//!
//!   master ─► worker     SETUP                before all else, if its pool wants one; before RUN, if its task does
//!          ─►            RUN                  one task
//!          ─►            BELL                 there is something in its ring; with a task, as a question:
//!                                             has it anything to do?
//!          ◄─ worker     READY                it can take tasks, and has none; said once
//!          ◄─            REFUSED              its SETUP has failed, or has made a task impossible
//!          ◄─            VALUE or FAILED      one for each item of a RUN
//!          ◄─            PROGRESS             before it, the last that the task has told of how far it is
//!          ◄─            BELL                 there is something in the master's ring; with a task: no, nothing
//!          ◄─            OVERFLOW             from the fault handler: the stack is used up
//! ```
//!
//! Packets (above) are whole or not there. Frames (below) travel through a stream of bytes: a head
//! of 40 bytes, then a body whose length the head tells.
//!
//! ```text
//!   0        4        8                16               24     28      32            36
//!   ├────────┼────────┼────────────────┼────────────────┼──────┼───────┼─────────────┼────
//!   │ MAGIC  │ kind   │ task's number  │ body's length  │ item │ nanos │ descriptors │ 0
//! ```
//!
//! Between a master and a worker of a pool, RUN, VALUE and FAILED travel through rings in shared memory (`ring.rs`)
//! wherever they are short and carry no descriptors; a record has a head of 24 bytes:
//!
//! ```text
//!   0                8        12      16      20      24
//!   ├────────────────┼────────┼───────┼───────┼───────┼───────────────
//!   │ task's number  │ kind   │ item  │ nanos │ 0     │ body …
//! ```
//!
//! A RUN that is too long for the ring leaves a record ON_SOCKET there, so that tasks begin in the order in
//! which they were given; answers are known by their numbers and need no order. Where not even that has room, the RUN
//! is read when the ring is empty.
//!
//! A worker may die or go mad at any byte. So the master believes no head that makes no sense, and
//! takes memory for a body only as its bytes arrive.

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::task::{Backtrace, Cause, CodecStage, SourceLocation};

/// Master to template, before `exec`: the proof that the variable in the environment is meant.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Handshake {
    /// The number that the variable holds as well.
    pub(in crate::process) token: u128,
    /// Of the program that the master runs.
    pub(in crate::process) fingerprint: u64,
    /// The master's process id.
    pub(in crate::process) master: u32,
}

/// Longest packet to a template, but for a `Setup`.
pub(in crate::process) const PACKET: usize = 128;

/// Longest packet from a template.
pub(in crate::process) const LONG_PACKET: usize = 4096;

/// Template to master.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) enum TemplateSays {
    /// It has accepted the handshake and run its preload.
    Ready,
    /// It cannot fork workers, for this reason, and ends.
    Unfit(String),
    /// The answer to a request. The worker's pidfd travels along if there is one.
    Forked(ForkReply),
}

/// Master to template: fork. The worker's end of its socket travels along.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct ForkRequest {
    /// Comes back in the reply.
    pub(in crate::process) request: u64,
    /// The worker's place on the board.
    pub(in crate::process) place: u32,
    /// Whether shared memory for rings comes along, behind the socket.
    pub(in crate::process) has_lines: bool,
    /// Whether its standard output and error come along, behind these.
    pub(in crate::process) captures: bool,
    /// Whether a `SETUP` comes before it is ready.
    pub(in crate::process) awaits_setup: bool,
}

/// Forked, or not.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct ForkReply {
    pub(in crate::process) request: u64,
    /// The worker's process id, or the kernel's error number.
    pub(in crate::process) forked: Result<u32, i32>,
}

/// The body of `RUN` begins with this; the encoded argument follows.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Call {
    /// Offset of the function's trampoline in the program's image.
    pub(in crate::process) function: u64,
    /// Offset of the `Location` at which the task was spawned, if it lies in the image.
    pub(in crate::process) location: Option<u64>,
    pub(in crate::process) name: Option<String>,
    /// When its waits end, by the clock that all processes share.
    pub(in crate::process) deadline: Option<Duration>,
    /// How long it may run.
    pub(in crate::process) limit: Option<Duration>,
    /// How many arguments follow, each behind a head of its own (see [`item_head`]); `None` for one without
    /// a head.
    pub(in crate::process) items: Option<u32>,
}

/// What stands before each of many arguments: its length, and how many of the descriptors are its own.
pub(in crate::process) const ITEM_HEAD: usize = 8;

/// As a length: the argument could not be encoded, and its task has been told.
const ABSENT: u32 = u32::MAX;

/// The head of an argument that is there, or of one that is not.
pub(in crate::process) fn item_head(argument: Option<(usize, usize)>) -> [u8; ITEM_HEAD] {
    let (len, descriptors) = argument.unwrap_or((ABSENT as usize, 0));
    let mut head = [0; ITEM_HEAD];
    head[..4].copy_from_slice(&(len as u32).to_le_bytes());
    head[4..].copy_from_slice(&(descriptors as u32).to_le_bytes());
    head
}

/// The next of many arguments and how many descriptors are its own, `None` in place of one that is not there;
/// an error if the bytes make no sense.
pub(in crate::process) fn next_item<'a>(
    items: &mut &'a [u8],
) -> Result<Option<(&'a [u8], usize)>, ()> {
    let (head, rest) = items.split_first_chunk::<ITEM_HEAD>().ok_or(())?;
    *items = rest;
    if half(head, 0) == ABSENT {
        return Ok(None);
    }
    let (argument, rest) = rest.split_at_checked(half(head, 0) as usize).ok_or(())?;
    *items = rest;
    Ok(Some((argument, half(head, 4) as usize)))
}

/// The body of `FAILED`.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) enum Failure {
    Panicked {
        message: String,
        location: Option<SourceLocation>,
        backtrace: Backtrace,
    },
    Codec {
        stage: CodecStage,
        message: String,
    },
    /// It was cancelled; the master knows why.
    Cancelled,
    TimedOut,
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Cause {
        match failure {
            Failure::Panicked { message, location, backtrace } => {
                Cause::Panicked { message, location, backtrace }
            }
            Failure::Codec { stage, message } => Cause::Codec { stage, message },
            Failure::Cancelled => Cause::Cancelled { reason: None },
            Failure::TimedOut => Cause::TimedOut,
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::process) enum FrameKind {
    /// A [`Setup`](crate::process::worker::setup::Setup).
    Setup = 1,
    /// A [`Call`] and an argument, or many; `item` is the first of them that is to be run.
    Run = 2,
    /// Nothing more.
    Ready = 3,
    /// The reason, as text.
    Refused = 4,
    /// The encoded result.
    Value = 5,
    /// A [`Failure`].
    Failed = 6,
    /// Nothing more.
    Overflow = 7,
    /// Nothing more.
    Bell = 8,
    /// In the ring of tasks: the task comes through the socket.
    OnSocket = 9,
    /// Eight bytes of a floating-point number: how far the task had come at its end.
    Progress = 10,
}

impl Frame {
    /// Of a record that came through a ring.
    pub(in crate::process) fn of_record(head: Head, body: Vec<u8>) -> Frame {
        Frame { head, body, descriptors: Vec::new(), missing: 0 }
    }
}

impl FrameKind {
    pub(in crate::process) fn from_raw(raw: u32) -> Option<FrameKind> {
        use FrameKind::{
            Bell, Failed, OnSocket, Overflow, Progress, Ready, Refused, Run, Setup, Value,
        };
        // Those first that come most.
        let all = [Value, Run, Setup, Ready, Refused, Failed, Overflow, Bell, OnSocket, Progress];
        all.into_iter().find(|kind| *kind as u32 == raw)
    }
}

/// What stands before every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Head {
    pub(in crate::process) kind: FrameKind,
    /// The task's number.
    pub(in crate::process) task: u64,
    /// Which of the task's arguments; [`REST`] for all that have no answer yet.
    pub(in crate::process) item: u32,
    /// With the last answer: how long the task has run.
    pub(in crate::process) nanos: u32,
}

/// As an item: all of them that have no answer yet.
pub(in crate::process) const REST: u32 = u32::MAX;

impl Head {
    /// Of a task with one argument, or of no task.
    pub(in crate::process) fn of(kind: FrameKind, task: u64) -> Head {
        Head { kind, task, item: 0, nanos: 0 }
    }

    /// As it stands before a record of a ring.
    pub(in crate::process) fn record(&self) -> [u8; RECORD_HEAD] {
        let mut head = [0; RECORD_HEAD];
        head[..8].copy_from_slice(&self.task.to_le_bytes());
        head[8..12].copy_from_slice(&(self.kind as u32).to_le_bytes());
        head[12..16].copy_from_slice(&self.item.to_le_bytes());
        head[16..20].copy_from_slice(&self.nanos.to_le_bytes());
        head
    }

    /// Reads what [`record`](Head::record) has written; `None` if it makes no sense.
    pub(in crate::process) fn of_record(record: &[u8]) -> Option<(Head, &[u8])> {
        let (head, body) = record.split_first_chunk::<RECORD_HEAD>()?;
        let kind = FrameKind::from_raw(half(head, 8))?;
        let (task, item, nanos) = (word(head, 0), half(head, 12), half(head, 16));
        Some((Head { kind, task, item, nanos }, body))
    }

    /// Enters itself, the length of the body behind it and the number of descriptors into a frame.
    pub(in crate::process) fn write(&self, frame: &mut [u8], descriptors: usize) {
        finish(frame);
        frame[4..8].copy_from_slice(&(self.kind as u32).to_le_bytes());
        frame[8..16].copy_from_slice(&self.task.to_le_bytes());
        frame[24..28].copy_from_slice(&self.item.to_le_bytes());
        frame[28..32].copy_from_slice(&self.nanos.to_le_bytes());
        frame[32..36].copy_from_slice(&(descriptors as u32).to_le_bytes());
    }
}

pub(in crate::process) fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(in crate::process) fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// One whole frame, received.
#[derive(Debug)]
pub(in crate::process) struct Frame {
    pub(in crate::process) head: Head,
    pub(in crate::process) body: Vec<u8>,
    pub(in crate::process) descriptors: Vec<OwnedFd>,
    /// How many descriptors belong to it; fewer have come where there was no room for them.
    pub(in crate::process) missing: usize,
}

/// Length of a frame's head.
pub(in crate::process) const HEAD: usize = 40;
/// Length of a record's head.
pub(in crate::process) const RECORD_HEAD: usize = 24;
pub(in crate::process) const MAGIC: u32 = u32::from_le_bytes(*b"trn1");
/// A body longer than this is a lie: no machine has the memory.
pub(in crate::process) const LONGEST: u64 = 1 << 44;

/// The head of a frame; also all of a frame that has no body.
pub(in crate::process) const fn head(kind: FrameKind, task: u64, len: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let parts = [MAGIC.to_le_bytes(), (kind as u32).to_le_bytes()];
    let words = [task.to_le_bytes(), len.to_le_bytes()];
    let mut at = 0;
    while at < 4 {
        head[at] = parts[0][at];
        head[at + 4] = parts[1][at];
        at += 1;
    }
    at = 0;
    while at < 8 {
        head[at + 8] = words[0][at];
        head[at + 16] = words[1][at];
        at += 1;
    }
    head
}

/// Begins a frame; its body is pushed behind, then [`finish`] is called.
pub(in crate::process) fn begin(kind: FrameKind, task: u64) -> Vec<u8> {
    // Of a short call all; so little that the allocator takes it back from another thread without a lock.
    let mut frame = Vec::with_capacity(96);
    frame.extend_from_slice(&head(kind, task, 0));
    frame
}

/// Enters the body's length into the head.
pub(in crate::process) fn finish(frame: &mut [u8]) {
    let len = (frame.len() - HEAD) as u64;
    frame[16..24].copy_from_slice(&len.to_le_bytes());
}

/// A whole frame with `body`, encoded.
pub(in crate::process) fn frame(kind: FrameKind, task: u64, body: &impl Serialize) -> Vec<u8> {
    let mut frame = postcard::to_extend(body, begin(kind, task))
        .expect("the bodies of this file hold nothing that cannot be encoded");
    finish(&mut frame);
    frame
}
