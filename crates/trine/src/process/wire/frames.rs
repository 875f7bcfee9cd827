//! The protocol between master, template and workers.
//!
//! ```text
//!   master ─► template   Handshake            once, written before the template is started
//!          ─►            Setup                after it, if the template has a preload
//!          ◄─            Ready or Unfit       once: it is ready to fork, or never will be
//!          ─►            ForkRequest          one for each worker; its descriptors travel along
//!          ◄─            Forked + pidfd       one for each request
//!
//!   master ─► worker     SETUP                before all else if its pool has one; before RUN if
//!                                             its task has one
//!          ─►            RUN                  one task
//!          ─►            BELL                 the worker's ring holds a record; with a task's
//!                                             number, a query: has the worker anything to do?
//!          ◄─ worker     READY                it can take tasks, and has none; sent once
//!          ◄─            REFUSED              its SETUP has failed, or has made a task impossible
//!          ◄─            VALUE or FAILED      one for each item of a RUN
//!          ◄─            PROGRESS             before that, the last progress of the task
//!          ◄─            BELL                 the master's ring holds a record; with a task's
//!                                             number, the reply to a query: nothing to do
//!          ◄─            OVERFLOW             from the fault handler: the stack is used up
//! ```
//!
//! A packet (above) arrives whole or not at all. Frames (below) travel through a stream of bytes: a
//! head of 40 bytes, then a body whose length the head states.
//!
//! ```text
//!   0        4        8                16               24     28      32            36
//!   ├────────┼────────┼────────────────┼────────────────┼──────┼───────┼─────────────┼────
//!   │ MAGIC  │ kind   │ task's number  │ body's length  │ item │ nanos │ descriptors │ 0
//! ```
//!
//! Between a master and a worker of a pool, RUN, VALUE and FAILED travel through rings in shared
//! memory (`ring.rs`) if they are short and carry no descriptors. A record has a head of 24 bytes:
//!
//! ```text
//!   0                8        12      16      20      24
//!   ├────────────────┼────────┼───────┼───────┼───────┼───────────────
//!   │ task's number  │ kind   │ item  │ nanos │ 0     │ body …
//! ```
//!
//! A RUN that is too long for the ring leaves a record ON_SOCKET there, so tasks begin in the order
//! in which they were handed over. Answers are matched by number and need no order. If the ring has
//! no room even for that record, the worker reads the RUN once the ring is empty.
//!
//! A worker may die, or send corrupted bytes, at any point. So the master rejects every head that
//! is invalid, and allocates memory for a body only as its bytes arrive.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::task::function::Function;
use crate::sys::io::arrived::Arrived;
use crate::task::{Backtrace, Cause, CodecStage, SourceLocation};

/// Master to template, before `exec`: proves that the variable in the environment is genuine.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Handshake {
    /// The number that the variable holds as well.
    pub(in crate::process) token: u128,
    /// Fingerprint of the program that the master runs.
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
pub(in crate::process) enum TemplateReply {
    /// It has accepted the handshake and run its preload.
    Ready,
    /// It cannot fork workers, for this reason, and exits.
    Unfit(String),
    /// The reply to a request. The worker's pidfd travels along if a worker was forked.
    Forked(ForkReply),
}

/// Master to template: fork a worker. The worker's end of its socket and the memory that it shares
/// with its master travel along.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct ForkRequest {
    /// A number that the reply repeats.
    pub(in crate::process) request: u64,
    /// True if the worker uses the rings in its shared memory.
    pub(in crate::process) has_rings: bool,
    /// True if a lifeline travels along, after the socket, the directory and the memory.
    pub(in crate::process) has_lifeline: bool,
    /// True if pipes for standard output and error travel along, after the other descriptors.
    pub(in crate::process) captures: bool,
    /// True if a `SETUP` comes before the worker is ready.
    pub(in crate::process) awaits_setup: bool,
}

/// The outcome of a [`ForkRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct ForkReply {
    pub(in crate::process) request: u64,
    /// The worker's process id, or the kernel's error number.
    pub(in crate::process) forked: Result<u32, i32>,
}

