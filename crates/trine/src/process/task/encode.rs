//! From `spawn(arg, f)` to a task that can cross: in the caller, before anything is started.

use std::os::fd::OwnedFd;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::function::{self, CapturesNothing, CodecError, Function};
use super::job::Job;
use super::record::{Record, Remote};
use crate::process::pool::chunk::{Chunk, ChunkRemote, Gather};
use crate::process::wire::{self, Call, FrameKind};
use crate::sys::clock;
use crate::sys::io::socket::MOST_DESCRIPTORS;
use crate::task::{Cause, CodecStage, Task, cancel, failure};

/// When the waits of a task end: by this process's clock, and by the one that all processes share.
type Deadline = Option<(Instant, Duration)>;

fn deadline() -> Deadline {
    cancel::deadline()
        .map(|own| (own, clock::monotonic() + own.saturating_duration_since(Instant::now())))
}

/// Makes the task and encodes its argument. No job comes back if that failed: the task has ended.
///
/// `limit` is how long it may run.
pub(in crate::process) fn prepare<A, R, F>(
    (name, limit): (Option<Arc<str>>, Option<Duration>),
    location: &'static Location<'static>,
    arg: A,
    function: F,
    proof: CapturesNothing<F>,
) -> (Task<R>, Option<Job>)
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    let deadline = deadline();
    let call = Call {
        function: Function::of(function, proof).offset,
        location: function::location_offset(location),
        name: name.as_deref().map(str::to_owned),
        deadline: deadline.map(|(_, shared)| shared),
        limit,
        items: None,
    };
    failure::install_hook();
    let remote = Arc::new(Remote::new(name, location));
    // SAFETY: a new task, and the one handle made of it.
    let task = unsafe { Task::from_backend(Arc::clone(&remote)) };
    // SAFETY: a new task, and the one job made of it.
    let mut job = unsafe { Job::new(remote.clone()) };
    job.deadline = deadline.map(|(own, _)| own);
    let mut frame = begin(job.id(), &call);
    match remote.record.call_or_fail(|| encode_argument(&mut frame, arg)) {
        Ok(descriptors) => {
            job.set_call(frame, descriptors);
            (task, Some(job))
        }
        Err(error) => {
            job.settle(Err(error));
            (task, None)
        }
    }
}

/// As [`prepare`], for many arguments in one task.
pub(in crate::process) fn prepare_chunk<A, R, F>(
    location: &'static Location<'static>,
    args: Vec<A>,
    function: F,
    proof: CapturesNothing<F>,
) -> (Task<Chunk<R>>, Option<Job>)
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    let deadline = deadline();
    let call = Call {
        function: Function::of(function, proof).offset,
        location: function::location_offset(location),
        name: None,
        deadline: deadline.map(|(_, shared)| shared),
        limit: None,
        items: Some(args.len() as u32),
    };
    failure::install_hook();
    let remote = Arc::new(ChunkRemote::new(Record::new(None, location)));
    // SAFETY: a new task, and the one handle made of it.
    let task = unsafe { Task::from_backend(Arc::clone(&remote)) };
    // SAFETY: a new task, and the one job made of it.
    let mut job = unsafe { Job::new(remote.clone()) };
    job.deadline = deadline.map(|(own, _)| own);
    let mut gather = Gather::new(args.len());
    let mut frame = begin(job.id(), &call);
    let mut all = Vec::new();
    let mut args = args.into_iter().enumerate();
    let (mut item, mut argument) = (0, frame.len());
    // An encoder that panics ends the call, and the next one goes on behind its argument.
    while let Err(error) = remote.record.call(|| {
        for (index, arg) in args.by_ref() {
            item = index as u32;
            let start = frame.len();
            frame.extend_from_slice(&wire::item_head(None));
            argument = frame.len();
            let encoded = encode_argument(&mut frame, arg);
            let encoded = encoded.map_err(CodecError::into_cause).and_then(|own| {
                let room = MOST_DESCRIPTORS - all.len();
                if own.len() <= room { Ok(own) } else { Err(too_many(own.len(), room)) }
            });
            match encoded {
                Ok(_) if frame.len() - argument >= u32::MAX as usize => {
                    frame.truncate(argument);
                    gather.absent(item, remote.record.error(too_long()));
                }
                Ok(mut own) => {
                    let head = wire::item_head(Some((frame.len() - argument, own.len())));
                    frame[start..argument].copy_from_slice(&head);
                    all.append(&mut own);
                }
                Err(cause) => {
                    frame.truncate(argument);
                    gather.absent(item, remote.record.error(cause));
                }
            }
        }
    }) {
        frame.truncate(argument);
        gather.absent(item, error);
    }
    job.set_call(frame, all);
    job.many = Some(Box::new(gather));
    if let Some(answer) = job.answer(0) {
        job.settle(Ok(answer));
        return (task, None);
    }
    (task, Some(job))
}

fn too_many(count: usize, room: usize) -> Cause {
    let stage = CodecStage::EncodeArgument;
    let message = format!(
        "it holds {count} descriptors, and there is room for {room} more in its chunk; use a chunk of 1"
    );
    Cause::Codec { stage, message }
}

fn too_long() -> Cause {
    let stage = CodecStage::EncodeArgument;
    let message = "it is longer than 4 GiB, which no chunk holds; use `spawn`".into();
    Cause::Codec { stage, message }
}

fn begin(task: u64, call: &Call) -> Vec<u8> {
    postcard::to_extend(call, wire::begin(FrameKind::Run, task)).expect("numbers and a string")
}

/// Pushes the encoded argument behind `frame`; called on behalf of the task.
fn encode_argument<A: Serialize>(frame: &mut Vec<u8>, arg: A) -> Result<Vec<OwnedFd>, CodecError> {
    let encoded = function::encode(frame, &arg, CodecStage::EncodeArgument);
    // The caller's value has done its work; should its drop panic, that is the task's as well.
    drop(arg);
    encoded
}
