//! What a master and its worker share, and what stands around it.

mod rings;
mod wakes;

#[allow(dead_code, reason = "the models do not use all of it")]
#[path = "../../../src/process/lines.rs"]
mod lines;
#[allow(dead_code, reason = "as above")]
#[path = "../../../src/process/link.rs"]
mod link;
#[allow(dead_code, reason = "as above")]
#[path = "../../../src/process/mail.rs"]
mod mail;
#[path = "../../../src/process/ring.rs"]
mod ring;
#[allow(dead_code, reason = "as above")]
#[path = "../../../src/process/wire.rs"]
mod wire;

mod assembler {
    use std::collections::VecDeque;
    use std::os::fd::BorrowedFd;

    use super::wire::{self, Frame, FrameKind, HEAD, Head};
    use crate::sys::socket::{self, Patience};

    /// Knows frames without bodies.
    #[derive(Default)]
    pub(super) struct Assembler {
        pub(super) ready: VecDeque<Frame>,
        pub(super) too_large: Option<Head>,
    }

    #[allow(dead_code, reason = "no stream of a model ends")]
    pub(super) enum Stream {
        Flowing,
        Ebbing,
        Dry,
        Ended,
        Broken(String),
    }

    impl Assembler {
        pub(super) fn receive(
            &mut self,
            _: BorrowedFd<'_>,
            _: &mut [u8],
            patience: Patience,
        ) -> Stream {
            let Some(bytes) = socket::receive_from_master(patience) else { return Stream::Dry };
            self.ready.extend(heads(&bytes).map(|head| Frame::of_record(head, Vec::new())));
            Stream::Flowing
        }
    }

    pub(super) fn heads(bytes: &[u8]) -> impl Iterator<Item = Head> {
        bytes.chunks(HEAD).map(|head| {
            let kind = FrameKind::from_raw(wire::half(head, 4)).expect("somebody has sent it");
            Head::of(kind, wire::word(head, 8))
        })
    }
}

mod board {
    use std::sync::atomic::Ordering::{Acquire, Release};

    use crate::sys::atomic::AtomicU32;

    /// One for both sides.
    pub(super) struct Place(AtomicU32);

    impl Place {
        pub(super) fn new() -> Place {
            Place(AtomicU32::new(0))
        }

        pub(super) fn get_ready(&self) {
            self.0.store(1, Release);
        }

        pub(super) fn is_ready(&self) -> bool {
            self.0.load(Acquire) != 0
        }

        pub(super) fn cancel(&self, _: u64) {}
        pub(super) fn expire(&self, _: u64) {}
    }
}

mod capture {
    use crate::task::Printed;

    pub(super) struct Capture;

    impl Capture {
        pub(super) fn take(&self) -> Printed {
            Printed
        }
    }
}

mod limits {
    use super::wire::Head;

    pub(super) fn die_of(_: &Head, _: &str) -> ! {
        unreachable!("no frame of a model is too large")
    }
}

mod prologue {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    pub(super) struct Prologue;
}

mod service {
    pub(super) struct Service;
}

mod spin {
    /// Each look is taken once: looking again only repeats it.
    pub(super) struct Patience;

    impl Patience {
        pub(super) fn new() -> Patience {
            Patience
        }

        pub(super) fn spin(&self, _: impl Fn() -> bool, mut done: impl FnMut() -> bool) -> bool {
            done()
        }

        pub(super) fn watch(&self, done: impl Fn() -> bool, otherwise: impl Fn() -> bool) {
            _ = done() || otherwise();
        }
    }
}

mod todo {
    use std::os::fd::OwnedFd;

    use super::wire::Head;

    #[allow(dead_code, reason = "an answer of a model is its head")]
    pub(super) struct Received<'a> {
        pub(super) head: Head,
        pub(super) body: &'a [u8],
        pub(super) descriptors: Vec<OwnedFd>,
    }
}

mod crew {
    use std::sync::atomic::Ordering::{AcqRel, Acquire};
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    use loom::sync::atomic::AtomicU32;

    use super::link::Link;
    use super::service::Service;
    use super::todo::Received;
    use crate::task::park;

    /// Knows which tasks were answered, and who waits for them.
    pub(super) struct Crew {
        /// Of each task, whether it has ended.
        done: [AtomicU32; 3],
        /// In mutexes of std, which are free whenever loom lets another thread run.
        pub(super) answered: Mutex<Vec<u64>>,
        joiners: Mutex<[Option<Waker>; 3]>,
    }

    /// Tasks that have come to their end.
    #[must_use]
    pub(super) struct Ended(Vec<u64>);

    impl Crew {
        pub(super) fn new() -> Crew {
            Crew {
                done: std::array::from_fn(|_| AtomicU32::new(0)),
                answered: Mutex::default(),
                joiners: Mutex::default(),
            }
        }

        pub(super) fn is_done(&self, task: u64) -> bool {
            self.done[task as usize].load(Acquire) != 0
        }

        /// Has the caller woken when the task ends.
        pub(super) fn register(&self, task: u64) {
            self.joiners.lock().unwrap()[task as usize] = Some(park::waker());
            self.done[task as usize].fetch_add(0, AcqRel);
        }

        pub(super) fn answered<'a>(
            &self,
            _: &Link,
            records: impl Iterator<Item = Received<'a>>,
            _: bool,
        ) -> (Ended, Option<String>) {
            let tasks: Vec<_> = records.map(|answer| answer.head.task).collect();
            self.answered.lock().unwrap().extend(&tasks);
            (Ended(tasks), None)
        }
    }

    impl Ended {
        pub(super) fn settle(self, crew: &Arc<Crew>, _: &Arc<Service>) {
            for task in self.0 {
                crew.done[task as usize].fetch_add(1, AcqRel);
                let joiner = crew.joiners.lock().unwrap()[task as usize].take();
                joiner.into_iter().for_each(Waker::wake);
            }
        }
    }
}