/// The beginning of the body of `RUN`; the encoded argument follows.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Call {
    pub(in crate::process) function: Function,
    /// Offset of the `Location` at which the task was spawned, if it lies in the image.
    pub(in crate::process) location: Option<u64>,
    pub(in crate::process) name: Option<String>,
    /// The time at which its waits end, by the clock that all processes share.
    pub(in crate::process) deadline: Option<Duration>,
    /// The time that it may run.
    pub(in crate::process) limit: Option<Duration>,
    /// The number of arguments that follow, each after a head of its own (see [`item_head`]);
    /// `None` for one argument without a head.
    pub(in crate::process) items: Option<u32>,
}

/// Length of the head before each of many arguments: the argument's length, and the number of its
/// descriptors.
const ITEM_HEAD: usize = 8;

/// The length of an argument that could not be encoded; its task has failed already.
const ABSENT: u32 = u32::MAX;

/// Returns the head of an argument of this length and number of descriptors; `None` for an absent
/// argument.
pub(in crate::process) fn item_head(argument: Option<(usize, usize)>) -> [u8; ITEM_HEAD] {
    let (len, descriptors) = argument.unwrap_or((ABSENT as usize, 0));
    let mut head = [0; ITEM_HEAD];
    head[..4].copy_from_slice(&(len as u32).to_le_bytes());
    head[4..].copy_from_slice(&(descriptors as u32).to_le_bytes());
    head
}

/// Splits off the next of many arguments, with the number of its descriptors; `None` for an absent
/// argument.
///
/// # Errors
///
/// The bytes are corrupted.
pub(in crate::process) fn next_item<'a>(
    items: &mut &'a [u8],
) -> Result<Option<(&'a [u8], usize)>, ()> {
    let (head, rest) = items.split_first_chunk::<ITEM_HEAD>().ok_or(())?;
    *items = rest;
    if u32_at(head, 0) == ABSENT {
        return Ok(None);
    }
    let (argument, rest) = rest.split_at_checked(u32_at(head, 0) as usize).ok_or(())?;
    *items = rest;
    Ok(Some((argument, u32_at(head, 4) as usize)))
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
    /// The task was cancelled; the master knows why.
    Cancelled,
    TimedOut,
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Cause {
        match failure {
            Failure::Panicked { message, location, backtrace } => {
                Cause::Panicked { message, location, backtrace: backtrace.bounded() }
            }
            Failure::Codec { stage, message } => Cause::Codec { stage, message },
            Failure::Cancelled => Cause::Cancelled { reason: None },
            Failure::TimedOut => Cause::TimedOut,
        }
    }
}

/// The kind of a frame, and thereby of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::process) enum FrameKind {
    /// A [`Setup`](crate::process::worker::setup::Setup).
    Setup = 1,
    /// A [`Call`] and one argument or many; `item` is the first of them to run.
    Run = 2,
    /// No body.
    Ready = 3,
    /// The reason, as text.
    Refused = 4,
    /// The encoded result.
    Value = 5,
    /// A [`Failure`].
    Failed = 6,
    /// No body.
    Overflow = 7,
    /// No body.
    Bell = 8,
    /// No body. Only in the ring of tasks: the task comes through the socket.
    OnSocket = 9,
    /// Eight bytes of a floating-point number: the task's progress at its end.
    Progress = 10,
}

impl Frame {
    /// Makes a frame of a record that came through a ring.
    pub(in crate::process) fn of_record(head: Head, body: Vec<u8>) -> Frame {
        Frame { head, body, descriptors: Arrived::default(), sent_descriptors: 0 }
    }
}

impl FrameKind {
    pub(super) fn from_raw(raw: u32) -> Option<FrameKind> {
        use FrameKind::{
            Bell, Failed, OnSocket, Overflow, Progress, Ready, Refused, Run, Setup, Value,
        };
        // The most frequent ones first.
        let all = [Value, Run, Setup, Ready, Refused, Failed, Overflow, Bell, OnSocket, Progress];
        all.into_iter().find(|kind| *kind as u32 == raw)
    }
}

/// The head of a frame or record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Head {
    pub(in crate::process) kind: FrameKind,
    /// The task's number.
    pub(in crate::process) task: u64,
    /// Index among the task's arguments; [`REST`] for all that have no answer yet.
    pub(in crate::process) item: u32,
    /// With the last answer: the time that the task has run. With RUN: the number of descriptors
    /// that the master has of the results before `item`. Otherwise 0.
    pub(in crate::process) nanos: u32,
}

