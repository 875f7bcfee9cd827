//! The places in which a call can wait.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::interruption;
use super::waiting::{until, until_waiting};
use trine::{Kind, State, Task, coroutine, thread, time};

/// Runs `f` as a coroutine, on a thread of trine, on a plain thread, and as a local coroutine of
/// this thread.
pub fn everywhere(f: impl Fn() + Clone + Send + 'static) {
    coroutine::spawn(f.clone()).join().unwrap();
    thread::spawn(f.clone()).join().unwrap();
    std::thread::spawn(f.clone()).join().unwrap();
    coroutine::spawn_local(f).join().unwrap();
}

/// The kind of task in which one of two partners runs.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Coroutine,
    Thread,
}

pub const PLACES: [Place; 2] = [Place::Coroutine, Place::Thread];

impl Place {
    pub fn spawn<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        match self {
            Place::Coroutine => coroutine::spawn(f),
            Place::Thread => thread::spawn(f),
        }
    }
}

/// The kinds that share memory.
pub const KINDS: [Kind; 2] = [Kind::Coroutine, Kind::Thread];

/// Spawns a task that shares the memory of this process.
pub fn spawn<T: Send + 'static>(kind: Kind, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    match kind {
        Kind::Coroutine => coroutine::spawn(f),
        _ => thread::spawn(f),
    }
}

/// Spawns a coroutine or a thread, in turn.
pub fn spawn_nth<T: Send + 'static>(nth: usize, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    spawn(KINDS[nth % KINDS.len()], f)
}

/// Sends bytes from `writer` to `reader`, in every pair of places. Each waits for the other again
/// and again, and the bytes arrive whole and in order.
pub fn every_byte_crosses<R, W>(ends: impl Fn() -> (R, W))
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    const LEN: usize = 3 << 20;
    for writing in PLACES {
        for reading in PLACES {
            let (mut reader, mut writer) = ends();
            let writer = writing.spawn(move || {
                let mut at = 0;
                while at < LEN {
                    let piece = pattern(at, (at % 70_000 + 1).min(LEN - at));
                    writer.write_all(&piece).unwrap();
                    at += piece.len();
                }
            });
            let reader = reading.spawn(move || {
                let (mut at, mut buffer) = (0, vec![0; 50_000]);
                loop {
                    let count = reader.read(&mut buffer).unwrap();
                    if count == 0 {
                        return at;
                    }
                    assert!(buffer[..count] == pattern(at, count), "{reading:?} at {at}");
                    at += count;
                }
            });
            writer.join().unwrap();
            assert_eq!(reader.join().unwrap(), LEN);
        }
    }
}

/// Cancels a call that would wait forever, in every place where that is possible. Also lets its
/// time run out.
pub fn ends_from_outside(call: impl Fn() -> io::Result<()> + Clone + Send + 'static) {
    for place in PLACES {
        let task = place.spawn(call.clone());
        until_waiting(&task);
        task.cancel_because("on purpose");
        is_cancelled(task.join().unwrap());
    }
    let task = coroutine::spawn_local(call.clone());
    until(|| task.state() == State::Waiting);
    task.cancel_because("on purpose");
    is_cancelled(task.join().unwrap());
    everywhere(move || {
        let begin = Instant::now();
        let limit = Duration::from_millis(2);
        let error = time::timeout(limit, &call).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(begin.elapsed() >= limit);
    });
}

fn is_cancelled(result: io::Result<()>) {
    let error = result.unwrap_err();
    let interrupted = interruption(&error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(interrupted.reason(), Some("on purpose"));
}

/// Returns the bytes `from..from + len` of a stream in which each place has its own value.
pub fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
