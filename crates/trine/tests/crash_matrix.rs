//! Every way to fail in every place where it can happen: the task's error says what it was, the other tasks have their
//! values, and the pool has as many workers as before.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trine::process::{Pool, PoolBuilder};
use trine::{Cause, CodecStage, Task, TaskError, time};

mod common;

use common::{child, not_spawned, role, run, this_program};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Failure {
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

use Failure::{
    Abort, ClosesItsDescriptors, ExitThree, ExitZero, KilledFromOutside, NullDereference,
    OutOfMemory, OutOfProcessorTime, OverwritesItsMemory, Panic, PanicWithoutText, StackOverflow,
    StoppedFromOutside, TimeIsUp,
};

const ALL: [Failure; 14] = [
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
];

/// A failure, and the folder in which its process is noted.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Charge {
    failure: Failure,
    folder: PathBuf,
}

#[inline(never)]
fn endless(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 16]);
    if depth == u64::MAX { 0 } else { endless(depth + 1) + here[3] }
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a valid limit, of this process only.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Writes words that look random over all memory that this process shares with its master.
fn overwrite_shared_memory() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut rng = common_seed();
    for line in maps.lines().filter(|line| line.contains("memfd:trine")) {
        let range = line.split(' ').next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let at = |text| usize::from_str_radix(text, 16).unwrap();
        // Of a template's board a part is enough.
        let (start, end) = (at(start), at(end).min(at(start) + (1 << 18)));
        for word in (start..end).step_by(8) {
            rng = rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // SAFETY: not sound in general; it is what a wild pointer does, within a mapping that can be written.
            unsafe { (word as *mut u64).write_volatile(rng ^ (rng >> 29)) };
        }
    }
}

fn common_seed() -> u64 {
    u64::from(std::process::id()) << 20 | 12345
}

impl Charge {
    fn new(failure: Failure, folder: &Folder) -> Charge {
        Charge { failure, folder: folder.0.clone() }
    }

    /// Fails in the calling process.
    fn go_off(&self) {
        let pid = self.folder.join("pid");
        fs::write(pid.with_extension("new"), std::process::id().to_string()).unwrap();
        fs::rename(pid.with_extension("new"), pid).unwrap();
        match self.failure {
            ExitZero => std::process::exit(0),
            ExitThree => std::process::exit(3),
            Abort => std::process::abort(),
            NullDereference => {
                let nowhere = std::hint::black_box(std::ptr::null_mut::<u8>());
                // SAFETY: it is not; the crash is the point.
                unsafe { nowhere.write_volatile(1) };
            }
            StackOverflow => _ = endless(0),
            Panic => panic!("on purpose"),
            PanicWithoutText => std::panic::panic_any(17_u8),
            OutOfMemory => {
                limit(libc::RLIMIT_AS, 1 << 20);
                std::hint::black_box(vec![1_u8; 1 << 30]);
            }
            OutOfProcessorTime => {
                limit(libc::RLIMIT_CPU, 1);
                loop {
                    std::hint::spin_loop();
                }
            }
            TimeIsUp | KilledFromOutside | StoppedFromOutside => loop {
                std::thread::park();
            },
            ClosesItsDescriptors => {
                for descriptor in 0..1024 {
                    // SAFETY: not sound in general; what this process does from here on goes wrong as it should.
                    unsafe { libc::close(descriptor) };
                }
            }
            OverwritesItsMemory => overwrite_shared_memory(),
        }
    }

    /// Fails in the first process that comes here, and in no other.
    fn go_off_once(&self) {
        let mark = self.folder.join("once");
        if OpenOptions::new().write(true).create_new(true).open(mark).is_ok() {
            self.go_off();
        }
    }

    /// What has to be done from here.
    fn act(&self) {
        let signal = match self.failure {
            KilledFromOutside => libc::SIGKILL,
            StoppedFromOutside => libc::SIGSTOP,
            _ => return,
        };
        let pid = pid_in(&self.folder);
        // SAFETY: no memory involved. The process is a worker of ours that waits for this.
        unsafe { libc::kill(pid, signal) };
    }

    fn is_text(&self) -> bool {
        matches!(self.failure, Panic | PanicWithoutText)
    }

