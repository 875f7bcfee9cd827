//! Who does the jobs of a row: threads, coroutines, tasks.

use std::pin::Pin;
use std::thread;

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;

/// What waits by blocking, and ends with a number.
pub type Job = Box<dyn FnOnce() -> u64 + Send>;

/// What waits by a future, and ends with a number.
pub type AsyncJob = Pin<Box<dyn Future<Output = u64> + Send>>;

/// The sum of what coroutines of trine make of the jobs.
pub fn trine(jobs: Vec<Job>) -> anyhow::Result<u64> {
    let tasks: Vec<_> = jobs.into_iter().map(trine::coroutine::spawn).collect();
    tasks.into_iter().map(|task| Ok(task.join()?)).sum()
}

/// The sum of what threads make of the jobs.
pub fn threads(jobs: Vec<Job>) -> anyhow::Result<u64> {
    let tasks: Vec<_> = jobs.into_iter().map(thread::spawn).collect();
    tasks.into_iter().map(|task| task.join().map_err(|_| anyhow!("a thread panicked"))).sum()
}

/// The sum of what coroutines of may make of the jobs.
pub fn may(jobs: Vec<Job>) -> anyhow::Result<u64> {
    let spawn = |job| {
        // SAFETY: the jobs touch no thread-local storage and need little stack.
        unsafe { may::coroutine::spawn::<Job, u64>(job) }
    };
    let tasks: Vec<_> = jobs.into_iter().map(spawn).collect();
    tasks.into_iter().map(|task| task.join().map_err(|_| anyhow!("a coroutine panicked"))).sum()
}

/// The sum of what tasks on `runtime` make of the jobs.
pub fn tokio(runtime: &Runtime, jobs: Vec<AsyncJob>) -> anyhow::Result<u64> {
    runtime.block_on(async {
        let tasks: Vec<_> = jobs.into_iter().map(tokio::spawn).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.context("a task panicked")?;
        }
        Ok(sum)
    })
}
