//! What master, template and workers say to each other.
//!
//! ```text
//!   master ─► template   Handshake            once, written before the template is started
//!          ◄─            Greeting             once, when it is ready to fork
//!          ─►            ForkRequest + socket one for each worker
//!          ◄─            ForkReply + pidfd    one for each request
//!
//!   master ─► worker     SETUP                before READY, if its pool wants one; before RUN, if its task does
//!          ─►            RUN                  one task; the next one only after its answer
//!          ◄─ worker     READY                once, when it can take tasks
//!          ◄─            REFUSED              in place of READY or a task that its SETUP made impossible
//!          ◄─            VALUE or FAILED      one for each RUN
//!          ◄─            OVERFLOW             from the fault handler: the stack is used up
//! ```
//!
//! Packets (above) are whole or not there. Frames (below) travel through a stream of bytes: a head
//! of 24 bytes, then a body whose length the head tells.
//!
//! ```text
//!   0        4        8                16               24
//!   ├────────┼────────┼────────────────┼────────────────┼───────────────
//!   │ MAGIC  │ kind   │ task's number  │ body's length  │ body …
//! ```
//!
//! A worker may die or go mad at any byte. So the master believes no head that makes no sense, and
//! takes memory for a body only as its bytes arrive.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::socket::{self, Patience};
use crate::task::{Backtrace, Cause, CodecStage, SourceLocation};

/// Master to template, before `exec`: the proof that the variable in the environment is meant.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handshake {
    /// The number that the variable holds as well.
    pub(super) token: u128,
    /// Of the program that the master runs.
    pub(super) fingerprint: u64,
    /// The master's process id.
    pub(super) master: u32,
}

/// Longest packet.
pub(super) const PACKET: usize = 128;

/// Template to master: it has started and accepted the handshake.
pub(super) const GREETING: &[u8] = b"ready";

/// Master to template: fork. The worker's end of its socket travels along.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ForkRequest {
    /// Comes back in the reply.
    pub(super) request: u64,
    /// The worker's place on the board.
    pub(super) place: u32,
    /// Whether a `SETUP` comes before it is ready.
    pub(super) awaits_setup: bool,
    /// Whether its standard output and error travel along behind its socket.
    pub(super) captures: bool,
}

/// Template to master: forked, or not. The worker's pidfd travels along if it was.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ForkReply {
    pub(super) request: u64,
    /// The worker's process id, or the kernel's error number.
    pub(super) forked: Result<u32, i32>,
}

/// The body of `RUN` begins with this; the encoded argument follows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    /// Offset of the function's trampoline in the program's image.
    pub(super) function: u64,
    /// Offset of the `Location` at which the task was spawned, if it lies in the image.
    pub(super) location: Option<u64>,
    pub(super) name: Option<String>,
    /// When its waits end, by the clock that all processes share.
    pub(super) deadline: Option<Duration>,
}

/// The body of `FAILED`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
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
pub(super) enum FrameKind {
    /// A [`Setup`](super::setup::Setup).
    Setup = 1,
    /// A [`Call`] and an argument.
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
}

impl FrameKind {
    fn from_raw(raw: u32) -> Option<FrameKind> {
        use FrameKind::{Failed, Overflow, Ready, Refused, Run, Setup, Value};
        let all = [Setup, Run, Ready, Refused, Value, Failed, Overflow];
        all.into_iter().find(|kind| *kind as u32 == raw)
    }
}

/// One whole frame, received.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    pub(super) task: u64,
    pub(super) body: Vec<u8>,
}

const HEAD: usize = 24;
const MAGIC: u32 = u32::from_le_bytes(*b"trn1");
/// A body longer than this is a lie: no machine has the memory.
const LONGEST: u64 = 1 << 44;

/// The head of a frame; also all of a frame that has no body.
pub(super) const fn head(kind: FrameKind, task: u64, len: u64) -> [u8; HEAD] {
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
pub(super) fn begin(kind: FrameKind, task: u64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend_from_slice(&head(kind, task, 0));
    frame
}

/// Enters the body's length into the head.
pub(super) fn finish(frame: &mut [u8]) {
    let len = (frame.len() - HEAD) as u64;
    frame[16..HEAD].copy_from_slice(&len.to_le_bytes());
}

/// A whole frame with `body`, encoded.
pub(super) fn frame(kind: FrameKind, task: u64, body: &impl Serialize) -> Vec<u8> {
    let mut frame = postcard::to_extend(body, begin(kind, task))
        .expect("the bodies of this file hold nothing that cannot be encoded");
    finish(&mut frame);
    frame
}

/// Puts frames together from a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// Whole frames, in order.
    pub(super) ready: VecDeque<Frame>,
    /// The beginning of a head.
    head: Vec<u8>,
    /// A head's frame, and how many bytes of its body are still to come.
    open: Option<(Frame, usize)>,
    /// The task of a frame that there was no memory for.
    pub(super) too_large: Option<u64>,
}

