//! The failures, how a test causes them, and the outcome that each has to have.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};
use trine::{Cause, Limit, TaskError};

use crate::common::processes::overflow_the_stack;
use crate::common::temporary::TempPath;
use crate::common::waiting::until_or;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    ExitZero,
    ExitThree,
    Abort,
    NullDereference,
    StackOverflow,
    Panic,
    PanicWithoutText,
    OutOfMemory,
    OutOfProcessorTime,
    TimeIsUp,
    KilledFromOutside,
    StoppedFromOutside,
    ClosesItsDescriptors,
    OverwritesItsMemory,
}

use Failure::*;

/// The `memory_limit` of a worker that is to run out of memory.
pub const MEMORY: u64 = 64 << 20;
/// The `cpu_limit` of a task that is to use up its time.
pub const PROCESSOR_TIME: Duration = Duration::from_millis(50);

impl Failure {
    pub fn all() -> impl Iterator<Item = Failure> {
        (0..).map_while(Failure::from_number)
    }

    /// Numbered as serde numbers them: in the order of the variants.
    pub fn from_number(number: u32) -> Option<Failure> {
        let deserializer: serde::de::value::U32Deserializer<Error> = number.into_deserializer();
        Failure::deserialize(deserializer).ok()
    }

    /// Returns true if the test causes the failure from outside the process.
    pub fn comes_from_outside(self) -> bool {
        matches!(self, KilledFromOutside | StoppedFromOutside)
    }

    /// Returns true if the failure ends by a timeout.
    pub fn takes_time(self) -> bool {
        matches!(self, TimeIsUp | StoppedFromOutside)
    }

    pub fn is_panic(self) -> bool {
        matches!(self, Panic | PanicWithoutText)
    }
}

/// A failure, and the folder in which its process is noted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    pub failure: Failure,
    pub folder: PathBuf,
}

/// The source of the limits of memory and processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// The pool, by `memory_limit` and `cpu_limit`.
    OfThePool,
    /// The process itself, out of reach of the pool's limits.
    Own,
}

pub fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a valid limit, of this process only.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Overwrites all memory that this process shares with its master by pseudo-random words.
fn overwrite_shared_memory() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut rng = u64::from(std::process::id()) << 20 | 12345;
    for line in maps.lines().filter(|line| line.contains("memfd:trine")) {
        let range = line.split(' ').next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let at = |text| usize::from_str_radix(text, 16).unwrap();
        let (start, end) = (at(start), at(end));
        for word in (start..end).step_by(8) {
            rng = rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // SAFETY: not sound in general; it does what a wild pointer does, within a writable
            // mapping.
            unsafe { (word as *mut u64).write_volatile(rng ^ (rng >> 29)) };
        }
    }
}

impl Fault {
    pub fn new(failure: Failure, folder: &TempPath) -> Fault {
        Fault { failure, folder: folder.0.clone() }
    }

    /// Notes the calling process as the one that fails.
    pub fn note_process(&self) {
        let pid = self.folder.join("pid");
        fs::write(pid.with_extension("new"), std::process::id().to_string()).unwrap();
        fs::rename(pid.with_extension("new"), pid).unwrap();
    }

    /// Fails in the calling process.
    pub fn fail(&self, limits: Limits) {
        self.note_process();
        let own = limits == Limits::Own;
        match self.failure {
            ExitZero => std::process::exit(0),
            ExitThree => std::process::exit(3),
            Abort => std::process::abort(),
            NullDereference => {
                let nowhere = std::hint::black_box(std::ptr::null_mut::<u8>());
                // SAFETY: none; the crash is intended.
                unsafe { nowhere.write_volatile(1) };
            }
            StackOverflow => _ = overflow_the_stack(0),
            Panic => panic!("on purpose"),
            PanicWithoutText => std::panic::panic_any(17_u8),
            OutOfMemory => {
                own.then(|| limit(libc::RLIMIT_AS, 1 << 20));
                std::hint::black_box(vec![1_u8; 1 << 30]);
            }
            OutOfProcessorTime => {
                own.then(|| limit(libc::RLIMIT_CPU, 1));
                loop {
                    std::hint::spin_loop();
                }
            }
            TimeIsUp | KilledFromOutside | StoppedFromOutside => loop {
                std::thread::park();
            },
            ClosesItsDescriptors => {
                for descriptor in 0..1024 {
                    // SAFETY: not sound in general; later failures of this process are intended.
                    unsafe { libc::close(descriptor) };
                }
            }
            OverwritesItsMemory => overwrite_shared_memory(),
        }
    }

