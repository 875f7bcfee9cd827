//! From `spawn(arg, f)` to a task that can cross: in the caller, before anything is started.

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::function::{self, CapturesNothing, CodecError, Function};
use super::job::{Job, Remote};
use super::wire::{self, Call, FrameKind};
use crate::sys::clock;
use crate::task::{Cause, Task, cancel, failure};

/// Makes the task and encodes its argument. No job comes back if that failed: the task has ended.
pub(super) fn prepare<A, R, F>(
    name: Option<Arc<str>>,
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
    let deadline = cancel::deadline()
        .map(|own| (own, clock::monotonic() + own.saturating_duration_since(Instant::now())));
    let call = Call {
        function: Function::of(function, proof).offset,
        location: function::location_offset(location),
        name: name.as_deref().map(str::to_owned),
        deadline: deadline.map(|(_, shared)| shared),
    };
    failure::install_hook();
    let remote = Arc::new(Remote::new(name, location));
    // SAFETY: a new task, and the one handle made of it.
    let task = unsafe { Task::from_handle(Arc::clone(&remote)) };
    // SAFETY: a new task, and the one job made of it.
    let mut job = unsafe { Job::new(Arc::clone(&remote)) };
    job.deadline = deadline.map(|(own, _)| own);
    let begun = postcard::to_extend(&call, wire::begin(FrameKind::Run, job.id()))
        .expect("numbers and a string");
    let encoded = remote.record.call(move || {
        let encoded = function::encode_argument(begun, &arg);
        // The caller's value has done its work; should its drop panic, that is the task's as well.
        drop(arg);
        encoded
    });
    match encoded {
        Ok(Ok(frame)) => {
            job.call = Arc::new(frame);
            (task, Some(job))
        }
        Ok(Err(CodecError { stage, message })) => {
            job.fail(Cause::Codec { stage, message });
            (task, None)
        }
        Err(panic) => {
            job.settle(Err(panic));
            (task, None)
        }
    }
}