/// The item that stands for all that have no answer yet.
pub(in crate::process) const REST: u32 = u32::MAX;

impl Head {
    /// Makes the head for a task with one argument, or for no task (0).
    pub(in crate::process) fn of(kind: FrameKind, task: u64) -> Head {
        Head { kind, task, item: 0, nanos: 0 }
    }

    /// Encodes the head of a record for a ring.
    pub(in crate::process) fn record(&self) -> [u8; RECORD_HEAD] {
        let mut head = [0; RECORD_HEAD];
        head[..8].copy_from_slice(&self.task.to_le_bytes());
        head[8..12].copy_from_slice(&(self.kind as u32).to_le_bytes());
        head[12..16].copy_from_slice(&self.item.to_le_bytes());
        head[16..20].copy_from_slice(&self.nanos.to_le_bytes());
        head
    }

    /// Splits a record into its decoded head ([`record`](Head::record)) and its body; `None` if the
    /// head is invalid.
    pub(in crate::process) fn of_record(record: &[u8]) -> Option<(Head, &[u8])> {
        let (head, body) = record.split_first_chunk::<RECORD_HEAD>()?;
        let kind = FrameKind::from_raw(u32_at(head, 8))?;
        let (task, item, nanos) = (u64_at(head, 0), u32_at(head, 12), u32_at(head, 16));
        Some((Head { kind, task, item, nanos }, body))
    }

    /// Writes the head, with the length of the body and the number of descriptors, into a frame.
    pub(in crate::process) fn write(&self, frame: &mut [u8], descriptors: usize) {
        finish(frame);
        frame[4..8].copy_from_slice(&(self.kind as u32).to_le_bytes());
        frame[8..16].copy_from_slice(&self.task.to_le_bytes());
        frame[24..28].copy_from_slice(&self.item.to_le_bytes());
        frame[28..32].copy_from_slice(&self.nanos.to_le_bytes());
        frame[32..36].copy_from_slice(&(descriptors as u32).to_le_bytes());
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// One whole frame, received.
#[derive(Debug)]
pub(in crate::process) struct Frame {
    pub(in crate::process) head: Head,
    pub(in crate::process) body: Vec<u8>,
    pub(in crate::process) descriptors: Arrived,
    /// The number of descriptors sent with it. Fewer arrive at the limit for open descriptors.
    pub(super) sent_descriptors: usize,
}

/// Length of a frame's head.
pub(in crate::process) const HEAD: usize = 40;
/// Length of a record's head.
pub(in crate::process) const RECORD_HEAD: usize = 24;
pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"trn1");
/// Longest valid body; no machine has more memory. Of a worker's frames only a result may be long,
/// and its task has a limit for that.
pub(super) const LONGEST: u64 = 1 << 44;

/// Longest body of a FAILED or REFUSED.
pub(in crate::process) const LONGEST_FAILURE: u64 = 128 << 10;
/// Longest text in such a body: the message of a panic, the error of a codec. Leaves room for the
/// place and the backtrace.
const LONGEST_TEXT: usize = 64 << 10;

/// Cuts a text that is longer than a failure may carry.
pub(in crate::process) fn cut(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        let more = text.len() - LONGEST_TEXT;
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push_str(&format!("… ({more} bytes more)"));
    }
}

/// Encodes the head of a frame, which is the whole frame if it has no body.
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

/// Begins a frame. Append its body, then call [`finish`].
pub(in crate::process) fn begin(kind: FrameKind, task: u64) -> Vec<u8> {
    // Enough for a short call. The allocator frees a block this small from another thread without a
    // lock.
    let mut frame = Vec::with_capacity(96);
    frame.extend_from_slice(&head(kind, task, 0));
    frame
}

/// Writes the body's length into the head.
pub(in crate::process) fn finish(frame: &mut [u8]) {
    let len = (frame.len() - HEAD) as u64;
    frame[16..24].copy_from_slice(&len.to_le_bytes());
}

/// Makes a whole frame with the encoded `body`.
pub(in crate::process) fn frame(kind: FrameKind, task: u64, body: &impl Serialize) -> Vec<u8> {
    let mut frame = postcard::to_extend(body, begin(kind, task))
        .expect("the bodies of this file hold nothing that cannot be encoded");
    finish(&mut frame);
    frame
}
