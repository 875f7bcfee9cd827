//! Turns `spawn(arg, f)` into a task that can cross; runs in the caller, before anything is sent.

use std::os::fd::OwnedFd;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::function::{self, Function};
use super::gather::Gather;
use super::job::Job;
use super::record::{Answer, Record, Submitted};
use super::value::{self, CodecError};
use crate::ipc::carry;
use crate::process::portable::Portable;
use crate::process::wire::{self, Call, FrameKind};
use crate::sys::clock;
use crate::sys::io::socket::MOST_DESCRIPTORS;
use crate::task::{Backend, Cause, CodecStage, Task, cancel, failure};

/// Creates a task and encodes its argument. The handle that `handle` makes becomes the [`Task`].
///
/// `limit` is the time that the task may run, `max_result` the most bytes of its result. Returns no
/// job if the argument could not be encoded:
/// the task has ended then.
pub(in crate::process) fn prepare<A, R, H>(
    (name, limit, max_result): (Option<Arc<str>>, Option<Duration>, u64),
    location: &'static Location<'static>,
    arg: A,
    function: fn(A) -> R,
    handle: impl FnOnce(Record) -> H,
) -> (Task<R>, Option<Job>)
where
    A: Portable,
    R: Portable,
    H: Backend<Raw = Answer, Value = R> + Submitted + 'static,
{
    let function = Function::of(function);
    let call = Call {
        function,
        location: function::location_offset(location),
        name: name.as_deref().map(str::to_owned),
        deadline: None,
        limit,
        items: None,
    };
    let (task, mut job, mut frame) =
        begin(call, || handle(Record::new(name, location).with_max_result(max_result)));
    if let Some(cause) = obstacle(function) {
        let error = job.record().error(cause);
        job.end(Err(error));
        return (task, None);
    }
    match job.record().call_or_fail(|| encode_argument(&mut frame, arg)) {
        Ok(descriptors) => {
            job.set_call(frame, descriptors);
            (task, Some(job))
        }
        Err(error) => {
            job.end(Err(error));
            (task, None)
        }
    }
}

/// Like [`prepare`], for an argument that is encoded already.
pub(in crate::process) fn prepare_encoded<H>(
    call: Call,
    (argument, descriptors): (&[u8], Vec<OwnedFd>),
    handle: impl FnOnce() -> H,
) -> (Task<H::Value>, Job)
where
    H: Backend<Raw = Answer> + Submitted + 'static,
    H::Value: Send + 'static,
{
    let (task, mut job, mut frame) = begin(call, handle);
    frame.extend_from_slice(argument);
    job.set_call(frame, descriptors);
    (task, job)
}

/// Like [`prepare`], for many arguments in one task.
pub(in crate::process) fn prepare_chunk<A, R, H>(
    location: &'static Location<'static>,
    args: Vec<A>,
    function: fn(A) -> R,
    max_result: u64,
    handle: impl FnOnce(Record) -> H,
) -> (Task<H::Value>, Option<Job>)
where
    A: Portable,
    R: Portable,
    H: Backend<Raw = Answer> + Submitted + 'static,
    H::Value: Send + 'static,
{
    let function = Function::of(function);
    let call = Call {
        function,
        location: function::location_offset(location),
        name: None,
        deadline: None,
        limit: None,
        items: Some(args.len() as u32),
    };
    let (task, mut job, mut frame) =
        begin(call, || handle(Record::new(None, location).with_max_result(max_result)));
    let mut gather = Gather::new(args.len());
    let args = match obstacle(function) {
        None => args,
        Some(cause) => {
            let error = || job.record().error(cause.clone());
            (0..args.len()).for_each(|item| gather.absent(item as u32, error()));
            Vec::new()
        }
    };
    let descriptors = encode_items(&mut frame, args, job.record(), &mut gather);
    job.set_call(frame, descriptors);
    job.items = Some(Box::new(gather));
    if let Some(answer) = job.answer(0) {
        job.end(Ok(answer));
        return (task, None);
    }
    (task, Some(job))
}