/// Where a stream stands after [`Assembler::receive`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// As many bytes came as there was room for; there are probably more.
    Flowing,
    /// Fewer came; there are probably no more for now.
    Ebbing,
    /// Nothing there for now.
    Dry,
    /// The peer sends no more.
    Ended,
    /// What came is no frame.
    Broken(String),
}

impl Assembler {
    /// Receives once; whole frames are found in `ready`.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        scratch: &mut [u8],
        patience: Patience,
    ) -> Stream {
        let mut room = scratch.len();
        let received = match &mut self.open {
            // The rest of a long body goes straight to its place.
            Some((frame, missing)) if *missing > scratch.len() => {
                // At most doubling what has really come.
                let more = (*missing).min(frame.body.len().max(scratch.len()));
                if frame.body.try_reserve(more).is_err() {
                    self.too_large = Some(frame.task);
                    return Stream::Broken(format!(
                        "no memory for a frame of {} bytes",
                        frame.body.len() + *missing
                    ));
                }
                let most = *missing;
                room = most.min(frame.body.capacity() - frame.body.len());
                let count = socket::receive_behind(socket, &mut frame.body, most, patience);
                if let Ok(count) = count {
                    *missing -= count;
                    self.close_full();
                }
                count
            }
            _ => match socket::receive(socket, scratch, patience) {
                Ok(count) => {
                    if let Err(reason) = self.push(&scratch[..count]) {
                        return Stream::Broken(reason);
                    }
                    Ok(count)
                }
                Err(error) => Err(error),
            },
        };
        match received {
            Ok(0) => Stream::Ended,
            Ok(count) if count < room => Stream::Ebbing,
            Ok(_) => Stream::Flowing,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Stream::Dry,
            // The peer died with unread bytes in its socket: its end, all the same.
            Err(_) => Stream::Ended,
        }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            if let Some((frame, missing)) = &mut self.open {
                let count = bytes.len().min(*missing);
                frame.body.extend_from_slice(&bytes[..count]);
                *missing -= count;
                bytes = &bytes[count..];
            } else {
                let count = bytes.len().min(HEAD - self.head.len());
                self.head.extend_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                if self.head.len() < HEAD {
                    return Ok(());
                }
                self.open = Some(open(&self.head)?);
                self.head.clear();
            }
            self.close_full();
        }
        Ok(())
    }

    fn close_full(&mut self) {
        if let Some((frame, _)) = self.open.take_if(|(_, missing)| *missing == 0) {
            self.ready.push_back(frame);
        }
    }
}

fn open(head: &[u8]) -> Result<(Frame, usize), String> {
    let half = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let (task, len) = (word(8), word(16));
    match FrameKind::from_raw(half(4)) {
        Some(kind) if half(0) == MAGIC && len <= LONGEST => {
            Ok((Frame { kind, task, body: Vec::new() }, len as usize))
        }
        _ => Err(format!("these bytes begin no frame: {head:02x?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(bytes: &[u8], step: usize) -> Result<Vec<Frame>, String> {
        let mut assembler = Assembler::default();
        for part in bytes.chunks(step) {
            assembler.push(part)?;
        }
        Ok(assembler.ready.into())
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let mut bytes = frame(FrameKind::Value, 7, &"seven");
        bytes.extend(head(FrameKind::Ready, 0, 0));
        bytes.extend(frame(FrameKind::Refused, 9, &vec![1_u8; 300]));
        for step in 1..bytes.len() + 1 {
            let frames = fed(&bytes, step).unwrap();
            let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.task)).collect();
            assert_eq!(
                kinds,
                [(FrameKind::Value, 7), (FrameKind::Ready, 0), (FrameKind::Refused, 9)]
            );
            assert_eq!(postcard::from_bytes::<String>(&frames[0].body).unwrap(), "seven");
            assert_eq!(postcard::from_bytes::<Vec<u8>>(&frames[2].body).unwrap(), [1; 300]);
        }
    }

    #[test]
    fn heads_that_make_no_sense_are_told_and_take_no_memory() {
        let good = head(FrameKind::Value, 1, u64::MAX);
        assert!(fed(&good, 24).is_err(), "an absurd length");
        let mut other_kind = head(FrameKind::Value, 1, 0);
        other_kind[4] = 99;
        assert!(fed(&other_kind, 24).is_err());
        assert!(fed(&[0x20; 64], 64).is_err());
        // A long body is believed, but nothing is set aside before it comes.
        let mut assembler = Assembler::default();
        assembler.push(&head(FrameKind::Value, 1, LONGEST)).unwrap();
        assert_eq!(assembler.open.unwrap().0.body.capacity(), 0);
    }
}
