//! TCP and UDP over loopback, between coroutines, threads and local coroutines of a thread.
//!
//! `TRINE_REACTOR` chooses the carriers' back end.

mod accept;
mod address;
mod cancel;
mod convert;
mod errors;
mod stream;
mod udp;

use std::time::Duration;

use crate::common::places::{KINDS, spawn};
use crate::common::waiting::{until, until_it_waits};
use trine::coroutine::spawn_local;
use trine::net::{TcpListener, TcpStream};

/// Longer than any test runs, so that a wait with it ends for another reason.
const LONG: Duration = Duration::from_secs(600);
/// The timeout of a wait that is to time out.
const SHORT: Duration = Duration::from_millis(2);
/// Any free port.
const ANY: &str = "127.0.0.1:0";

/// Calls `f` in a coroutine, in a thread's task, on a plain thread, and in a local coroutine of
/// such a thread.
fn everywhere(f: fn()) {
    KINDS.into_iter().for_each(|kind| spawn(kind, f).join().unwrap());
    std::thread::spawn(f).join().unwrap();
    std::thread::spawn(move || spawn_local(f).join().unwrap()).join().unwrap();
}

/// Makes two ends of a connection.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(ANY).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// Makes `len` bytes in which neighbouring places differ.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
