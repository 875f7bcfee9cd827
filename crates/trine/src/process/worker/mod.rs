//! The worker: forked from the template, runs one task after the other, ends when its master hangs up.

pub(super) mod cancel;
mod capture;
pub(super) mod entry;
pub(super) mod inbox;
pub(super) mod limits;
pub(super) mod overflow;
pub(super) mod setup;
pub(super) mod template;

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe, Location};
use std::process;
use std::sync::OnceLock;
use std::time::Instant;

use super::task::function::{self, CodecError, Function, Trampoline};
use super::wire::board::{OwnSlot, Slots};
use super::wire::rings;
use super::wire::{self, Call, Failure, ForkRequest, Frame, FrameKind, Head, REST};
use crate::sys::clock;
use crate::sys::process::{child, descriptors, fork_detect};
use crate::task::registry::{self, Entry};
use crate::task::{Cause, CodecStage, Kind, TaskError, failure, park};
use inbox::{Inbox, Outbox};
use setup::Setup;

/// What `ps` shows.
pub(in crate::process) const SHORT_NAME: &CStr = c"trine-worker";

/// Where the socket goes: far above the numbers that a task opens and closes.
const SOCKET: RawFd = 200;

/// What a template has ready for its workers: made once, in memory that each fork copies.
pub(in crate::process) struct Inherited {
    /// The master's process id.
    master: u32,
    places: Slots,
    /// The master's current directory, whichever that is.
    directory: CString,
    scratch: Box<[u8]>,
    /// What the preload has opened, which a worker keeps; room for its socket.
    inherited: Vec<RawFd>,
}

impl Inherited {
    /// Of a template whose preload has not run.
    ///
    /// # Errors
    ///
    /// Says why no worker can be forked.
    pub(in crate::process) fn new(master: u32, places: Slots) -> Result<Inherited, String> {
        fork_detect::prepare().map_err(|error| {
            format!("no page for workers to know their copies by (MADV_WIPEONFORK): {error}")
        })?;
        let (directory, scratch) = (child::directory_of(master), inbox::scratch());
        rehearse();
        Ok(Inherited { master, places, directory, scratch, inherited: Vec::with_capacity(1) })
    }

    /// Leaves the workers also what the preload has opened: all that is open but for the template's own.
    pub(in crate::process) fn leave(&mut self, mut open: Vec<RawFd>) {
        open.retain(|number| *number != self.places.as_raw_fd());
        open.reserve(1);
        self.inherited = open;
    }

    /// Enters the directory in which the master is now.
    pub(in crate::process) fn follow_master(&self) {
        child::follow_directory(&self.directory);
    }
}

/// Does what each worker would do first: takes a task's slot, the thread's waker, the time, and encodes an answer. What
/// that leaves in memory comes with the fork for less than the page faults that each worker would take.
fn rehearse() {
    // Under a number of the master's, so that none of this process's own is used up.
    let entry = Entry::adopt(1, Kind::Process, None, Location::caller());
    let _ = (park::waker(), Instant::now());
    let _ = function::encode(&mut Vec::new(), &(), CodecStage::EncodeResult);
    drop(entry);
}

/// Turns the calling process, just forked, into a worker.
pub(in crate::process) fn become_worker(
    (theirs, memory, outputs): (OwnedFd, Option<OwnedFd>, Vec<OwnedFd>),
    request: &ForkRequest,
    estate: Inherited,
) -> ! {
    crash_side!(Worker);
    crash_point!("worker: forked, not bound to its master");
    child::die_with_parent(estate.master);
    child::set_short_name(SHORT_NAME);
    if capture::attach(&outputs).is_err() {
        child::exit_now(1);
    }
    let Ok(socket) = descriptors::copy_high(theirs.as_fd(), SOCKET) else { child::exit_now(1) };
    let Ok(lines) = memory.as_ref().map(rings::attach).transpose() else { child::exit_now(1) };
    let Ok(place) = OwnSlot::map(&estate.places, request.place) else { child::exit_now(1) };
    estate.follow_master();
    let Inherited { places, scratch, inherited: mut kept, .. } = estate;
    kept.push(socket.as_raw_fd());
    // SAFETY: `theirs`, `memory`, `outputs`, `places` and the template's socket are closed here under their owners, who
    // never run again in this process: this function does not return, and the first four are forgotten.
    unsafe {
        std::mem::forget((theirs, memory, outputs, places));
        descriptors::close_all_but(kept);
    }
    overflow::report_to(socket.as_raw_fd());
    fork_detect::mark_original();
    let place = cancel::keep(place);
    limits::keep(place, own_id());
    crash_point!("worker: arranged, not set up");
    let mut inbox = Inbox::new(socket, lines, scratch);
    if request.awaits_setup {
        let frame = inbox.frame();
        set_up(&frame, &inbox.outbox);
    }
    crash_point!("worker: set up, not ready");
    place.get_ready();
    crash_point!("worker: ready");
    loop {
        let mut order = inbox.next();
        match order.head.kind {
            FrameKind::Setup => set_up(&order, &inbox.outbox),
            FrameKind::Run => {
                run(&mut order, place, &mut inbox.outbox);
                inbox.reuse(order.body);
            }
            _ => process::exit(1),
        }
    }
}

fn set_up(frame: &Frame, outbox: &Outbox) {
    let setup = match postcard::from_bytes::<Setup>(&frame.body) {
        Ok(setup) if frame.head.kind == FrameKind::Setup => setup,
        _ => process::exit(1),
    };
    if let Err(reason) = setup.apply() {
        let mut refused = wire::begin(FrameKind::Refused, frame.head.task);
        refused.extend_from_slice(reason.as_bytes());
        wire::finish(&mut refused);
        outbox.send(&refused, &[]);
        process::exit(0);
    }
}

