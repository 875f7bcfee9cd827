//! Threads, coroutines and tasks that run the jobs of a row.

use std::pin::Pin;
use std::thread;

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;

/// A job that blocks while it waits, and returns a number.
pub type Job = Box<dyn FnOnce() -> u64 + Send>;

/// A job as a future, which returns a number.
pub type AsyncJob = Pin<Box<dyn Future<Output = u64> + Send>>;

/// Runs the jobs in coroutines of trine, and returns the sum of their results.
pub fn trine(jobs: Vec<Job>) -> anyhow::Result<u64> {
    let tasks: Vec<_> = jobs.into_iter().map(trine::coroutine::spawn).collect();
    tasks.into_iter().map(|task| Ok(task.join()?)).sum()
}

/// Runs the jobs on threads, and returns the sum of their results.
pub fn threads(jobs: Vec<Job>) -> anyhow::Result<u64> {
    let tasks: Vec<_> = jobs.into_iter().map(thread::spawn).collect();
    tasks.into_iter().map(|task| task.join().map_err(|_| anyhow!("a thread panicked"))).sum()
}

/// Runs the jobs in coroutines of may, and returns the sum of their results.
pub fn may(jobs: Vec<Job>) -> anyhow::Result<u64> {
    let spawn = |job| {
        // SAFETY: the jobs touch no thread-local storage and need little stack.
        unsafe { may::coroutine::spawn::<Job, u64>(job) }
    };
    let tasks: Vec<_> = jobs.into_iter().map(spawn).collect();
    tasks.into_iter().map(|task| task.join().map_err(|_| anyhow!("a coroutine panicked"))).sum()
}

/// Runs the jobs in tasks on `runtime`, and returns the sum of their results.
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
