//! A hostile worker claims sizes that it does not have: the master takes no more than its task may
//! return.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use serde::{Deserialize, Serialize, Serializer};
use trine::process::{Builder, Pool};
use trine::{Cause, CodecStage, Executor, Task, TaskError};

use super::{FAILED, VALUE, head, own_socket, send, send_frame, shared};
use crate::common::not_spawned;
use crate::common::waiting::TIMEOUT;

fn error_of<T: fmt::Debug + Send + 'static>(task: Task<T>) -> TaskError {
    task.join_timeout(TIMEOUT).expect("the task ends").unwrap_err()
}

fn stage(error: &TaskError) -> CodecStage {
    match error.cause() {
        Cause::Codec { stage, .. } => *stage,
        other => panic!("{other:?}"),
    }
}

/// Sends the head of a frame of 1 TiB, and as much of the rest as its master takes.
fn send_a_terabyte(kind: u32) {
    let (socket, zeroes) = (own_socket(), vec![0; 1 << 20]);
    send(socket, &head(kind, 1 << 40, 0), &[], 0);
    for _ in 0..64 {
        send(socket, &zeroes, &[], 0);
    }
    std::process::exit(0);
}

#[test]
fn a_frame_of_a_terabyte_ends_its_worker_at_its_head() {
    let pool = Pool::new(1);
    let error = error_of(pool.spawn(VALUE, send_a_terabyte));
    assert!(matches!(error.cause(), Cause::Lost { .. }), "{error}");
    assert!(error.to_string().contains("`max_result`"), "{error}");
    let error = error_of(pool.spawn(FAILED, send_a_terabyte));
    assert!(matches!(error.cause(), Cause::Lost { .. }), "{error}");
    let error = error_of(Builder::new().max_result(1 << 20).spawn(VALUE, send_a_terabyte));
    assert!(error.to_string().contains("more than 1 MiB"), "{error}");
}

/// Puts a result of 200 bytes into its ring of answers, and exits.
fn answer_in_the_ring((): ()) -> Vec<u8> {
    const CELLS: usize = 1024;
    const CELL: usize = 8;
    let own = trine::task::current().unwrap().id.get();
    let mut record = own.to_le_bytes().to_vec();
    record.extend([VALUE, 0, 0, 0].map(u32::to_le_bytes).concat());
    // The place of the value, its length as a number of two bytes, its bytes.
    record.extend([0, 0xc6, 1]);
    record.resize(record.len() + 198, 7);
    let len = record.len() as u64;
    record.resize(record.len().next_multiple_of(56), 0);
    let end = shared()[0].1;
    // SAFETY: the second ring of the worker's memory, whose words are atomics on both sides.
    let words = unsafe {
        let ring = end - CELLS * CELL * 8;
        std::slice::from_raw_parts(ring as *const AtomicU64, CELLS * CELL)
    };
    for (cell, bytes) in words.chunks(CELL).zip(record.chunks(56)) {
        for (word, bytes) in cell[1..].iter().zip(bytes.chunks(8)) {
            word.store(u64::from_le_bytes(bytes.try_into().unwrap()), Relaxed);
        }
        cell[0].store(1, Relaxed);
    }
    words[0].store(2 | len << 8, Release);
    std::process::exit(0);
}

#[test]
fn a_record_that_is_longer_than_a_result_may_be_is_refused() {
    let pool = Pool::builder().workers(1).max_result(201).build();
    assert_eq!(pool.spawn((), answer_in_the_ring).join().unwrap(), [7; 198]);
    let pool = Pool::builder().workers(1).max_result(100).build();
    let error = error_of(pool.spawn((), answer_in_the_ring));
    assert!(matches!(error.cause(), Cause::Lost { .. }), "{error}");
    assert!(error.to_string().contains("`max_result`"), "{error}");
}

