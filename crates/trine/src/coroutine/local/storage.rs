//! The values of one coroutine or thread, by the key of their [`Local`](super::Local).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

/// The error of a [`Local`](super::Local) that was used after it was dropped, at the end of its
/// coroutine or thread.
///
/// ```
/// use trine::coroutine::Local;
///
/// static NAME: Local<String> = Local::new(|| String::from("main"));
/// assert_eq!(NAME.try_with(String::len), Ok(4)); // an `AccessError` in a late destructor
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a coroutine::Local was used after it was dropped at the end of its task")
    }
}

impl Error for AccessError {}

/// The value of one `Local` in one storage.
#[derive(Default)]
pub(super) enum Entry {
    #[default]
    Empty,
    Initializing,
    Live(Rc<dyn Any>),
    Dropped,
}

/// The values of one coroutine or thread.
pub(in crate::coroutine) struct Storage {
    entries: RefCell<Vec<Entry>>,
    /// The keys of live values, in the order of their initialisation.
    order: RefCell<Vec<usize>>,
    /// True once the thread has ended.
    ended: Cell<bool>,
}

impl Storage {
    pub(super) const fn new() -> Storage {
        Storage {
            entries: RefCell::new(Vec::new()),
            order: RefCell::new(Vec::new()),
            ended: Cell::new(false),
        }
    }

    #[inline]
    pub(super) fn get(&self, key: usize) -> Option<Rc<dyn Any>> {
        match self.entries.borrow().get(key) {
            Some(Entry::Live(value)) => Some(Rc::clone(value)),
            _ => None,
        }
    }

    /// Begins to make a value that is not there.
    #[track_caller]
    pub(super) fn begin(&self, key: usize) -> Result<(), AccessError> {
        if self.ended.get() {
            return Err(AccessError);
        }
        let mut entries = self.entries.borrow_mut();
        if entries.len() <= key {
            entries.resize_with(key + 1, Entry::default);
        }
        match &mut entries[key] {
            Entry::Dropped => Err(AccessError),
            Entry::Initializing => {
                drop(entries);
                panic!("a coroutine::Local was used in the function that makes its value")
            }
            entry => {
                *entry = Entry::Initializing;
                Ok(())
            }
        }
    }

    pub(super) fn put(&self, key: usize, entry: Entry) {
        if matches!(entry, Entry::Live(_)) {
            self.order.borrow_mut().push(key);
        }
        self.entries.borrow_mut()[key] = entry;
    }

    /// Drops all values. A destructor's panic is caught; returns the payload of the last one.
    pub(in crate::coroutine) fn drop_values(&self) -> Option<Box<dyn Any + Send>> {
        let mut panicked = None;
        // A destructor may use values, and have others made.
        while let Some(key) = { self.order.borrow_mut().pop() } {
            let value = mem::replace(&mut self.entries.borrow_mut()[key], Entry::Dropped);
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
                // The destructor of a payload could panic again, without end, so payloads are
                // leaked.
                mem::forget(panicked.replace(payload));
            }
        }
        panicked
    }

    /// Drops all values at the end of a thread, which gets no more of them.
    pub(super) fn end(&self) {
        mem::forget(self.drop_values());
        self.ended.set(true);
        self.entries.take();
        self.order.take();
    }
}
