//! Runs one task: calls its function for each item that has no answer yet, and sends the answers.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe, Location};
use std::process;
use std::sync::OnceLock;
use std::time::Instant;

use super::inbox::Outbox;
use super::{cancel, limits, overflow};
use crate::process::task::function::{self, Callable};
use crate::process::task::value::{self, CodecError};
use crate::process::wire::board::OwnSlot;
use crate::process::wire::{self, Call, Failure, Frame, FrameKind, Head, REST};
use crate::sys::clock;
use crate::sys::io::arrived::Arrived;
use crate::sys::process::{current, fork_detect};
use crate::task::registry::{self, Entry};
use crate::task::slot::RUNNABLE;
use crate::task::{Cause, CodecStage, Kind, TaskError, failure, park};

/// Runs the task of a RUN. Its descriptors are moved out of the order.
pub(super) fn run(order: &mut Frame, board: &'static OwnSlot, outbox: &mut Outbox) {
    let Frame { head, body, descriptors, .. } = order;
    // They come from the master.
    descriptors.trust();
    let task = head.task;
    let Ok((call, arguments)) = postcard::take_from_bytes::<Call>(body) else {
        process::exit(1);
    };
    // SAFETY: the offsets come from the master, which runs the same build (the template has
    // checked the fingerprint).
    let (function, location) = unsafe {
        let location = call.location.and_then(|offset| function::location_at(offset));
        (call.function.resolve(), location)
    };
    let Some(function) = function else { process::exit(1) };
    let name = call.name.map(Into::into);
    let location = location.unwrap_or_else(|| Location::caller());
    let Some(entry) = Entry::adopt(task, Kind::Process, name, location) else {
        process::exit(1);
    };
    // Taken before the task is runnable: `info` asks the kernel for the state of a running process.
    let label = entry.info();
    entry.slot.set_os_id(own_id());
    entry.slot.set_state(RUNNABLE);
    registry::set_current(Some(entry.slot));
    let start = Instant::now();
    let left = call.deadline.map(|deadline| deadline.saturating_sub(clock::monotonic()));
    let most = left.into_iter().chain(call.limit).min();
    entry.slot.exchange_deadline(most.and_then(|most| start.checked_add(most)));
    let on_first_thread = cancel::enter(entry.slot);
    let mut running = Running { task, start, function, entry: &entry, board, outbox };
    if board.is_cancelled(task) {
        running.fail(REST, &Failure::Cancelled);
    } else if left.is_some_and(|left| left.is_zero()) {
        running.fail(REST, &Failure::TimedOut);
    } else {
        crash_point!("worker: task taken, not begun");
        if call.limit.is_some() {
            board.begin_clock();
        }
        board.begin(task, head.item);
        value::begin_results(head.nanos as usize);
        crash_point!("worker: task begun, not run");
        let mut descriptors = std::mem::take(descriptors);
        overflow::with_label(&label, || match call.items {
            None => running.run(0, arguments, &mut descriptors, || nanos_since(start)),
            Some(_) => running.run_items(head.item, arguments, descriptors),
        });
    }
    drop(on_first_thread);
    registry::set_current(None);
    crash_point!("worker: task ended, joiner not notified");
    outbox.finished();
}

/// Returns the worker's process id, with one system call in all.
pub(super) fn own_id() -> u32 {
    static ID: OnceLock<u32> = OnceLock::new();
    *ID.get_or_init(process::id)
}

/// Returns the time since `start`, at least 1: 0 stands for an unknown time.
fn nanos_since(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX).max(1)
}

/// The task that runs.
struct Running<'a> {
    task: u64,
    start: Instant,
    function: Callable,
    entry: &'a Entry,
    board: &'static OwnSlot,
    outbox: &'a mut Outbox,
}

