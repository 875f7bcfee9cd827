//! The limits of a worker, set before its first task, and its notes on the board about them.
//!
//! After a worker's end the master looks for evidence that a task has met a limit
//! (`service/evidence.rs`):
//!
//! | limit | set by | task ends by | evidence |
//! |---|---|---|---|
//! | memory | a control group, if allowed | SIGKILL | `oom_kill` in the group's `memory.events` |
//! | memory | else `RLIMIT_DATA` | SIGABRT | a note on the board by its handler ([`abort`]) |
//! | processor time | two timers | SIGXCPU, SIGKILL | a note on the board, and the worker's clock |
//!
//! The timers are armed for each task. The other limits (descriptors, file size, core files,
//! niceness, processors) do not end a task by themselves.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::task::value;
use crate::process::wire::Head;
use crate::process::wire::board::OwnSlot;
use crate::sys::limits::cpu_clock::{self, Timers};
use crate::sys::limits::rlimit::{self, Resource};
use crate::sys::limits::{affinity, cgroup};
use crate::sys::process::current;
use crate::sys::signal::abort;
use crate::task::bytes;

/// Processor time between SIGXCPU and SIGKILL, for a task that handles SIGXCPU.
const CPU_GRACE: Duration = Duration::from_millis(250);
/// Memory that a worker needs to take a task, beyond the memory that it has at its start.
const ROOM: u64 = 1 << 20;
/// Least number of descriptors with which a worker can run.
const DESCRIPTORS: u64 = 16;

/// The limits of a worker; `None` for the limit of the program itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Limits {
    /// Bytes.
    pub(in crate::process) memory: Option<u64>,
    /// Processor time of each task.
    pub(in crate::process) cpu_time: Option<Duration>,
    pub(in crate::process) open_files: Option<u64>,
    /// Bytes.
    pub(in crate::process) file_size: Option<u64>,
    pub(in crate::process) core_dumps: Option<bool>,
    pub(in crate::process) nice: Option<i32>,
    pub(in crate::process) processors: Option<Vec<usize>>,
    /// The most bytes of a result.
    pub(in crate::process) max_result: Option<u64>,
    /// The group in which the worker makes its control group, if there is one.
    pub(super) group: Option<OsString>,
}

impl Limits {
    /// Completes the limits in the master, before they are sent.
    ///
    /// # Errors
    ///
    /// A limit is invalid on any machine; the text names it.
    pub(in crate::process) fn prepare(&mut self) -> Result<(), String> {
        if self.memory == Some(0) {
            return Err(
                "a memory limit of 0 bytes leaves nothing to start with; ask for more, or for \
                        no limit"
                    .into(),
            );
        }
        if self.cpu_time == Some(Duration::ZERO) {
            return Err(
                "a processor time of 0 leaves no time to begin; ask for more, or for no limit"
                    .into(),
            );
        }
        if let Some(most) = self.open_files.filter(|most| *most < DESCRIPTORS) {
            return Err(format!(
                "a limit of {most} open files is too low for a worker; allow {DESCRIPTORS} at least"
            ));
        }
        if let Some(nice) = self.nice.filter(|nice| !(-20..=19).contains(nice)) {
            return Err(format!("there is no niceness {nice}; it goes from -20 to 19"));
        }
        if self.processors.as_ref().is_some_and(Vec::is_empty) {
            return Err("no processor to run on was given; name one at least".into());
        }
        let groups = self.memory.and_then(|_| cgroup::delegated());
        self.group = groups.map(|groups| groups.as_os_str().to_owned());
        Ok(())
    }

    /// Limits the calling process, a worker that has run no task yet.
    ///
    /// # Errors
    ///
    /// A limit cannot be set; the text says why and what to do. Such a worker must not run tasks.
    pub(super) fn apply(&self) -> Result<(), String> {
        if let Some(processors) = &self.processors {
            pin_to(processors)?;
        }
        if let Some(nice) = self.nice {
            affinity::set_nice(nice).map_err(|error| {
                format!(
                    "cannot set the niceness {nice}: {error}; below that of this program it takes \
                     CAP_SYS_NICE or a higher RLIMIT_NICE (`ulimit -e`)"
                )
            })?;
        }
        if let Some(most) = self.open_files {
            set_limit(Resource::OpenFiles, most, "open files")?;
        }
        if let Some(most) = self.file_size {
            set_limit(Resource::FileSize, most, "bytes of a file")?;
        }
        match self.core_dumps {
            Some(true) => rlimit::raise(Resource::Core)
                .map_err(|error| format!("cannot have core files written: {error}"))?,
            Some(false) => set_limit(Resource::Core, 0, "bytes of a core file")?,
            None => {}
        }
        self.max_result.into_iter().for_each(value::limit_results);
        if let Some(time) = self.cpu_time {
            let timers = Timers::new().map_err(|error| {
                format!(
                    "no timer for a limit of processor time: {error}; they count as pending \
                     signals (`ulimit -i`)"
                )
            })?;
            CPU.get_or_init(|| (timers, time));
        }
        // Last, because the steps before may have taken memory.
        self.memory.map_or(Ok(()), |most| self.set_memory_limit(most))
    }