    /// Fails in the first process that calls it, and in no other.
    pub fn fail_once(&self, limits: Limits) {
        let mark = self.folder.join("once");
        if OpenOptions::new().write(true).create_new(true).open(mark).is_ok() {
            self.fail(limits);
        }
    }

    /// Does the test's part of a failure that comes from outside.
    pub fn act(&self) {
        match self.failure {
            KilledFromOutside => signal(pid_in(&self.folder), libc::SIGKILL),
            StoppedFromOutside => signal(pid_in(&self.folder), libc::SIGSTOP),
            _ => {}
        }
    }

    /// Checks the end of the task in which the failure happened, where the limits were the pool's.
    pub fn check_end<T: std::fmt::Debug>(&self, end: &Result<T, TaskError>, place: &str) {
        let cause = end.as_ref().map_err(TaskError::cause);
        let signal =
            |number| matches!(cause, Err(Cause::Signaled { signal, .. }) if *signal == number);
        let code = |number| matches!(cause, Err(Cause::Exited { code }) if *code == number);
        let is_right = match self.failure {
            ExitZero => code(0),
            ExitThree => code(3),
            Abort => signal(libc::SIGABRT) && !is_limit(cause),
            NullDereference => signal(libc::SIGSEGV) && !is_limit(cause),
            StackOverflow => matches!(cause, Err(Cause::StackOverflow)),
            Panic => {
                matches!(cause, Err(Cause::Panicked { message, .. }) if message == "on purpose")
            }
            PanicWithoutText => {
                matches!(cause, Err(Cause::Panicked { message, .. }) if message.is_empty())
            }
            // A control group kills it by SIGKILL.
            OutOfMemory => {
                (signal(libc::SIGABRT) || signal(libc::SIGKILL))
                    && is_by(cause, true, Limit::Memory(MEMORY))
            }
            OutOfProcessorTime => {
                (signal(libc::SIGXCPU) || signal(libc::SIGKILL))
                    && is_by(cause, false, Limit::CpuTime(PROCESSOR_TIME))
            }
            KilledFromOutside => signal(libc::SIGKILL) && !is_limit(cause),
            TimeIsUp | StoppedFromOutside => matches!(cause, Err(Cause::TimedOut)),
            // The value may still arrive by the other transport. Else the worker notices and exits,
            // or its master notices first.
            ClosesItsDescriptors | OverwritesItsMemory => {
                end.is_ok() || code(0) || code(1) || matches!(cause, Err(Cause::Lost { .. }))
            }
        };
        assert!(is_right, "{:?}, {place}: {end:?}", self.failure);
    }
}

/// Returns true if the cause is a signal at this limit.
fn is_by<T>(cause: Result<T, &Cause>, memory: bool, by: Limit) -> bool {
    let Err(Cause::Signaled { out_of_memory, limit, .. }) = cause else { return false };
    *out_of_memory == memory && *limit == Some(by)
}

/// Returns true if the cause names a limit.
fn is_limit<T>(cause: Result<T, &Cause>) -> bool {
    let Err(Cause::Signaled { out_of_memory, limit, .. }) = cause else { return false };
    *out_of_memory || limit.is_some()
}

/// Sends a signal to a process of the test, unless it has exited.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: no memory involved.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// Waits for the number of the process that fails, which it notes in the folder.
pub fn pid_in(folder: &Path) -> u32 {
    let pid = folder.join("pid");
    until_or("the process that fails", || pid.exists());
    fs::read_to_string(pid).unwrap().parse().unwrap()
}

pub fn in_every_way(cell: impl Fn(Fault, &TempPath)) {
    for failure in Failure::all() {
        let folder = TempPath::folder("matrix");
        cell(Fault::new(failure, &folder), &folder);
    }
}

#[test]
fn all_failures_are_there() {
    let numbers: Vec<u32> = Failure::all().map(|failure| failure as u32).collect();
    assert_eq!(numbers, (0..14).collect::<Vec<_>>());
}
