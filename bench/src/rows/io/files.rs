//! `files`: many small files are read.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::row::{Better, Column, Peer, Program, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "files",
    about: "1,000 tasks read 10,000 files of 4 to 64 KiB, 340 MB in all; each task reads ten of \
            them, one after the other. All are in the page cache. They are read six times in one \
            process; of the last five the median is shown. CPU is the processor time of all \
            threads. std reads them in a loop, on one thread and on two.",
    columns: &[
        Column { key: "rate", heading: "files/s", better: Better::More },
        Column { key: "cpu", heading: "µs CPU per file", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine, io_uring", trine).with_env(&[("TRINE_REACTOR", "uring")]),
        Peer::rust("trine, epoll", trine).with_env(&[("TRINE_REACTOR", "epoll")]),
        Peer::rust("trine, io_uring, 1 carrier", trine).with_env(crate::row::ONE_CARRIER_URING),
        Peer::rust("tokio, current thread", |size| {
            tokio(size, Builder::new_current_thread().build()?)
        }),
        Peer::rust("tokio, multi-thread", |size| tokio(size, Builder::new_multi_thread().build()?)),
        Peer::with("Go", Program::Go("files"), go),
        Peer::rust("std, 1 thread", |size| std(size, 1)),
        Peer::rust("std, 2 threads", |size| std(size, 2)),
    ],
    limit: Duration::from_secs(120),
};

/// Tasks that read.
const TASKS: usize = 1_000;

/// Times that all files are read.
const PASSES: usize = 6;

/// Files in a directory of their own, removed when dropped.
struct Files {
    dir: TempDir,
    count: usize,
    bytes: u64,
}

impl Files {
    /// Writes the files, of sizes from 4 to 64 KiB in pseudo-random order.
    fn write(size: Size) -> anyhow::Result<Arc<Files>> {
        let dir = tempfile::Builder::new().prefix("trine-bench-files-").tempdir()?;
        let mut files = Files { dir, count: size.of(10_000, 2_000), bytes: 0 };
        let content = [b'x'; 64 * 1_024];
        for i in 0..files.count {
            let length = 4_096 + i * 7_919 % (60 * 1_024 + 1);
            let path = files.path(i);
            std::fs::write(&path, &content[..length])
                .with_context(|| format!("cannot write {}", path.display()))?;
            files.bytes += length as u64;
        }
        Ok(Arc::new(files))
    }

    fn path(&self, i: usize) -> PathBuf {
        self.dir.path().join(i.to_string())
    }

    /// Returns the files that the `task`th of `tasks` tasks reads.
    fn share(&self, task: usize, tasks: usize) -> impl Iterator<Item = PathBuf> {
        (task..self.count).step_by(tasks).map(|i| self.path(i))
    }

    /// Measures `read`, which reads all files and returns the number of their bytes.
    fn measure(&self, read: impl Fn() -> anyhow::Result<u64>) -> anyhow::Result<Sample> {
        let mut passes = vec![];
        for _ in 0..PASSES {
            let (start, cpu) = (Instant::now(), cpu());
            let bytes = read()?;
            passes.push((start.elapsed(), self::cpu() - cpu));
            anyhow::ensure!(bytes == self.bytes, "{bytes} bytes read of {}", self.bytes);
        }
        // The first pass touches fresh memory.
        passes.remove(0);
        passes.sort();
        let (elapsed, cpu) = passes[passes.len() / 2];
        Ok(Sample::of("rate", self.count as f64 / elapsed.as_secs_f64())
            .and("cpu", cpu.as_secs_f64() * 1e6 / self.count as f64))
    }
}

/// Returns the processor time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    let files = Files::write(size)?;
    files.measure(|| {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let files = Arc::clone(&files);
                trine::coroutine::spawn(move || -> std::io::Result<u64> {
                    let read = |path| Ok(trine::fs::read(path)?.len() as u64);
                    files.share(task, TASKS).map(read).sum()
                })
            })
            .collect();
        tasks.into_iter().map(|task| Ok(task.join()??)).sum()
    })
}

fn tokio(size: Size, runtime: Runtime) -> anyhow::Result<Sample> {
    let files = Files::write(size)?;
    files.measure(|| {
        runtime.block_on(async {
            let spawn = |task| {
                let files = Arc::clone(&files);
                tokio::spawn(async move {
                    let mut bytes = 0;
                    for path in files.share(task, TASKS) {
                        bytes += tokio::fs::read(path).await?.len() as u64;
                    }
                    std::io::Result::Ok(bytes)
                })
            };
            let tasks: Vec<_> = (0..TASKS).map(spawn).collect();
            let mut bytes = 0;
            for task in tasks {
                bytes += task.await??;
            }
            Ok(bytes)
        })
    })
}

fn std(size: Size, threads: usize) -> anyhow::Result<Sample> {
    let files = Files::write(size)?;
    files.measure(|| {
        let read = |thread| -> std::io::Result<u64> {
            files.share(thread, threads).map(|path| Ok(std::fs::read(path)?.len() as u64)).sum()
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|i| scope.spawn(move || read(i))).collect();
            let joined = threads
                .into_iter()
                .map(|thread| Ok(thread.join().map_err(|_| anyhow!("a thread panicked"))??));
            joined.sum()
        })
    })
}

/// Measures the Go program, which reads the files that this program has written.
fn go(mut program: Command, size: Size) -> anyhow::Result<Sample> {
    let files = Files::write(size)?;
    program.env("BENCH_FILES", files.dir.path()).env("BENCH_BYTES", files.bytes.to_string());
    let output = program.stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "Go ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("printed no sample")
}
