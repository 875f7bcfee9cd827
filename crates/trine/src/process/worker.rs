//! The worker: forked from the template, runs one task after the other, ends when its master hangs up.

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe, Location};
use std::process;
use std::time::Instant;

use super::board::OwnPlace;
use super::function::{self, CodecError, Function};
use super::setup::Setup;
use super::wire::{self, Assembler, Call, Failure, ForkRequest, Frame, FrameKind, Stream};
use super::{cancel, capture, limits, overflow};
use crate::sys::shared::Shared;
use crate::sys::socket::{self, Patience};
use crate::sys::{child, clock, descriptors};
use crate::task::registry::{self, Entry};
use crate::task::{Cause, CodecStage, Kind, TaskError, failure};

/// What `ps` shows.
pub(super) const SHORT_NAME: &CStr = c"trine-worker";

/// Where the socket goes: far above the numbers that a task opens and closes.
const SOCKET: RawFd = 200;

/// Turns the calling process, just forked, into a worker.
pub(super) fn become_worker(
    theirs: OwnedFd,
    outputs: &[OwnedFd],
    board: Shared,
    request: &ForkRequest,
    master: u32,
) -> ! {
    child::die_with_parent(master);
    child::set_short_name(SHORT_NAME);
    if capture::attach(outputs).is_err() {
        child::exit_now(1);
    }
    let Ok(socket) = descriptors::copy_high(theirs.as_fd(), SOCKET) else { child::exit_now(1) };
    // SAFETY: `theirs`, `outputs` and the template's socket are closed here under their owners, who never
    // run again in this process: this function does not return, and `theirs` is forgotten.
    unsafe {
        std::mem::forget(theirs);
        descriptors::close_all_but(socket.as_fd());
    }
    overflow::report_to(socket.as_raw_fd());
    let Some(place) = OwnPlace::keep(board, request.place) else { child::exit_now(1) };
    let place = cancel::keep(place);
    limits::keep(place);
    child::follow_directory(master);
    let mut worker = Worker { socket, place, incoming: Assembler::default(), scratch: [0; 8192] };
    if request.awaits_setup {
        let frame = worker.next();
        worker.set_up(&frame);
    }
    worker.send(&wire::head(FrameKind::Ready, 0, 0));
    worker.serve()
}

struct Worker {
    socket: OwnedFd,
    place: &'static OwnPlace,
    incoming: Assembler,
    scratch: [u8; 8192],
}

impl Worker {
    fn serve(&mut self) -> ! {
        loop {
            let frame = self.next();
            match frame.kind {
                FrameKind::Setup => self.set_up(&frame),
                FrameKind::Run => self.run(frame),
                _ => process::exit(1),
            }
        }
    }

    /// The next frame from the master; where none comes any more, the worker ends.
    fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.incoming.ready.pop_front() {
                return frame;
            }
            match self.incoming.receive(self.socket.as_fd(), &mut self.scratch, Patience::Wait) {
                Stream::Flowing | Stream::Ebbing | Stream::Dry => {}
                // Exit handlers run: C libraries flush their streams, profilers write their files.
                Stream::Ended => process::exit(0),
                Stream::Broken(reason) => {
                    if let Some(task) = self.incoming.too_large {
                        limits::die_of(task, &reason);
                    }
                    eprintln!("trine: a worker ends, its master's words make no sense: {reason}");
                    process::exit(1);
                }
            }
        }
    }

    fn send(&self, frame: &[u8]) {
        if socket::send_all(&self.socket, frame).is_err() {
            // Nobody is left to tell, or the task has closed the connection.
            process::exit(1);
        }
    }

    fn set_up(&self, frame: &Frame) {
        let setup = match postcard::from_bytes::<Setup>(&frame.body) {
            Ok(setup) if frame.kind == FrameKind::Setup => setup,
            _ => process::exit(1),
        };
        if let Err(reason) = setup.apply() {
            let mut refused = wire::begin(FrameKind::Refused, frame.task);
            refused.extend_from_slice(reason.as_bytes());
            wire::finish(&mut refused);
            self.send(&refused);
            process::exit(0);
        }
    }

    fn run(&self, frame: Frame) {
        let Frame { task, body, .. } = frame;
        let Ok((call, argument)) = postcard::take_from_bytes::<Call>(&body) else {
            process::exit(1);
        };
        // SAFETY: the offsets come from the master, which runs the same build (the template has
        // checked the fingerprint).
        let (trampoline, location) = unsafe {
            let location = call.location.and_then(|offset| function::location_at(offset));
            (Function { offset: call.function }.trampoline(), location)
        };
        let Some(trampoline) = trampoline else { process::exit(1) };
        let name = call.name.map(Into::into);
        let location = location.unwrap_or_else(|| Location::caller());
        let Some(entry) = Entry::adopt(task, Kind::Process, name, location) else {
            process::exit(1);
        };
        let mut label = entry.info().to_string();
        entry.slot.set_os_id(process::id());
        entry.slot.set_state(registry::RUNNABLE);
        registry::set_current(Some(entry.slot));
        let left = call.deadline.map(|deadline| deadline.saturating_sub(clock::monotonic()));
        entry.slot.exchange_deadline(left.and_then(|left| Instant::now().checked_add(left)));
        let running = cancel::running(entry.slot);
        let outcome = if self.place.is_cancelled(task) {
            Err(Failure::Cancelled)
        } else if left.is_some_and(|left| left.is_zero()) {
            Err(Failure::TimedOut)
        } else {
            self.place.begin(task);
            let _counting = limits::begin();
            let outcome = overflow::labelled(&mut label, || {
                failure::catch(
                    || entry.slot.info(),
                    || trampoline(argument, wire::begin(FrameKind::Value, task)),
                )
            });
            outcome.map_err(failure_of)
        };
        drop(running);
        registry::set_current(None);
        // What the task has printed stands before what the joiner prints.
        let _ = io::stdout().flush();
        let reply = match outcome {
            Ok(Ok(mut value)) => {
                wire::finish(&mut value);
                value
            }
            Ok(Err(CodecError { stage, message })) => {
                wire::frame(FrameKind::Failed, task, &Failure::Codec { stage, message })
            }
            Err(failure) => wire::frame(FrameKind::Failed, task, &failure),
        };
        self.send(&reply);
    }
}

/// What crosses of a panic or an interruption.
fn failure_of(error: TaskError) -> Failure {
    let failure = match error.cause() {
        Cause::Panicked { message, location, backtrace } => Failure::Panicked {
            message: message.clone(),
            location: location.clone(),
            backtrace: backtrace.clone(),
        },
        Cause::Cancelled { .. } => Failure::Cancelled,
        Cause::TimedOut => Failure::TimedOut,
        // `catch` makes nothing else.
        other => Failure::Codec { stage: CodecStage::EncodeResult, message: other.to_string() },
    };
    // A payload whose own drop panics is not worth a worker.
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(error))) {
        std::mem::forget(again);
    }
    failure
}