    fn set_memory_limit(&self, most: u64) -> Result<(), String> {
        let has = rlimit::data_in_use().unwrap_or(0);
        let needed = has + ROOM;
        if most < needed {
            return Err(format!(
                "a memory limit of {} is too low: a worker of this program has {} before its first \
                 task; allow {} at least",
                bytes(most),
                bytes(has),
                bytes(needed)
            ));
        }
        MEMORY.store(most, Relaxed);
        let entered = self.group.as_deref().map(Path::new).is_some_and(|group| {
            // Without a group, RLIMIT_DATA is the fallback.
            cgroup::enter(group, current::parent(), most).is_ok()
        });
        if entered {
            return Ok(());
        }
        set_limit(Resource::Data, most, "bytes of memory")?;
        // Where `/proc` does not tell how much is in use, this does.
        Vec::<u8>::new().try_reserve_exact(ROOM as usize / 2).map_err(|_| {
            format!(
                "a memory limit of {} is too low: it leaves a worker of this program less than {} \
                 for its first task",
                bytes(most),
                bytes(ROOM)
            )
        })
    }
}

fn pin_to(processors: &[usize]) -> Result<(), String> {
    let list = |processors: &[usize]| {
        let numbers: Vec<_> = processors.iter().map(usize::to_string).collect();
        numbers.join(", ")
    };
    let before = affinity::get();
    let missing = match affinity::set(processors) {
        Ok(missing) if missing.is_empty() => return Ok(()),
        Ok(missing) => missing,
        Err(_) => processors.to_vec(),
    };
    Err(format!(
        "cannot run on processor {}: this machine does not have it, or the control group (cpuset) \
         does not allow it; this program may run on {}",
        list(&missing),
        list(&before)
    ))
}

fn set_limit(resource: Resource, most: u64, what: &str) -> Result<(), String> {
    rlimit::set(resource, most).map_err(|error| match rlimit::most(resource) {
        Some(hard) if hard < most => format!(
            "cannot allow {most} {what}: this program itself may have {hard} (`ulimit -H`); ask \
             for no more, or raise that"
        ),
        _ => format!("cannot limit a worker to {most} {what}: {error}"),
    })
}

/// The memory limit of this worker; 0 for none.
static MEMORY: AtomicU64 = AtomicU64::new(0);
/// Timers for the processor time of this worker's tasks, and the limit.
static CPU: OnceLock<(Timers, Duration)> = OnceLock::new();
/// This worker's slot on the board, and its process id; not set in the template.
static WORKER: OnceLock<(&'static OwnSlot, u32)> = OnceLock::new();

/// Note on the board in place of a limit: memory ran out though trine had set no limit.
pub(in crate::process) const NO_LIMIT: u64 = u64::MAX;

/// Installs the handler of SIGABRT, for the calling process and all that are forked from it.
pub(super) fn install() {
    abort::install(note_memory);
}

/// Keeps the slot on which the calling worker leaves its notes, and its process id.
pub(super) fn keep(board: &'static OwnSlot, pid: u32) {
    WORKER.get_or_init(|| (board, pid));
}

/// Runs in the signal handler.
fn note_memory() {
    // A process that the task has forked shares the board, but must not write to it.
    if let Some((board, pid)) = WORKER.get()
        && *pid == process::id()
    {
        let most = MEMORY.load(Relaxed);
        board.note_out_of_memory(if most == 0 { NO_LIMIT } else { most });
    }
}

/// Aborts the calling worker, which has no memory for the frame of `task`, and reports the task as
/// its victim.
pub(super) fn abort_out_of_memory(task: &Head, reason: &str) -> ! {
    // Not `eprintln!`, which panics if standard error cannot be written.
    let _ = writeln!(io::stderr(), "trine: a worker ends: {reason}");
    if let Some((board, _)) = WORKER.get() {
        board.begin(task.task, task.item);
    }
    note_memory();
    process::abort()
}

/// A guard: a task's processor time is limited as long as it lives.
pub(super) struct CpuLimited(());

/// Begins to count the processor time of a task, if that is limited.
pub(super) fn begin() -> Option<CpuLimited> {
    let (timers, most) = CPU.get()?;
    let (board, _) = WORKER.get()?;
    let end = cpu_clock::own().saturating_add(*most);
    board.note_cpu_limit(in_nanoseconds(end), in_nanoseconds(*most));
    timers.arm(end, end.saturating_add(CPU_GRACE));
    Some(CpuLimited(()))
}

impl Drop for CpuLimited {
    fn drop(&mut self) {
        if let (Some((timers, _)), Some((board, _))) = (CPU.get(), WORKER.get()) {
            timers.disarm();
            board.note_cpu_limit(0, 0);
        }
    }
}

pub(in crate::process) fn in_nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