/// Runs the items of one task that have no answer yet, and sends the answer of each.
fn run(order: &mut Frame, place: &'static OwnSlot, outbox: &mut Outbox) {
    let Frame { head, body, descriptors, .. } = order;
    let task = head.task;
    let Ok((call, mut arguments)) = postcard::take_from_bytes::<Call>(body) else {
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
    // Before it runs: of a running process, the kernel would be asked for its state.
    let label = entry.info();
    entry.slot.set_os_id(own_id());
    entry.slot.set_state(registry::RUNNABLE);
    registry::set_current(Some(entry.slot));
    let start = Instant::now();
    let left = call.deadline.map(|deadline| deadline.saturating_sub(clock::monotonic()));
    let most = left.into_iter().chain(call.limit).min();
    entry.slot.exchange_deadline(most.and_then(|most| start.checked_add(most)));
    let running = cancel::running(entry.slot);
    let mut job = Running { task, trampoline, entry: &entry, place, outbox };
    if place.is_cancelled(task) {
        job.fail(REST, &Failure::Cancelled);
    } else if left.is_some_and(|left| left.is_zero()) {
        job.fail(REST, &Failure::TimedOut);
    } else {
        crash_point!("worker: task taken, not begun");
        if call.limit.is_some() {
            place.begin_clock();
        }
        place.begin(task, head.item);
        crash_point!("worker: task begun, not run");
        let descriptors = std::mem::take(descriptors);
        overflow::labelled(&label, || match call.items {
            None => job.run(0, arguments, descriptors, || nanos_since(start)),
            Some(_) => {
                let mut descriptors = descriptors.into_iter();
                for item in 0.. {
                    let Ok(argument) = wire::next_item(&mut arguments) else { process::exit(1) };
                    let is_last = arguments.is_empty();
                    if let Some((argument, own)) = argument {
                        let own = descriptors.by_ref().take(own).collect();
                        if item >= head.item {
                            place.begin_item(item);
                            crash_point!("worker: item begun, not run");
                            let nanos = || if is_last { nanos_since(start) } else { 0 };
                            job.run(item, argument, own, nanos);
                        }
                    }
                    if is_last {
                        break;
                    }
                    if place.is_cancelled(task) || place.is_expired(task) {
                        let cancelled = place.is_cancelled(task);
                        let failure =
                            if cancelled { Failure::Cancelled } else { Failure::TimedOut };
                        job.fail(REST, &failure);
                        break;
                    }
                }
            }
        });
    }
    drop(running);
    registry::set_current(None);
    crash_point!("worker: task ended, joiner not told");
    outbox.finished();
}

/// The worker's process id, asked once.
fn own_id() -> u32 {
    static ID: OnceLock<u32> = OnceLock::new();
    *ID.get_or_init(process::id)
}

/// At least 1: 0 says that it is not known.
fn nanos_since(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX).max(1)
}

/// The task that runs.
struct Running<'a> {
    task: u64,
    trampoline: Trampoline,
    entry: &'a Entry,
    place: &'static OwnSlot,
    outbox: &'a mut Outbox,
}

impl Running<'_> {
    /// Calls the function for one item, and sends its answer.
    fn run(
        &mut self,
        item: u32,
        argument: &[u8],
        descriptors: Vec<OwnedFd>,
        nanos: impl FnOnce() -> u32,
    ) {
        let reply = self.outbox.blank();
        let counting = limits::begin();
        let outcome = failure::catch(
            || self.entry.slot.info(),
            || (self.trampoline)(argument, descriptors, reply),
        );
        drop(counting);
        if fork_detect::is_one() {
            // The task has forked, and the child has returned from it, too: there is one answer, the parent's.
            child::exit_now(0);
        }
        // Should the task have written over it: it is the task that ends now, and not the next one, that did.
        self.place.begin(self.task, item);
        // What the task has printed stands before what the joiner prints, who waits for the last answer.
        let nanos = nanos();
        if nanos > 0 {
            let _ = io::stdout().flush();
        }
        if let Some(progress) = self.entry.slot.progress() {
            self.tell_progress(progress);
        }
        let failure = match outcome {
            Ok(Ok(descriptors)) => {
                let kind = FrameKind::Value;
                let head = Head { kind, task: self.task, item, nanos };
                return self.outbox.answer(&head, &descriptors);
            }
            Ok(Err(CodecError { stage, message })) => Failure::Codec { stage, message },
            Err(error) => failure_of(error),
        };
        self.fail(item, &failure);
    }

    /// The board has room for one number only, and the next task may be quicker than the master's look.
    fn tell_progress(&mut self, progress: f64) {
        let mut frame = wire::begin(FrameKind::Progress, self.task);
        frame.extend_from_slice(&progress.to_bits().to_le_bytes());
        let result = self.outbox.exchange(frame);
        self.outbox.answer(&Head::of(FrameKind::Progress, self.task), &[]);
        self.outbox.exchange(result);
    }

    fn fail(&mut self, item: u32, failure: &Failure) {
        let reply = self.outbox.blank();
        let encoded = postcard::to_extend(failure, std::mem::take(reply));
        *reply = encoded.expect("a failure holds nothing that cannot be encoded");
        let head = Head { item, ..Head::of(FrameKind::Failed, self.task) };
        self.outbox.answer(&head, &[]);
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
