//! Cancellation and deadlines of process tasks.

mod begun;
mod deadline;
mod neighbours;
mod queued;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use trine::process::Pool;
use trine::{Cause, TaskError, time};

use crate::common::reports::report;
use crate::common::waiting::until;

/// Longer than any test lasts: a task that ends has ended by itself.
const NEVER_KILLED: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

/// Reports its drop, in a worker.
struct DropReport(UnixStream);

impl Drop for DropReport {
    fn drop(&mut self) {
        self.0.write_all(b"unwound").unwrap();
    }
}

fn wait_for_ever(path: String) {
    let _report = DropReport(report(&path));
    time::sleep(Duration::MAX);
}

fn until_full(pool: &Pool) {
    until(|| pool.worker_pids().len() == pool.workers());
}

fn reason(error: &TaskError) -> Option<&str> {
    match error.cause() {
        Cause::Cancelled { reason, .. } => reason.as_deref(),
        other => panic!("{other:?}"),
    }
}

/// Blocks or unblocks SIGTERM for the calling thread of a worker.
fn mask_sigterm(how: i32) {
    // SAFETY: the set is initialized before its use.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

fn pid_of(pool: &Pool) -> u32 {
    pool.spawn((), |()| std::process::id()).join().unwrap()
}
