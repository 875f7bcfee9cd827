//! The service: one thread of the master that forks workers, listens to them and reaps them.
//!
//! It starts with the first process task and never ends: the kernel regards the *thread* that
//! started a template as the parent of all its workers, and kills them when that thread ends. All
//! signals are blocked in it.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | starting the thread |
//! | `requests.rs` | the requests of the pools to the thread |
//! | `alarms.rs` | moments at which a pool looks at a task or at itself |
//! | `thread.rs` | the thread: its loop, and all that it does for living workers |
//! | `connection.rs` | the socket of one worker |
//! | `evidence.rs` | the cause of a worker's end |
//! | `spawner.rs` | forks for all pools, through one template for each spec |
//! | `template.rs` | the processes of one template, and the forks requested from it |
//! | `spec.rs` | the description by which pools share a template |
//! | `launch.rs` | starting the process of a template |
//! | `children.rs` | numbers, new workers and strays of all templates |
//! | `spare.rs` | a connection and rings, ready for the next worker |
//! | `capture.rs` | the captured output of workers |
//!
//! The files `requests.rs`, `alarms.rs`, `spec.rs` and `capture.rs` know nothing of pools, and
//! pools use them. The others use pools. Only `pool/mod.rs` calls [`get`], which starts the
//! thread.

mod alarms;
pub(super) mod capture;
mod children;
mod connection;
mod evidence;
mod launch;
pub(super) mod requests;
mod spare;
mod spawner;
pub(super) mod spec;
mod template;
mod thread;

use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::pool::dispatcher::Service;
use super::worker::entry;
use crate::sys::process::fork_detect::{self, Mark};
use crate::sys::signal::mask;
use crate::sys::{self, limits};
use requests::Requests;
use thread::ServiceThread;

/// Returns the service of this process, and starts it at the first call.
///
/// # Errors
///
/// Describes why it cannot start; the next call tries again.
pub(super) fn get() -> Result<&'static Arc<Service>, String> {
    static SERVICE: OnceLock<Arc<Service>> = OnceLock::new();
    /// Locked by the thread that starts the service; the mark of an attempt that failed.
    static STARTING: Mutex<Option<Mark>> = Mutex::new(None);
    if let Some(service) = SERVICE.get() {
        return check(service);
    }
    if fork_detect::lacks_threads() {
        return Err(fork_detect::explain("its threads exist"));
    }
    let mut starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(service) = SERVICE.get() {
        return check(service);
    }
    // Before there is a thread, which a template must not have.
    entry::check()?;
    let explain = |error| limits::explain_missing("service for process tasks", &error);
    let mark = match *starting {
        Some(mark) => mark,
        None => *starting.insert(Mark::new().map_err(explain)?),
    };
    // The attempt that made it may have failed in the process from which this copy was forked.
    mark.renew();
    let service = Arc::new(Requests::new(mark).map_err(explain)?);
    let served = Arc::clone(&service);
    let signals = mask::block_signals();
    let thread = std::thread::Builder::new().name("trine-processes".into()).spawn(move || {
        let _ends_with_it = Indispensable;
        ServiceThread::new(served).serve()
    });
    drop(signals);
    thread.map_err(|error| limits::explain_refused_task("thread", &error))?;
    fork_detect::note_thread();
    check(SERVICE.get_or_init(|| service))
}

/// # Errors
///
/// This process is a copy, made by `fork`, and the service thread runs in the original.
fn check(service: &'static Arc<Service>) -> Result<&'static Arc<Service>, String> {
    if service.is_ours() {
        Ok(service)
    } else {
        Err("this process was forked from one that had started process tasks already, and the \
                 thread that serves them exists there only; fork before the first process task"
            .into())
    }
}

/// Aborts the program when dropped, which a panic of the service thread does: no other thread could
/// notify the joiners, and they would wait forever.
struct Indispensable;

impl Drop for Indispensable {
    fn drop(&mut self) {
        sys::eprint(
            "trine: without the thread that serves process tasks no task would end; aborting\n",
        );
        process::abort();
    }
}