    /// Checks what a task in whose midst it happened has ended with.
    fn is_told_by<T: std::fmt::Debug>(&self, end: &Result<T, TaskError>, place: &str) {
        let cause = end.as_ref().map_err(TaskError::cause);
        let signal =
            |number| matches!(cause, Err(Cause::Signaled { signal, .. }) if *signal == number);
        let code = |number| matches!(cause, Err(Cause::Exited { code }) if *code == number);
        let is_right = match self.failure {
            ExitZero => code(0),
            ExitThree => code(3),
            Abort => signal(libc::SIGABRT),
            NullDereference => signal(libc::SIGSEGV),
            StackOverflow => matches!(cause, Err(Cause::StackOverflow)),
            Panic => {
                matches!(cause, Err(Cause::Panicked { message, .. }) if message == "on purpose")
            }
            PanicWithoutText => {
                matches!(cause, Err(Cause::Panicked { message, .. }) if message.is_empty())
            }
            OutOfMemory => signal(libc::SIGABRT),
            OutOfProcessorTime => signal(libc::SIGXCPU) || signal(libc::SIGKILL),
            KilledFromOutside => signal(libc::SIGKILL),
            TimeIsUp | StoppedFromOutside => matches!(cause, Err(Cause::TimedOut)),
            // The value may still come through the other of the two ways. Else the worker notices, and exits; or its
            // master notices first.
            ClosesItsDescriptors | OverwritesItsMemory => {
                end.is_ok() || code(0) || code(1) || matches!(cause, Err(Cause::Lost { .. }))
            }
        };
        assert!(is_right, "{:?}, {place}: {end:?}", self.failure);
    }
}

/// The process that has noted its number in the folder.
fn pid_in(folder: &Path) -> i32 {
    let pid = folder.join("pid");
    until("the process that fails", || pid.exists());
    fs::read_to_string(pid).unwrap().parse().unwrap()
}

/// A folder of one cell; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (own, next) = (std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(format!("trine-matrix-{own}-{next}"));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for what has to come, however busy the machine is.
fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

const WORKERS: usize = 2;

/// A worker that does not hear is given up soon.
fn builder() -> PoolBuilder {
    Pool::builder().workers(WORKERS).grace(Duration::from_millis(10))
}

/// Tasks beside the one that fails.
fn others(pool: &Pool) -> Vec<Task<u64>> {
    (0..20).map(|n| pool.spawn(n, |n: u64| n + 1)).collect()
}

fn are_unharmed(others: Vec<Task<u64>>, what: &str) {
    for (n, task) in (1..).zip(others) {
        let end = task.join();
        assert!(end.as_ref().is_ok_and(|value| *value == n), "{what}: another task: {end:?}");
    }
}

/// The worker lives on, and the next task that it is given may be the one that it dies with.
fn one_may_fail(charge: &Charge, tasks: Vec<Task<u64>>, place: &str) {
    let ends: Vec<_> = tasks.into_iter().map(Task::join).collect();
    let failed: Vec<_> = ends.iter().filter(|end| end.is_err()).collect();
    assert!(failed.len() <= 1, "{:?}, {place}: {ends:?}", charge.failure);
    failed.into_iter().for_each(|end| charge.is_told_by(end, place));
}

fn is_at_full_strength(pool: Pool) {
    until("as many workers as before", || pool.worker_pids().len() == WORKERS);
    are_unharmed(others(&pool), "afterwards");
    pool.shutdown();
}

/// Runs a task in which `charge` goes off, among others.
fn check<A, R>(
    pool: Pool,
    charge: &Charge,
    place: &str,
    arg: A,
    function: impl Fn(A) -> R + Copy + Send + 'static,
) where
    A: Serialize + serde::de::DeserializeOwned + Send + 'static,
    R: Serialize + serde::de::DeserializeOwned + Send + std::fmt::Debug + 'static,
{
    let before = others(&pool);
    let waits = matches!(charge.failure, TimeIsUp | StoppedFromOutside);
    let task = if waits {
        // Long enough that the worker comes to the task, or else the folder has no process.
        time::timeout(Duration::from_millis(700), || Ok::<_, TaskError>(pool.spawn(arg, function)))
            .unwrap()
            .unwrap()
    } else {
        pool.spawn(arg, function)
    };
    let behind = others(&pool);
    if !waits || charge.failure == StoppedFromOutside {
        charge.act();
    }
    charge.is_told_by(&task.join(), place);
    let what = format!("{:?}, {place}", charge.failure);
    are_unharmed(before, &what);
    are_unharmed(behind, &what);
    is_at_full_strength(pool);
}

fn in_every_way(cell: impl Fn(Charge, &Folder)) {
    for failure in ALL {
        let folder = Folder::new();
        cell(Charge::new(failure, &folder), &folder);
    }
}

#[test]
fn while_it_runs() {
    in_every_way(|charge, _| {
        check(builder().build(), &charge, "run", charge.clone(), |charge| charge.go_off());
    });
}

/// Goes off when it is decoded, in the worker.
#[derive(Serialize)]
struct GoesOffDecoded(Charge);

