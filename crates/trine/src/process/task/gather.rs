//! The replies to one task of many arguments, collected until none is missing.

use std::ops::Range;

use crate::process::wire::REST;
use crate::sys::io::arrived::Arrived;
use crate::task::TaskError;

/// The replies received so far, on the master's side.
#[derive(Debug)]
pub(super) struct Gather {
    /// The encoded results, in the order of their arrival.
    bytes: Vec<u8>,
    items: Vec<Option<Item>>,
    missing: usize,
    /// The first item without a reply.
    first: usize,
    /// The number of descriptors of all replies.
    descriptors: usize,
}

/// One reply.
#[derive(Debug)]
pub(in crate::process) enum Item {
    Value {
        range: Range<usize>,
        descriptors: Arrived,
    },
    Failed(Box<TaskError>),
    /// The argument could not be encoded: no worker will reply to it.
    Absent(Box<TaskError>),
}

/// All replies.
#[derive(Debug, Default)]
pub(in crate::process) struct Gathered {
    /// The encoded results, in the order of their arrival.
    pub(in crate::process) bytes: Vec<u8>,
    /// The reply to each argument, in order; none is missing.
    pub(in crate::process) items: Vec<Option<Item>>,
    /// The time that the worker took for the task; 0 if it did not complete it.
    pub(in crate::process) nanos: u32,
}

impl Gather {
    pub(super) fn new(items: usize) -> Gather {
        let items = std::iter::repeat_with(|| None).take(items).collect::<Vec<_>>();
        Gather { bytes: Vec::new(), missing: items.len(), items, first: 0, descriptors: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Returns the number of descriptors of all replies.
    pub(super) fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Returns true if `item` has no reply yet. Each item gets one. Replies through the socket may
    /// arrive after later ones through the ring.
    pub(super) fn awaits(&self, item: u32) -> bool {
        item == REST || self.items.get(item as usize).is_some_and(Option::is_none)
    }

    /// Adds the value of an awaited item.
    pub(super) fn value(&mut self, item: u32, value: &[u8], descriptors: Arrived) {
        let start = self.bytes.len();
        self.descriptors += descriptors.len();
        self.bytes.extend_from_slice(value);
        self.set(item, Item::Value { range: start..self.bytes.len(), descriptors });
    }

    /// Adds the error of an awaited item; for [`REST`], of all awaited items.
    pub(super) fn failed(&mut self, item: u32, error: &TaskError) {
        if item != REST {
            return self.set(item, Item::Failed(Box::new(error.clone())));
        }
        while !self.is_complete() {
            self.set(self.first as u32, Item::Failed(Box::new(error.clone())));
        }
    }

    /// Adds the error of an item whose argument cannot be sent.
    pub(super) fn absent(&mut self, item: u32, error: TaskError) {
        self.set(item, Item::Absent(Box::new(error)));
    }

    /// Drops replies that a dead worker sent out of turn; the next worker runs those items again.
    /// Only a worker with corrupted memory replies out of turn.
    pub(super) fn forget_behind_the_first(&mut self) {
        let behind = self.items.iter_mut().skip(self.first);
        for reply in behind.filter(|item| !matches!(item, None | Some(Item::Absent(_)))) {
            if let Some(Item::Value { descriptors, .. }) = reply.take() {
                self.descriptors -= descriptors.len();
            }
            self.missing += 1;
        }
    }

    fn set(&mut self, item: u32, reply: Item) {
        self.items[item as usize] = Some(reply);
        self.missing -= 1;
        let is_there = |item: &&Option<Item>| item.is_some();
        self.first += self.items[self.first..].iter().take_while(is_there).count();
    }

    /// Returns the first item without a reply, or [`REST`] if there is none.
    pub(super) fn first_missing(&self) -> u32 {
        if self.is_complete() { REST } else { self.first as u32 }
    }

    /// Takes all replies; call it when they are complete.
    pub(super) fn take(&mut self, nanos: u32) -> Gathered {
        let (bytes, items) = (&mut self.bytes, &mut self.items);
        Gathered { bytes: std::mem::take(bytes), items: std::mem::take(items), nanos }
    }
}

impl Gathered {
    pub(in crate::process) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the errors of the items that failed.
    pub(in crate::process) fn errors(&self) -> impl Iterator<Item = &TaskError> {
        self.items.iter().flatten().filter_map(|item| match item {
            Item::Failed(error) | Item::Absent(error) => Some(&**error),
            Item::Value { .. } => None,
        })
    }
}
