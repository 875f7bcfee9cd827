//! The library's frames and rings, and stand-ins for the other files of the room.

#[allow(dead_code, reason = "the models do not use all of it")]
#[path = "../../../../src/process/wire/frames.rs"]
mod frames;
#[path = "../../../../src/process/wire/ring.rs"]
pub(super) mod ring;
#[allow(dead_code, reason = "as above")]
#[path = "../../../../src/process/wire/rings.rs"]
pub(super) mod rings;

pub(super) use frames::*;

pub(super) mod reader {
    use std::collections::VecDeque;
    use std::os::fd::BorrowedFd;

    use crate::process::wire::{self, Frame, FrameKind, HEAD, Head};
    use crate::sys::io::{Blocking, socket};

    /// Knows frames without bodies.
    #[derive(Default)]
    pub(in crate::process) struct FrameReader {
        pub(in crate::process) ready: VecDeque<Frame>,
        pub(in crate::process) too_large: Option<Head>,
    }

    #[allow(dead_code, reason = "no stream of a model ends")]
    pub(in crate::process) enum Stream {
        More,
        Drained,
        WouldBlock,
        Ended,
        Broken(String),
    }

    impl FrameReader {
        pub(in crate::process) fn receive(
            &mut self,
            _: BorrowedFd<'_>,
            _: &mut [u8],
            blocking: Blocking,
        ) -> Stream {
            let Some(bytes) = socket::receive_from_master(blocking) else {
                return Stream::WouldBlock;
            };
            self.ready.extend(heads(&bytes).map(|head| Frame::of_record(head, Vec::new())));
            Stream::More
        }
    }

    pub(in crate::process) fn heads(bytes: &[u8]) -> impl Iterator<Item = Head> {
        bytes.chunks(HEAD).map(|head| {
            let kind = FrameKind::from_raw(wire::u32_at(head, 4)).expect("somebody has sent it");
            Head::of(kind, wire::u64_at(head, 8))
        })
    }
}

pub(super) mod board {
    use std::sync::atomic::Ordering::{Acquire, Release};

    use crate::sys::atomic::AtomicU32;

    /// One for both sides.
    pub(in crate::process) struct WorkerSlot(AtomicU32);

    impl WorkerSlot {
        pub(in crate::process) fn new() -> WorkerSlot {
            WorkerSlot(AtomicU32::new(0))
        }

        pub(in crate::process) fn set_ready(&self) {
            self.0.store(1, Release);
        }

        pub(in crate::process) fn is_ready(&self) -> bool {
            self.0.load(Acquire) != 0
        }

        pub(in crate::process) fn cancel(&self, _: u64) {}
        pub(in crate::process) fn expire(&self, _: u64) {}
    }
}

pub(super) mod spin {
    /// Each look is taken once: looking again only repeats it.
    pub(in crate::process) struct TimedSpin;

    impl TimedSpin {
        pub(in crate::process) fn new() -> TimedSpin {
            TimedSpin
        }

        pub(in crate::process) fn spin(
            &self,
            _: impl Fn() -> bool,
            mut done: impl FnMut() -> bool,
        ) -> bool {
            done()
        }

        pub(in crate::process) fn watch(
            &self,
            done: impl Fn() -> bool,
            otherwise: impl Fn() -> bool,
        ) {
            _ = done() || otherwise();
        }
    }
}