impl Running<'_> {
    /// Calls the function for each item from `first` on, until the task is cancelled or its time is
    /// up.
    fn run_items(&mut self, first: u32, mut arguments: &[u8], mut descriptors: Arrived) {
        let (task, start, board) = (self.task, self.start, self.board);
        for item in 0.. {
            let Ok(argument) = wire::next_item(&mut arguments) else { process::exit(1) };
            let is_last = arguments.is_empty();
            if let Some((argument, own)) = argument {
                let mut own = descriptors.split_front(own);
                if item >= first {
                    board.begin_item(item);
                    crash_point!("worker: item begun, not run");
                    let nanos = || if is_last { nanos_since(start) } else { 0 };
                    self.run(item, argument, &mut own, nanos);
                }
            }
            if is_last {
                return;
            }
            if board.is_cancelled(task) {
                return self.fail(REST, &Failure::Cancelled);
            }
            if board.is_expired(task) {
                return self.fail(REST, &Failure::TimedOut);
            }
        }
    }

    /// Calls the function for one item, and sends its answer.
    fn run(
        &mut self,
        item: u32,
        argument: &[u8],
        descriptors: &mut Arrived,
        nanos: impl FnOnce() -> u32,
    ) {
        let reply = self.outbox.blank();
        let counting = limits::begin();
        let outcome = failure::catch(
            || self.entry.slot.info(),
            || park::with_end(|| self.function.call(argument, descriptors, reply)),
        );
        drop(counting);
        if fork_detect::is_copy_of_worker() {
            // The task has forked, and its child has returned from the function, too. Only the
            // parent answers.
            current::exit_now(0);
        }
        // Again, as the task may have overwritten the page: this task ends now, and no other.
        self.board.begin(self.task, item);
        // The task's output has to precede that of the joiner, which waits for the last answer.
        let nanos = nanos();
        if nanos > 0 {
            let _ = io::stdout().flush();
        }
        if let Some(progress) = self.entry.slot.progress() {
            self.send_progress(progress);
        }
        let mut failure = match outcome {
            Ok(Ok(descriptors)) => {
                let kind = FrameKind::Value;
                let head = Head { kind, task: self.task, item, nanos };
                return self.outbox.answer(&head, descriptors);
            }
            Ok(Err(CodecError { stage, message })) => Failure::Codec { stage, message },
            Err(error) => failure_of(error),
        };
        if let Failure::Panicked { message, .. } | Failure::Codec { message, .. } = &mut failure {
            wire::cut(message);
        }
        self.fail(item, &failure);
    }

    /// Sends the task's last progress. The board has room for one task only, and the next task may
    /// overwrite it before the master looks.
    fn send_progress(&mut self, progress: f64) {
        let mut frame = wire::begin(FrameKind::Progress, self.task);
        frame.extend_from_slice(&progress.to_bits().to_le_bytes());
        let result = self.outbox.exchange(frame);
        self.outbox.answer(&Head::of(FrameKind::Progress, self.task), Vec::new());
        self.outbox.exchange(result);
    }

    fn fail(&mut self, item: u32, failure: &Failure) {
        let reply = self.outbox.blank();
        let encoded = postcard::to_extend(failure, std::mem::take(reply));
        *reply = encoded.expect("a failure holds nothing that cannot be encoded");
        let head = Head { item, ..Head::of(FrameKind::Failed, self.task) };
        self.outbox.answer(&head, Vec::new());
    }
}

/// Converts the error of a panic or an interruption into what the wire carries of it.
fn failure_of(error: TaskError) -> Failure {
    let failure = match error.cause() {
        Cause::Panicked { message, location, backtrace } => Failure::Panicked {
            message: message.clone(),
            location: location.clone(),
            backtrace: backtrace.clone(),
        },
        Cause::Cancelled { .. } => Failure::Cancelled,
        Cause::TimedOut => Failure::TimedOut,
        // `catch` makes no other cause.
        other => Failure::Codec { stage: CodecStage::EncodeResult, message: other.to_string() },
    };
    // A payload whose drop panics must not end the worker.
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(error))) {
        std::mem::forget(again);
    }
    failure
}