#[test]
fn a_result_that_is_too_long_is_an_error_and_its_worker_goes_on() {
    // An encoded vector is its length, of 2 or 3 bytes here, and its bytes.
    for (most, fits) in [(1000, 998), (200_000, 199_997), (3 << 20, (3 << 20) - 4)] {
        let pool = Pool::builder().workers(1).max_result(most).build();
        let bytes = |len: usize| serde_bytes(vec![7; len]);
        let pid = |()| std::process::id();
        let before = pool.spawn((), pid).join().unwrap();
        assert_eq!(pool.spawn(fits, bytes).join().unwrap().0.len(), fits);
        let error = error_of(pool.spawn(fits + 1, bytes));
        assert_eq!(stage(&error), CodecStage::EncodeResult);
        assert!(error.to_string().contains("`max_result`"), "{error}");
        assert_eq!(pool.spawn((), pid).join().unwrap(), before);
        let mapped: Vec<_> =
            pool.map([1, fits + 1, 2], bytes).map(|result| result.is_ok()).collect();
        assert_eq!(mapped, [true, false, true]);
    }
    let error = error_of(Builder::new().max_result(10).spawn(10, |len: usize| vec![7_u8; len]));
    assert_eq!(stage(&error), CodecStage::EncodeResult);
}

/// Bytes that are encoded in one piece.
#[derive(Debug, Serialize, Deserialize)]
struct Bytes(#[serde(with = "pieces")] Vec<u8>);

fn serde_bytes(bytes: Vec<u8>) -> Bytes {
    Bytes(bytes)
}

mod pieces {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}

/// Answers with sealed memory of `len` bytes, of which the first `written` are written.
fn answer_in_memory((len, written): (usize, usize)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = len;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    let end = bytes.len() + len;
    bytes.resize(bytes.len().max(written), 0);
    // SAFETY: no memory involved but `bytes`, which are as many as stated.
    let memory = unsafe {
        let memory = libc::memfd_create(c"result".as_ptr(), libc::MFD_ALLOW_SEALING);
        libc::ftruncate(memory, end as i64);
        let count = libc::pwrite(memory, bytes.as_ptr().cast(), bytes.len(), 0);
        assert_eq!(count, bytes.len() as isize);
        assert_eq!(libc::fcntl(memory, libc::F_ADD_SEALS, 0xf), 0);
        memory
    };
    send_frame(VALUE, &[1], &[memory]);
    loop {
        std::thread::park();
    }
}

#[test]
fn a_result_that_was_never_written_is_refused() {
    let pool = Pool::builder().workers(1).memory_limit(64 << 20).build();
    let error = error_of(pool.spawn((512 << 20, 0), answer_in_memory));
    assert_eq!(stage(&error), CodecStage::DecodeResult);
    assert!(error.to_string().contains("was never written"), "{error}");
    // One page is missing.
    let pool = Pool::new(1);
    let error = error_of(pool.spawn((1 << 20, (1 << 20) - 8192), answer_in_memory));
    assert!(error.to_string().contains("was never written"), "{error}");
    pool.stop(std::time::Duration::ZERO);
}

#[test]
fn a_result_in_memory_is_no_longer_than_its_pool_takes() {
    let pool = Pool::builder().workers(1).max_result(1 << 20).build();
    let error = error_of(pool.spawn((2 << 20, 2 << 20), answer_in_memory));
    assert!(error.to_string().contains("`max_result`"), "{error}");
    pool.stop(std::time::Duration::ZERO);
}

/// A value whose encoder fails with a long text.
#[derive(Debug, Deserialize)]
struct Talkative;

impl Serialize for Talkative {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("x".repeat(1 << 20)))
    }
}

#[test]
fn texts_of_failures_are_cut() {
    let most = 70_000;
    let is_cut = |text: &str| {
        assert!((60_000..most).contains(&text.len()), "{}", text.len());
        assert!(text.contains("… ("), "{}", &text[text.len() - 100..]);
    };
    let pool = Pool::new(1);
    let error = error_of(pool.spawn((), |()| -> () { panic!("{}", "é".repeat(1 << 20)) }));
    let Cause::Panicked { message, .. } = error.cause() else {
        panic!("{:.200}", error.to_string())
    };
    is_cut(message);
    let error = error_of(pool.spawn((), |()| Talkative));
    let Cause::Codec { message, .. } = error.cause() else { panic!("{:.200}", error.to_string()) };
    is_cut(message);
    let pool = Pool::builder().workers(1).initializer(|| panic!("{}", "x".repeat(1 << 20)));
    let error = error_of(pool.build().spawn(1, |n: u8| n));
    is_cut(not_spawned(&error));
}
