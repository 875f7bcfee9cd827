//! The memory of an idle task.
//!
//! It is measured in a program of its own, where no stack of an earlier task can be reused. For
//! coroutines and threads, it is the growth of the program's resident memory by many tasks, each of
//! which waits for the task before it. For processes, it is the memory that each idle worker shares
//! with no other process. The kernel's own memory for a task (kernel stack, page tables) is in
//! neither figure.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use trine::{Executor, Kind, State, Task};

use crate::measure::part;
use crate::measure::request::Request;
use crate::measure::sample::{Limits, Spread};

/// Runs for coroutines and threads. For processes, every worker is a sample.
const RUNS: usize = 3;

/// Measures the bytes that an idle task of this kind occupies.
pub(crate) fn idle(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    let tasks = limits.tasks(kind);
    let (runs, operations) = if kind == Kind::Process { (1, 1) } else { (RUNS, tasks) };
    let samples = part::numbers(&Request::Memory { kind, tasks }, runs)?;
    Ok(Spread::of(samples, operations))
}

/// Measures, and sends the bytes of one task: one figure, or one for each worker.
pub(crate) fn answer(kind: Kind, tasks: usize) -> anyhow::Result<()> {
    match kind {
        Kind::Coroutine => part::send(&waiting(tasks, trine::coroutine::spawn)?)?,
        Kind::Thread => part::send(&waiting(tasks, trine::thread::spawn)?)?,
        Kind::Process => {
            for bytes in workers(tasks)? {
                part::send(&bytes)?;
            }
        }
    }
    Ok(())
}

/// A task that waits, or the first failure among those that it waited for.
type Waiter = Task<Result<(), String>>;
type Wait = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// Measures the growth of the resident memory by each of `tasks` waiting tasks.
///
/// The first task waits for a channel, each of the others for the task before it, so all end when
/// the first does.
fn waiting(tasks: usize, spawn: fn(Wait) -> Waiter) -> anyhow::Result<f64> {
    let (release, released) = mpsc::channel::<()>();
    let gate: Waiter = trine::thread::spawn(move || {
        // An error means that the sender was dropped, which releases the task like a message.
        let _ = released.recv();
        Ok(())
    });
    let wait_for = |before: Waiter| -> Waiter {
        spawn(Box::new(move || before.join().unwrap_or_else(|error| Err(error.to_string()))))
    };
    let chain = |gate: Waiter, length: usize| (0..length).fold(gate, |last, _| wait_for(last));
    // The first tasks allocate shared state (carriers, tables), which must not count.
    let last = until_waiting(64, chain(gate, 64))?;
    let before = resident()?;
    let last = until_waiting(64 + tasks, chain(last, tasks))?;
    let grown = resident()?.saturating_sub(before);
    drop(release);
    last.join()?.map_err(anyhow::Error::msg)?;
    Ok(grown as f64 / tasks as f64)
}

/// Waits until `tasks` tasks wait, and returns `last`. The gate itself is not counted: its thread
/// waits in `std`.
fn until_waiting(tasks: usize, last: Waiter) -> anyhow::Result<Waiter> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let waiting = trine::task::list().into_iter().filter(|task| task.state == State::Waiting);
        let waiting = waiting.count();
        if waiting >= tasks {
            return Ok(last);
        }
        if last.is_finished() {
            // The gate has not opened, so a task failed, and with it all after it.
            last.join()?.map_err(anyhow::Error::msg)?;
            bail!("the tasks did not wait");
        }
        if Instant::now() > deadline {
            bail!("only {waiting} of {tasks} tasks were waiting after 20 s");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Measures the private memory of each of `count` workers that are idle after a task.
fn workers(count: usize) -> anyhow::Result<Vec<f64>> {
    let pool = trine::process::Pool::new(count);
    // One task for each worker, long enough that no worker gets two.
    for done in pool.map(0..count as u64, |_| std::thread::sleep(Duration::from_millis(50))) {
        done?;
    }
    let private = |pid: u32| {
        let rollup = rollup(&pid.to_string())?;
        let sum = field(&rollup, "Private_Clean")? + field(&rollup, "Private_Dirty")?;
        Ok(sum as f64)
    };
    pool.worker_pids().into_iter().map(private).collect()
}

fn resident() -> anyhow::Result<u64> {
    field(&rollup("self")?, "Rss")
}

fn rollup(pid: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    fs::read_to_string(&path).with_context(|| format!("could not read {path}"))
}

/// Returns a field of `smaps_rollup`, in bytes.
fn field(rollup: &str, name: &str) -> anyhow::Result<u64> {
    let value = rollup
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .with_context(|| format!("smaps_rollup has no {name}"))?;
    let kib = value.trim().trim_end_matches("kB").trim_end();
    Ok(kib.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_grows_by_what_is_touched() {
        let before = resident().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 16 << 20]);
        let after = resident().unwrap();
        assert!(after - before >= 15 << 20, "{before} → {after}");
        drop(touched);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let rollup = "Rss:                1732 kB\nPss:                 348 kB\n";
        assert_eq!(field(rollup, "Pss").unwrap(), 348 * 1024);
        assert!(field(rollup, "Ps").is_err());
    }
}
