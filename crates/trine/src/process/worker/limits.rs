//! Limits of a worker: set before its first task, and how its master knows afterwards that one was met.
//!
//! | limit | set by | the task ends by | evidence |
//! |---|---|---|---|
//! | memory | a control group, where one may be made | SIGKILL | `oom_kill` in `memory.events` of the group |
//! | memory | else `RLIMIT_DATA` | SIGABRT | a note on the board, by the handler of SIGABRT ([`abort`]) |
//! | processor time | two timers, armed for each task | SIGXCPU, later SIGKILL | the moment on the board, and the dead worker's clock |
//!
//! The others (descriptors, file size, core files, niceness, processors) end nothing by themselves.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::wire::Head;
use crate::process::wire::board::OwnSlot;
use crate::sys::limits::cpu_clock::{self, Timers};
use crate::sys::limits::rlimit::{self, Resource};
use crate::sys::limits::{affinity, cgroup};
use crate::sys::process::child;
use crate::sys::signal::abort;
use crate::task::bytes;

/// How much more processor time a task has that goes on after SIGXCPU, before it is killed.
const MERCY: Duration = Duration::from_millis(250);
/// Memory that a worker needs beyond what it has when it starts, to take a task at all.
const ROOM: u64 = 1 << 20;
/// Descriptors that a worker needs.
const DESCRIPTORS: u64 = 16;

/// What a worker may use; `None` for as much as the program itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Limits {
    /// Bytes.
    pub(in crate::process) memory: Option<u64>,
    /// Of each task.
    pub(in crate::process) cpu_time: Option<Duration>,
    pub(in crate::process) open_files: Option<u64>,
    /// Bytes.
    pub(in crate::process) file_size: Option<u64>,
    pub(in crate::process) core_dumps: Option<bool>,
    pub(in crate::process) nice: Option<i32>,
    pub(in crate::process) processors: Option<Vec<usize>>,
    /// Where the worker makes its control group, if it can.
    pub(in crate::process) group: Option<OsString>,
}

impl Limits {
    /// Completes what the worker has to know; in the master, before anything crosses.
    ///
    /// # Errors
    ///
    /// Says which limit makes no sense on any machine.
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

    /// Limits the calling process, a worker that has run no task yet, of the program `master`.
    ///
    /// # Errors
    ///
    /// Says what could not be done, and what to do; the worker is of no use then.
    pub(in crate::process) fn apply(&self) -> Result<(), String> {
        if let Some(processors) = &self.processors {
            run_on(processors)?;
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
            set(Resource::OpenFiles, most, "open files")?;
        }
        if let Some(most) = self.file_size {
            set(Resource::FileSize, most, "bytes of a file")?;
        }
        match self.core_dumps {
            Some(true) => rlimit::raise(Resource::Core)
                .map_err(|error| format!("cannot have core files written: {error}"))?,
            Some(false) => set(Resource::Core, 0, "bytes of a core file")?,
            None => {}
        }
        if let Some(time) = self.cpu_time {
            let timers = Timers::new().map_err(|error| {
                format!(
                    "no timer for a limit of processor time: {error}; they count as pending \
                     signals (`ulimit -i`)"
                )
            })?;
            CPU.get_or_init(|| (timers, time));
        }
        // At last: what was done before may have taken memory.
        self.memory.map_or(Ok(()), |most| self.limit_memory(most))
    }

    fn limit_memory(&self, most: u64) -> Result<(), String> {
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
            // A group that cannot be made is no reason to fail: there is another way.
            cgroup::enter(group, child::parent(), most).is_ok()
        });
        if entered { Ok(()) } else { set(Resource::Data, most, "bytes of memory") }
    }
}

fn run_on(processors: &[usize]) -> Result<(), String> {
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

fn set(resource: Resource, most: u64, what: &str) -> Result<(), String> {
    rlimit::set(resource, most).map_err(|error| match rlimit::most(resource) {
        Some(hard) if hard < most => format!(
            "cannot allow {most} {what}: this program itself may have {hard} (`ulimit -H`); ask for \
             no more, or raise that"
        ),
        _ => format!("cannot limit a worker to {most} {what}: {error}"),
    })
}

/// The memory limit that is in force in this worker; 0 for none.
static MEMORY: AtomicU64 = AtomicU64::new(0);
/// What limits the processor time of this worker's tasks.
static CPU: OnceLock<(Timers, Duration)> = OnceLock::new();
/// This worker's place, and its process id; not set in the template.
static WORKER: OnceLock<(&'static OwnSlot, u32)> = OnceLock::new();

/// On the board in place of a limit: memory ran out though trine had set no limit.
pub(in crate::process) const NO_LIMIT: u64 = u64::MAX;

/// Prepares the calling process and all that are forked from it.
pub(in crate::process) fn install() {
    abort::install(note_memory);
}

/// Says where the worker, the caller, leaves its notes, and its process id.
pub(in crate::process) fn keep(place: &'static OwnSlot, pid: u32) {
    WORKER.get_or_init(|| (place, pid));
}

/// Runs in the signal handler.
fn note_memory() {
    // A process that the task has forked has the same memory of the board.
    if let Some((place, pid)) = WORKER.get()
        && *pid == process::id()
    {
        let most = MEMORY.load(Relaxed);
        place.ran_out_of_memory(if most == 0 { NO_LIMIT } else { most });
    }
}

/// Ends the worker, the caller, which has no memory to take `task` with; the task ends with it.
pub(in crate::process) fn die_of(task: &Head, reason: &str) -> ! {
    // Not `eprintln!`, which panics where standard error cannot be written.
    let _ = writeln!(io::stderr(), "trine: a worker ends: {reason}");
    if let Some((place, _)) = WORKER.get() {
        place.begin(task.task, task.item);
    }
    note_memory();
    process::abort()
}

/// A task's processor time is limited as long as this lives.
pub(in crate::process) struct Counting(());

/// Begins to count the processor time of a task, if that is limited.
pub(in crate::process) fn begin() -> Option<Counting> {
    let (timers, most) = CPU.get()?;
    let (place, _) = WORKER.get()?;
    let end = cpu_clock::own().saturating_add(*most);
    place.limit_cpu(in_nanoseconds(end), in_nanoseconds(*most));
    timers.arm(end, end.saturating_add(MERCY));
    Some(Counting(()))
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let (Some((timers, _)), Some((place, _))) = (CPU.get(), WORKER.get()) {
            timers.disarm();
            place.limit_cpu(0, 0);
        }
    }
}

pub(in crate::process) fn in_nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