/// Creates a task, its job, and the beginning of its `RUN` frame.
fn begin<H>(mut call: Call, handle: impl FnOnce() -> H) -> (Task<H::Value>, Job, Vec<u8>)
where
    H: Backend<Raw = Answer> + Submitted + 'static,
{
    let deadline = cancel::deadline();
    // By the clock that all processes share.
    call.deadline =
        deadline.map(|own| clock::monotonic() + own.saturating_duration_since(Instant::now()));
    failure::install_hook();
    let handle = Arc::new(handle());
    // SAFETY: a new task, and the only handle made of it.
    let task = unsafe { Task::from_backend(Arc::clone(&handle)) };
    // SAFETY: a new task, and the only job made of it.
    let mut job = unsafe { Job::new(handle) };
    job.deadline = deadline;
    job.allowed = deadline.map(|own| own.saturating_duration_since(Instant::now()));
    let frame = wire::begin(FrameKind::Run, job.id());
    let frame = postcard::to_extend(&call, frame).expect("numbers and a string");
    (task, job, frame)
}

/// Appends the encoded arguments to `frame`, and returns the descriptors that belong to them.
///
/// An argument that cannot be sent is marked in `gather`, and a head without bytes takes its place.
fn encode_items<A: Serialize>(
    frame: &mut Vec<u8>,
    args: Vec<A>,
    record: &Record,
    gather: &mut Gather,
) -> Vec<OwnedFd> {
    let mut all = Vec::new();
    let mut args = args.into_iter().enumerate();
    let (mut item, mut argument) = (0, frame.len());
    // An encoder that panics ends the call; the next call goes on behind its argument.
    while let Err(error) = record.call(|| {
        for (index, arg) in args.by_ref() {
            item = index as u32;
            let start = frame.len();
            frame.extend_from_slice(&wire::item_head(None));
            argument = frame.len();
            let encoded = encode_argument(frame, arg);
            let encoded = encoded.map_err(CodecError::into_cause).and_then(|own| {
                let room = MOST_DESCRIPTORS - all.len();
                if own.len() <= room { Ok(own) } else { Err(too_many(own.len(), room)) }
            });
            match encoded {
                Ok(_) if frame.len() - argument >= u32::MAX as usize => {
                    frame.truncate(argument);
                    gather.absent(item, record.error(too_long()));
                }
                Ok(mut own) => {
                    let head = wire::item_head(Some((frame.len() - argument, own.len())));
                    frame[start..argument].copy_from_slice(&head);
                    all.append(&mut own);
                }
                Err(cause) => {
                    frame.truncate(argument);
                    gather.absent(item, record.error(cause));
                }
            }
        }
    }) {
        frame.truncate(argument);
        gather.absent(item, error);
    }
    all
}

/// Returns the reason why no call of this function can cross.
fn obstacle(function: Function) -> Option<Cause> {
    if !carry::is_available() {
        return Some(too_late());
    }
    (!function.can_cross()).then(foreign_code)
}

pub(super) fn foreign_code() -> Cause {
    let reason = "its function is not a part of this program, but of a shared library, or made at \
                  run time, so another process may have it elsewhere; give a function of the \
                  program, which may call it";
    Cause::NotSpawned { reason: reason.into() }
}

fn too_late() -> Cause {
    let reason = "the storage of this thread (`thread_local!`) is gone, as in a handler of \
                  `atexit` or in a late destructor of a `thread_local!`; spawn before that";
    Cause::NotSpawned { reason: reason.into() }
}

fn too_many(count: usize, room: usize) -> Cause {
    let stage = CodecStage::EncodeArgument;
    let message = format!(
        "it holds {count} descriptors, and there is room for {room} more in its chunk; use a chunk \
         of 1"
    );
    Cause::Codec { stage, message }
}

fn too_long() -> Cause {
    let stage = CodecStage::EncodeArgument;
    let message = "it is longer than 4 GiB, which no chunk holds; use `spawn`".into();
    Cause::Codec { stage, message }
}

/// Appends the encoded argument to `frame`; called as the task.
fn encode_argument<A: Serialize>(frame: &mut Vec<u8>, arg: A) -> Result<Vec<OwnedFd>, CodecError> {
    let encoded = value::encode(frame, &arg, CodecStage::EncodeArgument);
    // Dropped here, so that a panic of its drop is the task's error as well.
    drop(arg);
    encoded
}
