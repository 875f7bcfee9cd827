//! `process_argument`: a long argument.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use serde_bytes::ByteBuf;
use trine::ipc::Shared;

use crate::row::{Better, Column, Peer, Row, Sample, Size, median};

pub const ROW: Row = Row {
    name: "process_argument",
    about: "100 MiB go as an argument to a warm pool of one worker; the task reads the first and \
            the last byte. The row shows the time until the result is here, the median of \
            several. Making the argument does not count; freeing it does, on both sides. The \
            memcpy lines copy as much once, and twice, into memory that is mapped for the copy \
            and unmapped again.",
    columns: &[Column { key: "ms", heading: "ms per task", better: Better::Less }],
    peers: &[
        Peer::rust("trine, plain bytes (serde_bytes)", trine_bytes),
        Peer::rust("trine, ipc::Shared<[u8]>", trine_shared),
        Peer::rust("one memcpy", |size| memcpy(size, 1)),
        Peer::rust("two memcpy", |size| memcpy(size, 2)),
        Peer::rust("procspawn, plain bytes (serde_bytes)", procspawn),
        Peer::python("Python multiprocessing.Pool, apply, bytes", "argument.py", "pool"),
        Peer::python("Python ProcessPoolExecutor, submit, bytes", "argument.py", "executor"),
        Peer::loky("Python loky, submit, bytes", "argument.py", "loky"),
    ],
    limit: Duration::from_secs(60),
};

const BYTES: usize = 100 << 20;

/// Returns a number that depends on the first byte, the last byte and the length.
fn ends(bytes: &[u8]) -> u64 {
    u64::from(bytes[0]) + u64::from(bytes[bytes.len() - 1]) + bytes.len() as u64
}

/// Measures the median of several calls of `run`, each with a fresh argument.
fn measure<A>(
    size: Size,
    make: impl Fn() -> anyhow::Result<A>,
    run: impl Fn(A) -> anyhow::Result<u64>,
) -> anyhow::Result<Sample> {
    run(make()?)?;
    let one = |_| {
        let argument = make()?;
        let start = Instant::now();
        let result = run(argument)?;
        let took = start.elapsed();
        anyhow::ensure!(result == 2 + BYTES as u64, "a wrong result");
        Ok(took.as_secs_f64() * 1e3)
    };
    let all = (0..size.of(15, 5)).map(one).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Sample::of("ms", median(all)))
}

fn bytes() -> anyhow::Result<ByteBuf> {
    Ok(ByteBuf::from(vec![1; BYTES]))
}

fn trine_bytes(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(1);
    measure(size, bytes, |bytes| Ok(pool.spawn(bytes, |bytes: ByteBuf| ends(&bytes)).join()?))
}

fn trine_shared(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(1);
    let bytes: Shared<[u8]> = Shared::build(BYTES, |bytes| bytes.fill(1))?;
    let task = |bytes: Shared<[u8]>| ends(&bytes);
    measure(size, || Ok(bytes.clone()), |bytes| Ok(pool.spawn(bytes, task).join()?))
}

fn procspawn(size: Size) -> anyhow::Result<Sample> {
    let pool = procspawn::Pool::new(1)?;
    measure(size, bytes, |bytes| Ok(pool.spawn(bytes, |bytes: ByteBuf| ends(&bytes)).join()?))
}

fn memcpy(size: Size, times: usize) -> anyhow::Result<Sample> {
    measure(size, bytes, |from| {
        for _ in 1..times {
            ends_of_copy(&from)?;
        }
        ends_of_copy(&from)
    })
}

/// Copies bytes into fresh memory, and returns the `ends` of the copy.
fn ends_of_copy(from: &[u8]) -> anyhow::Result<u64> {
    // SAFETY: the kernel chooses an unused address.
    let place = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        mmap_anonymous(std::ptr::null_mut(), from.len(), access, MapFlags::PRIVATE)?
    };
    // SAFETY: the mapping is as long as `from`, and nothing else refers to it.
    let to = unsafe { std::slice::from_raw_parts_mut(place.cast::<u8>(), from.len()) };
    to.copy_from_slice(from);
    let ends = ends(black_box(to));
    // SAFETY: it was mapped above with this length, and `to` is no longer used.
    unsafe { munmap(place, from.len())? };
    Ok(ends)
}
