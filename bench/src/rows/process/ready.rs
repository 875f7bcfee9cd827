//! `process_ready`: a new worker of a program that holds much memory.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use super::calls::{next, run_true};
use crate::foreign::absent::Absent;
use crate::procfs::kilobytes;
use crate::row::{Better, Column, Peer, Row, Sample, Size, median};

pub const ROW: Row = Row {
    name: "process_ready",
    about: "The time until a new worker is ready, while the program holds 10 MiB, and while it \
            holds 4 GiB, all touched, in small pages: the median of many. For a pool, it is the \
            time until the first answer of a new pool of one worker, less a later round trip to \
            it. For the others, it is the whole life of a process, with a result except for the \
            bare ones. The first pool of the program has to start its template, and does not \
            count.",
    columns: &[
        Column { key: "small", heading: "ms, 10 MiB held", better: Better::Less },
        Column { key: "large", heading: "ms, 4 GiB held", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine, process::Pool", trine_pool),
        Peer::rust("trine, process::spawn", trine_spawn),
        Peer::rust("procspawn, spawn", procspawn),
        Peer::rust("std::process::Command, true", command),
        Peer::rust("fork, bare", fork),
        Peer::python("Python multiprocessing.Process, fork", "ready.py", "fork"),
        Peer::python("Python multiprocessing.Process, forkserver", "ready.py", "forkserver"),
        Peer::python("Python multiprocessing.Process, spawn", "ready.py", "spawn"),
    ],
    limit: Duration::from_secs(120),
};

const SMALL: usize = 10 << 20;
const LARGE: usize = 4 << 30;
const LARGE_QUICK: usize = 1 << 30;
const PAGE: usize = 4096;

/// Maps and touches memory, in small pages. It stays mapped until the process ends, which serves
/// this measurement alone.
fn hold(bytes: usize) -> anyhow::Result<()> {
    let free = kilobytes("/proc/meminfo", "MemAvailable:")?;
    if free < bytes / 1024 * 3 / 2 {
        return Err(Absent(format!("only {} MiB of memory are free", free / 1024)).into());
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses an unused address, and nothing else refers to the mapping.
    let place = unsafe {
        let place = mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE)?;
        madvise(place, bytes, Advice::LinuxNoHugepage).context("no small pages")?;
        std::slice::from_raw_parts_mut(place.cast::<u8>(), bytes)
    };
    place.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    Ok(())
}

/// Measures `run`, which makes one worker ready and returns the milliseconds that this took.
fn measure(size: Size, n: usize, run: impl Fn() -> anyhow::Result<f64>) -> anyhow::Result<Sample> {
    let all = || Ok(median((0..n).map(|_| run()).collect::<anyhow::Result<Vec<_>>>()?));
    run()?;
    hold(SMALL)?;
    let small: anyhow::Result<f64> = all();
    hold(size.of(LARGE, LARGE_QUICK) - SMALL)?;
    let large: anyhow::Result<f64> = all();
    let sample = Sample::of("small", small?).and("large", large?);
    Ok(if size.quick { sample.with_note("1 GiB held instead of 4") } else { sample })
}

/// Returns the milliseconds that `run` takes.
fn took(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn trine_pool(size: Size) -> anyhow::Result<Sample> {
    measure(size, size.of(200, 50), || {
        let start = Instant::now();
        let pool = trine::process::Pool::new(1);
        pool.spawn(1, next).join()?;
        let first = start.elapsed().as_secs_f64() * 1e3;
        let later = |_| took(|| Ok(pool.spawn(1, next).join().map(drop)?));
        let later = (0..20).map(later).collect::<anyhow::Result<Vec<_>>>()?;
        pool.shutdown();
        Ok(first - median(later))
    })
}

fn trine_spawn(size: Size) -> anyhow::Result<Sample> {
    measure(size, size.of(200, 50), || {
        took(|| Ok(trine::process::spawn(1, next).join().map(drop)?))
    })
}

fn procspawn(size: Size) -> anyhow::Result<Sample> {
    measure(size, size.of(100, 20), || took(|| Ok(procspawn::spawn(1, next).join().map(drop)?)))
}

fn command(size: Size) -> anyhow::Result<Sample> {
    measure(size, size.of(200, 50), || took(run_true))
}

fn fork(size: Size) -> anyhow::Result<Sample> {
    measure(size, size.of(50, 10), || {
        took(|| {
            // SAFETY: the child calls nothing but `_exit`.
            let pid = match unsafe { libc::fork() } {
                -1 => return Err(std::io::Error::last_os_error().into()),
                // SAFETY: it ends the process, without running any of its code.
                0 => unsafe { libc::_exit(0) },
                pid => pid,
            };
            // SAFETY: a null status is allowed.
            let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            anyhow::ensure!(waited == pid, "the child was not waited for");
            Ok(())
        })
    })
}
