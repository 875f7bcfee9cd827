//! Limits of a program: set in the child itself, between `fork` and `exec`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::sys::limits::rlimit;

/// The limits of one command. Each start of the program uses the values of that moment.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// The values, once a limit was set. They are shared with a function that std calls at each
    /// start.
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes, or `NONE`.
    memory: AtomicU64,
    /// Seconds, or `NONE`.
    cpu_time: AtomicU64,
}

const NONE: u64 = u64::MAX;

impl Limits {
    pub(super) fn set_memory(&mut self, command: &mut Command, bytes: u64) {
        self.shared(command).memory.store(bytes, Relaxed);
    }

    pub(super) fn set_cpu_time(&mut self, command: &mut Command, time: Duration) {
        let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
        self.shared(command).cpu_time.store(seconds, Relaxed);
    }

    fn shared(&mut self, command: &mut Command) -> &Shared {
        self.shared.get_or_insert_with(|| {
            let none = || AtomicU64::new(NONE);
            let shared = Arc::new(Shared { memory: none(), cpu_time: none() });
            let for_child = Arc::clone(&shared);
            // SAFETY: the child reads two atomics and makes system calls: it allocates nothing and
            // takes no lock.
            unsafe { command.pre_exec(move || for_child.apply()) };
            shared
        })
    }

    /// Checks that a program could start with these limits.
    ///
    /// # Errors
    ///
    /// A limit is 0.
    pub(super) fn check(&self) -> io::Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let what = if shared.memory.load(Relaxed) == 0 {
            "a memory limit of 0 bytes"
        } else if shared.cpu_time.load(Relaxed) == 0 {
            "a processor time of 0"
        } else {
            return Ok(());
        };
        let text =
            format!("{what} leaves a program nothing to start with; ask for more, or for no limit");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

impl Shared {
    fn apply(&self) -> io::Result<()> {
        let given = |limit: &AtomicU64| Some(limit.load(Relaxed)).filter(|limit| *limit != NONE);
        rlimit::set_for_program(given(&self.memory), given(&self.cpu_time))
    }
}
