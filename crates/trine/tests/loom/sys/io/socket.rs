//! Stands in for `src/sys/io/socket.rs`: one stream of bytes each way, between a worker and its
//! master.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::AcqRel;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::sys::io::Blocking;
use crate::task::park;

/// One direction.
#[derive(Debug, Default)]
struct Stream {
    /// Each call accesses it, so that loom orders the calls.
    steps: loom::sync::atomic::AtomicU32,
    /// A mutex of std, which is free whenever loom lets another thread run.
    state: Mutex<(Vec<u8>, Option<Waker>)>,
}

impl Stream {
    fn send(&self, bytes: &[u8]) {
        self.steps.fetch_add(1, AcqRel);
        let mut state = self.state.lock().unwrap();
        state.0.extend_from_slice(bytes);
        let waker = state.1.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn receive(&self, blocking: Blocking) -> Option<Vec<u8>> {
        loop {
            self.steps.fetch_add(1, AcqRel);
            let mut state = self.state.lock().unwrap();
            if !state.0.is_empty() {
                return Some(std::mem::take(&mut state.0));
            }
            if blocking == Blocking::No {
                return None;
            }
            state.1 = Some(park::waker());
            drop(state);
            park::rest();
        }
    }
}

/// The connection of a model.
#[derive(Debug, Default)]
struct Pair {
    to_worker: Stream,
    to_master: Stream,
}

std::thread_local! {
    /// All threads of a model run on one thread of the system.
    static PAIR: RefCell<Option<Arc<Pair>>> = const { RefCell::new(None) };
}

fn pair() -> Arc<Pair> {
    PAIR.with_borrow(|pair| Arc::clone(pair.as_ref().expect("the model has one")))
}

/// Makes the connection, before the model starts its threads.
pub(crate) fn connect() {
    PAIR.set(Some(Arc::default()));
}

/// Drops the connection, before the model ends.
pub(crate) fn disconnect() {
    PAIR.take();
}

/// Sends from the master.
pub(crate) fn send_to_worker(bytes: &[u8]) {
    pair().to_worker.send(bytes);
}

/// Receives what there is, at the master.
pub(crate) fn receive_from_worker(blocking: Blocking) -> Option<Vec<u8>> {
    pair().to_master.receive(blocking)
}

/// Sends to the master from any thread, to wake it.
pub(crate) fn send_to_master(bytes: &[u8]) {
    pair().to_master.send(bytes);
}

pub(crate) fn send_all(_: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    pair().to_master.send(bytes);
    Ok(())
}

pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], _: Blocking) -> io::Result<usize> {
    send_all(socket, bytes).map(|()| bytes.len())
}

pub(crate) fn send_with(
    socket: &OwnedFd,
    bytes: &[u8],
    _: &[BorrowedFd<'_>],
    blocking: Blocking,
) -> io::Result<usize> {
    send(socket, bytes, blocking)
}

/// Receives what there is, at the worker.
pub(crate) fn receive_from_master(blocking: Blocking) -> Option<Vec<u8>> {
    pair().to_worker.receive(blocking)
}

/// No model has too much in flight.
pub(crate) fn takes_more_later(_: &io::Error) -> bool {
    false
}

/// No model hangs up: that comes after a refused kill.
pub(crate) fn hang_up(_: &OwnedFd) {}