impl<'de> Deserialize<'de> for GoesOffDecoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoesOffDecoded, D::Error> {
        let charge = Charge::deserialize(deserializer)?;
        charge.go_off();
        Ok(GoesOffDecoded(charge))
    }
}

#[test]
fn while_its_argument_is_decoded() {
    in_every_way(|charge, _| {
        let argument = GoesOffDecoded(charge.clone());
        check(builder().build(), &charge, "argument decode", argument, |_| ());
    });
}

/// Goes off when it is encoded, in the worker.
#[derive(Debug, Deserialize)]
struct GoesOffEncoded(Charge);

impl Serialize for GoesOffEncoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.go_off();
        self.0.serialize(serializer)
    }
}

#[test]
fn while_its_result_is_encoded() {
    in_every_way(|charge, _| {
        check(builder().build(), &charge, "result encode", charge.clone(), GoesOffEncoded);
    });
}

/// Goes off when it is decoded, in the joiner.
#[derive(Debug, Serialize)]
struct Returned(Charge);

impl<'de> Deserialize<'de> for Returned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Returned, D::Error> {
        let charge = Charge::deserialize(deserializer)?;
        charge.go_off();
        Ok(Returned(charge))
    }
}

/// The joiner decodes a result, in its own process: what ends a process ends it, as anywhere in it. Panics are the
/// task's error.
#[test]
fn while_its_result_is_decoded() {
    in_every_way(|charge, _| {
        if charge.is_text() {
            check(builder().build(), &charge, "result decode", charge.clone(), Returned);
        }
    });
}

/// A decoder may also fail as decoders do.
#[test]
fn what_cannot_be_decoded_is_an_error_of_its_task() {
    let pool = builder().build();
    let end = pool.spawn(3_u8, |n| vec![n; 5]).join();
    assert_eq!(end.unwrap(), [3; 5]);
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(try_from = "u8")]
    struct Small(u8);
    impl TryFrom<u8> for Small {
        type Error = String;
        fn try_from(n: u8) -> Result<Small, String> {
            if n < 3 { Ok(Small(n)) } else { Err("too large".into()) }
        }
    }
    let error = pool.spawn((), |()| Small(7)).join().unwrap_err();
    let stage = CodecStage::DecodeResult;
    assert!(matches!(error.cause(), Cause::Codec { stage: at, .. } if *at == stage), "{error:?}");
    is_at_full_strength(pool);
}

