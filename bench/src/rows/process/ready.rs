//! `process_ready`: a worker for a program that holds much memory.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use super::calls::{next, run_true};
use crate::foreign::absent::Absent;
use crate::procfs::kilobytes;
use crate::row::{Better, Column, Peer, Row, Sample, Size, median};

pub const ROW: Row = Row {
    name: "process_ready",
    about: "How long it takes until a new worker is ready, while the program holds 10 MiB, and while it holds 4 GiB, \
            all touched, in small pages: the median of many. Of a pool it is the first answer of a new one with one worker, less a \
            round trip to it; else a whole process, from its start to its end, with a result but for the bare ones. The \
            first pool of the program, whose template has to start, does not count.",
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

/// Maps and touches memory, in small pages, which stays until the process ends: a measurement has its own.
fn hold(bytes: usize) -> anyhow::Result<()> {
    let free = kilobytes("/proc/meminfo", "MemAvailable:")?;
    if free < bytes / 1024 * 3 / 2 {
        return Err(Absent(format!("{} MiB are free: too few", free / 1024)).into());
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses a place where nothing is, and nobody else knows of it.
    let place = unsafe {
        let place = mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE)?;
        madvise(place, bytes, Advice::LinuxNoHugepage).context("no small pages")?;
        std::slice::from_raw_parts_mut(place.cast::<u8>(), bytes)
    };
    place.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    Ok(())
}

/// `run` gives the milliseconds of one.
fn measure(size: Size, n: usize, run: impl Fn() -> anyhow::Result<f64>) -> anyhow::Result<Sample> {
    let all = || Ok(median((0..n).map(|_| run()).collect::<anyhow::Result<Vec<_>>>()?));
    run()?;
    hold(SMALL)?;
    let small: anyhow::Result<f64> = all();
    hold(size.of(LARGE, LARGE_QUICK) - SMALL)?;
    let large: anyhow::Result<f64> = all();
    let sample = Sample::of("small", small?).and("large", large?);
    Ok(if size.quick { sample.with_note("1 GiB held for 4") } else { sample })
}

/// The milliseconds that `run` takes.
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
                // SAFETY: it ends the process, and runs nothing of it.
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
