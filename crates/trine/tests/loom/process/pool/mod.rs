//! The library's link to a worker and its way for replies, and a stand-in for the dispatcher.

#[allow(dead_code, reason = "as above")]
#[path = "../../../../src/process/pool/link.rs"]
pub(super) mod link;

#[allow(dead_code, reason = "as above")]
#[path = "../../../../src/process/pool/replies.rs"]
pub(super) mod replies;

mod wakes;

pub(super) mod deferred {
    use crate::process::wire::Head;
    use crate::sys::io::arrived::Arrived;

    #[allow(dead_code, reason = "an answer of a model is its head")]
    pub(in crate::process) struct Received<'a> {
        pub(in crate::process) head: Head,
        pub(in crate::process) body: &'a [u8],
        pub(in crate::process) descriptors: Arrived,
    }
}

pub(super) mod dispatcher {
    use std::sync::atomic::Ordering::{AcqRel, Acquire};
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    use loom::sync::atomic::AtomicU32;

    use super::deferred::Received;
    use super::link::WorkerLink;
    use crate::task::park;

    /// Knows which tasks were answered, and the joiners that wait for them.
    pub(in crate::process) struct Dispatcher {
        /// For each task, 1 if it has ended.
        done: [AtomicU32; 3],
        /// In mutexes of std, which are free whenever loom lets another thread run.
        pub(in crate::process) answered: Mutex<Vec<u64>>,
        joiners: Mutex<[Option<Waker>; 3]>,
    }

    /// Tasks that have come to their end.
    #[must_use]
    pub(in crate::process) struct Ended(Vec<u64>);

    impl Dispatcher {
        pub(in crate::process) fn new() -> Dispatcher {
            Dispatcher {
                done: std::array::from_fn(|_| AtomicU32::new(0)),
                answered: Mutex::default(),
                joiners: Mutex::default(),
            }
        }

        pub(in crate::process) fn is_done(&self, task: u64) -> bool {
            self.done[task as usize].load(Acquire) != 0
        }

        /// Has the caller woken when the task ends.
        pub(in crate::process) fn register(&self, task: u64) {
            self.joiners.lock().unwrap()[task as usize] = Some(park::waker());
            self.done[task as usize].fetch_add(0, AcqRel);
        }

        pub(in crate::process) fn answered<'a>(
            &self,
            _: &WorkerLink,
            records: impl Iterator<Item = Received<'a>>,
            _: bool,
        ) -> (Ended, Option<String>) {
            let tasks: Vec<_> = records.map(|answer| answer.head.task).collect();
            self.answered.lock().unwrap().extend(&tasks);
            (Ended(tasks), None)
        }

        pub(in crate::process) fn settle(self: &Arc<Dispatcher>, ended: Ended) {
            for task in ended.0 {
                self.done[task as usize].fetch_add(1, AcqRel);
                let joiner = self.joiners.lock().unwrap()[task as usize].take();
                joiner.into_iter().for_each(Waker::wake);
            }
        }
    }
}
