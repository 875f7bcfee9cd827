//! Many arguments of one function as one task: what a map of tiny tasks is made of.
//!
//! Each argument has an answer of its own, which the worker sends as soon as it is there. So a worker that dies
//! costs the one argument that it had begun: those before have their answers, those behind go to another worker.

use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::process::task::function;
use crate::process::task::record::{Answer, Record};
use crate::process::wire::REST;
use crate::task::{Backend, Cause, CodecStage, Core, TaskError};

/// What a [`Task`](crate::Task) of many arguments holds on to.
pub(in crate::process) struct ChunkRemote<R> {
    pub(in crate::process) record: Record,
    result: PhantomData<fn() -> R>,
}

/// What such a task ends with.
#[derive(Debug)]
pub(crate) struct Chunk<R> {
    /// For each argument, in order.
    pub(crate) results: Vec<Result<R, TaskError>>,
    /// How long the worker was at it; `None` if it did not come to its end.
    pub(crate) took: Option<Duration>,
}

/// The answers that have come, on the master's side.
#[derive(Debug)]
pub(in crate::process) struct Gather {
    /// The encoded results, one behind the other as they came.
    bytes: Vec<u8>,
    items: Vec<Option<Item>>,
    missing: usize,
    /// The first item without an answer.
    first: usize,
}

/// One answer.
#[derive(Debug)]
pub(in crate::process) enum Item {
    Value {
        place: Range<usize>,
        descriptors: Vec<OwnedFd>,
    },
    Failed(Box<TaskError>),
    /// Its argument could not be encoded: no worker will answer it.
    Absent(Box<TaskError>),
}

/// All answers.
#[derive(Debug, Default)]
pub(in crate::process) struct Gathered {
    bytes: Vec<u8>,
    /// Each is there.
    items: Vec<Option<Item>>,
    nanos: u32,
}

impl<R> ChunkRemote<R> {
    pub(in crate::process) fn new(record: Record) -> ChunkRemote<R> {
        ChunkRemote { record, result: PhantomData }
    }
}

impl<R: DeserializeOwned + Send + 'static> Backend for ChunkRemote<R> {
    type Raw = Answer;
    type Value = Chunk<R>;

    fn core(&self) -> &Core<Answer> {
        self.record.core()
    }

    fn finish(&self, answer: Answer) -> Result<Chunk<R>, TaskError> {
        let Answer::Many(Gathered { bytes, items, nanos }) = answer else {
            unreachable!("a task of many arguments has many answers");
        };
        let mut results = Vec::with_capacity(items.len());
        let mut items = items.into_iter().flatten();
        let decode = |item| match item {
            Item::Failed(error) | Item::Absent(error) => Err(*error),
            Item::Value { place, descriptors } => {
                function::decode(&bytes[place], descriptors, CodecStage::DecodeResult)
                    .map_err(|error| self.record.error(error.into_cause()))
            }
        };
        // A decoder that panics ends the call, and the next one goes on behind its item.
        while let Err(error) = self.record.call(|| results.extend(items.by_ref().map(decode))) {
            results.push(Err(error));
        }
        Ok(Chunk { results, took: (nanos > 0).then(|| Duration::from_nanos(nanos.into())) })
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.record.cancel(reason);
    }

    fn linger(&self) {
        self.record.linger();
    }

    fn park(&self, deadline: Option<std::time::Instant>) -> Result<(), crate::task::Interrupted> {
        self.record.park(deadline)
    }

    fn progress(&self) -> Option<f64> {
        self.record.progress()
    }
}

impl Gather {
    pub(in crate::process) fn new(items: usize) -> Gather {
        let items = std::iter::repeat_with(|| None).take(items).collect::<Vec<_>>();
        Gather { bytes: Vec::new(), missing: items.len(), items, first: 0 }
    }

    pub(in crate::process) fn len(&self) -> usize {
        self.items.len()
    }

    pub(in crate::process) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Whether an answer for `item` makes sense: there is one for each. Those that come through the socket may come
    /// behind later ones.
    pub(in crate::process) fn awaits(&self, item: u32) -> bool {
        item == REST || self.items.get(item as usize).is_some_and(Option::is_none)
    }

    /// Notes the value of an item that is awaited.
    pub(in crate::process) fn value(&mut self, item: u32, value: &[u8], descriptors: Vec<OwnedFd>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.set(item, Item::Value { place: start..self.bytes.len(), descriptors });
    }

    /// Notes that an item that is awaited has none, or all that are, for [`REST`].
    pub(in crate::process) fn failed(&mut self, item: u32, error: &TaskError) {
        if item != REST {
            return self.set(item, Item::Failed(Box::new(error.clone())));
        }
        while !self.is_complete() {
            self.set(self.first as u32, Item::Failed(Box::new(error.clone())));
        }
    }

    /// Notes that the argument of an item cannot be sent.
    pub(in crate::process) fn absent(&mut self, item: u32, error: TaskError) {
        self.set(item, Item::Absent(Box::new(error)));
    }

    /// Forgets what a worker that is dead has answered out of turn: only one whose memory is overwritten does so,
    /// and the next worker will answer those.
    pub(in crate::process) fn forget_behind_the_first(&mut self) {
        let behind = self.items.iter_mut().skip(self.first);
        for answer in behind.filter(|item| !matches!(item, None | Some(Item::Absent(_)))) {
            *answer = None;
            self.missing += 1;
        }
    }

    fn set(&mut self, item: u32, answer: Item) {
        self.items[item as usize] = Some(answer);
        self.missing -= 1;
        let is_there = |item: &&Option<Item>| item.is_some();
        self.first += self.items[self.first..].iter().take_while(is_there).count();
    }

    /// The first item without an answer.
    pub(in crate::process) fn first_missing(&self) -> u32 {
        if self.is_complete() { REST } else { self.first as u32 }
    }

    /// All answers, when they are complete.
    pub(in crate::process) fn take(&mut self, nanos: u32) -> Gathered {
        let (bytes, items) = (&mut self.bytes, &mut self.items);
        Gathered { bytes: std::mem::take(bytes), items: std::mem::take(items), nanos }
    }
}

impl Gathered {
    pub(in crate::process) fn len(&self) -> usize {
        self.items.len()
    }

    /// Those that have failed.
    pub(in crate::process) fn errors(&self) -> impl Iterator<Item = &TaskError> {
        self.items.iter().flatten().filter_map(|item| match item {
            Item::Failed(error) | Item::Absent(error) => Some(&**error),
            Item::Value { .. } => None,
        })
    }
}

impl Record {
    /// As [`call`](Record::call), for a decoder that may also fail.
    pub(in crate::process) fn call_or_fail<T>(
        &self,
        decode: impl FnOnce() -> Result<T, function::CodecError>,
    ) -> Result<T, TaskError> {
        self.call(decode)?.map_err(|error| self.error(error.into_cause()))
    }

    /// The task's error.
    pub(in crate::process) fn error(&self, cause: Cause) -> TaskError {
        TaskError::new(cause, Some(self.core().entry.info()))
    }
}