/// The worker has answered its task; what it has left behind goes off then. Nothing is to be told: there is no
/// task. A panic on a thread harms nobody, a time is nobody's, an overflow there is a SIGSEGV.
#[test]
fn while_it_is_idle() {
    in_every_way(|charge, folder| {
        if charge.is_text() || charge.failure == TimeIsUp {
            return;
        }
        let pool = builder().build();
        let left_behind = pool.spawn(charge.clone(), |charge| {
            if matches!(charge.failure, KilledFromOutside | StoppedFromOutside) {
                let pid = charge.folder.join("pid");
                return fs::write(pid, std::process::id().to_string()).unwrap();
            }
            std::thread::spawn(move || {
                let go = charge.folder.join("go");
                while !go.exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                charge.go_off();
                fs::write(charge.folder.join("done"), []).unwrap();
            });
        });
        left_behind.join().unwrap();
        fs::write(folder.0.join("go"), []).unwrap();
        charge.act();
        let pid = pid_in(&folder.0);
        match charge.failure {
            StoppedFromOutside => {
                // Each gets a task, of which one has no time to wait for the worker that was stopped.
                let stopped = time::timeout(Duration::from_millis(300), || {
                    let tasks = (0..WORKERS).map(|_| pool.spawn((), |()| ()));
                    Ok::<_, TaskError>(tasks.collect::<Vec<_>>())
                });
                for task in stopped.unwrap().unwrap() {
                    let end = task.join();
                    let is_late = |error: &TaskError| matches!(error.cause(), Cause::TimedOut);
                    assert!(end.as_ref().err().is_none_or(is_late), "{end:?}");
                }
                // SAFETY: no memory involved; it is a worker of ours, or gone.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            // It lives on until it is asked for something.
            ClosesItsDescriptors | OverwritesItsMemory => {
                let done = folder.0.join("done");
                until("what is left behind to go off", || {
                    done.exists() || charge.failure == ClosesItsDescriptors
                });
                one_may_fail(&charge, others(&pool), "idle");
            }
            _ => {
                until("the end of the worker", || {
                    !pool.worker_pids().contains(&pid.unsigned_abs())
                });
                are_unharmed(others(&pool), "idle");
            }
        }
        is_at_full_strength(pool);
    });
}

/// The variables by which a preload or an initializer knows what it is to do.
const FAILURE: &str = "TRINE_TEST_FAILURE";
const FOLDER: &str = "TRINE_TEST_FOLDER";

fn told_by_the_environment() {
    let failure: usize = std::env::var(FAILURE).unwrap().parse().unwrap();
    let folder = std::env::var_os(FOLDER).unwrap().into();
    Charge { failure: ALL[failure], folder }.go_off_once();
}

fn telling(charge: &Charge) -> PoolBuilder {
    let failure = ALL.iter().position(|failure| *failure == charge.failure).unwrap();
    builder().env(FAILURE, failure.to_string()).env(FOLDER, &charge.folder)
}

/// A worker dies between its fork and its first task. No task had begun, so none fails; another is forked. Nobody has set
/// a time for an initializer, so one that goes on or is stopped keeps its worker away: only the other one is there.
#[test]
fn while_a_worker_is_forked() {
    in_every_way(|charge, _| {
        if matches!(charge.failure, TimeIsUp | StoppedFromOutside) {
            return;
        }
        let pool = telling(&charge).initializer(told_by_the_environment).build();
        let tasks = others(&pool);
        charge.act();
        if charge.failure == OverwritesItsMemory {
            one_may_fail(&charge, tasks, "fork");
        } else {
            are_unharmed(tasks, &format!("{:?}, fork", charge.failure));
        }
        is_at_full_strength(pool);
    });
}

/// A template dies in its preload, and the next one goes on. A panic would come again, so it is told at once. There is no
/// time for a preload either.
#[test]
fn while_a_template_is_prepared() {
    in_every_way(|charge, _| {
        if matches!(charge.failure, TimeIsUp | StoppedFromOutside) {
            return;
        }
        let pool = telling(&charge).preload(told_by_the_environment).build();
        let tasks = others(&pool);
        charge.act();
        if charge.is_text() {
            // A task that comes when the others have been told asks for another template, and all is well there.
            for (n, task) in (1..).zip(tasks) {
                match task.join() {
                    Ok(value) => assert_eq!(value, n),
                    Err(error) => {
                        assert!(not_spawned(&error).contains("preload panicked"), "{error}");
                    }
                }
            }
            assert!(charge.folder.join("once").exists(), "the preload was not called");
        } else {
            are_unharmed(tasks, &format!("{:?}, preload", charge.failure));
        }
        is_at_full_strength_after(pool);
    });
}

/// As [`is_at_full_strength`]; a pool that was refused its workers asks for them with its next task.
fn is_at_full_strength_after(pool: Pool) {
    are_unharmed(others(&pool), "afterwards");
    is_at_full_strength(pool);
}

/// The master has no descriptor left. The task's error is what it would be otherwise; the other worker does the other tasks,
/// and with descriptors there are two workers again.
#[test]
fn while_the_master_has_no_descriptors() {
    let name = "while_the_master_has_no_descriptors";
    if role().is_none() {
        run(child(&this_program(), name, "master"));
        return;
    }
    limit(libc::RLIMIT_NOFILE, 100);
    in_every_way(|charge, _| {
        let pool = builder().build();
        until("the workers", || pool.worker_pids().len() == WORKERS);
        are_unharmed(others(&pool), "before");
        let (before, task) = (others(&pool), {
            let spawn = || pool.spawn(charge.clone(), |charge| charge.go_off());
            let limit = match charge.failure {
                TimeIsUp | StoppedFromOutside => Duration::from_millis(700),
                _ => Duration::from_secs(3600),
            };
            time::timeout(limit, || Ok::<_, TaskError>(spawn())).unwrap().unwrap()
        });
        if matches!(charge.failure, KilledFromOutside | StoppedFromOutside) {
            // Here the process is looked up, for which descriptors are needed.
            until("the process that fails", || charge.folder.join("pid").exists());
        }
        let pid = matches!(charge.failure, KilledFromOutside | StoppedFromOutside)
            .then(|| pid_in(&charge.folder));
        let mut hoard = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            hoard.push(file);
        }
        if let Some(pid) = pid {
            let stop = charge.failure == StoppedFromOutside;
            // SAFETY: no memory involved; a worker of ours that waits for this.
            unsafe { libc::kill(pid, if stop { libc::SIGSTOP } else { libc::SIGKILL }) };
        }
        charge.is_told_by(&task.join(), "without descriptors");
        are_unharmed(before, "without descriptors");
        are_unharmed(others(&pool), "without descriptors");
        drop(hoard);
        is_at_full_strength_after(pool);
    });
    let _ = std::io::stderr().flush();
}
