//! The accounts: the tasks that began, and how they ended. An error in them ends the program at
//! once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine::{TaskError, TaskId};

use crate::must;

/// The way in which a task was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Coroutine,
    Local,
    Future,
    Pool,
    Thread,
    /// No task: a round of one of the test's own threads.
    Plain,
}

const WAYS: [Way; 6] =
    [Way::Coroutine, Way::Local, Way::Future, Way::Pool, Way::Thread, Way::Plain];

// The stages of a task's life. The end is the last stage plus `ENDED`.
const NEW: u8 = 0;
const BEGUN: u8 = 1;
const PANICS: u8 = 2;
const RETURNED: u8 = 3;
const ENDED: u8 = 4;

/// The names of the ends, in the order of the stages.
const ENDS: [&str; 4] = ["not run", "interrupted", "panicked", "value"];

macro_rules! books {
    ($($count:ident),* $(,)?) => {
        #[derive(Default)]
        pub struct Books {
            spawned: [AtomicU64; WAYS.len()],
            ended: [[AtomicU64; ENDS.len()]; WAYS.len()],
            $(pub $count: AtomicU64,)*
        }

        pub static BOOKS: Books = Books {
            spawned: [const { AtomicU64::new(0) }; WAYS.len()],
            ended: [const { [const { AtomicU64::new(0) }; ENDS.len()] }; WAYS.len()],
            $($count: AtomicU64::new(0),)*
        };

        impl Books {
            fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($count), self.$count.load(Acquire)),)*]
            }
        }
    };
}

books! {
    steps, guards_made, guards_dropped, messages_made, sent, received, returned, left,
    joined, joiner_interrupted, detached, cancelled, timeouts, tokens_made, tokens_taken,
}

pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, AcqRel);
}

impl Books {
    pub fn spawned(&self) -> u64 {
        self.spawned.iter().map(|count| count.load(Acquire)).sum()
    }

    pub fn ended(&self) -> u64 {
        self.ended.iter().flatten().map(|count| count.load(Acquire)).sum()
    }

    pub fn live(&self) -> u64 {
        let ended = self.ended();
        self.spawned() - ended
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, way) in WAYS.iter().enumerate() {
            write!(f, "{way:?}: {} begun", self.spawned[at].load(Acquire))?;
            for (end, name) in ENDS.iter().enumerate() {
                write!(f, ", {name} {}", self.ended[at][end].load(Acquire))?;
            }
            writeln!(f)?;
        }
        for (name, count) in self.counts() {
            write!(f, "{name} {count}  ")?;
        }
        Ok(())
    }
}

/// The functions that were called and have not returned.
type AtWork = BTreeMap<u64, (Option<TaskId>, Way, Arc<Fate>)>;

static AT_WORK: Mutex<AtWork> = Mutex::new(BTreeMap::new());

fn at_work() -> MutexGuard<'static, AtWork> {
    AT_WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints the accounts and aborts the program. Bypasses the test harness, which would capture the
/// text.
pub fn fail(what: fmt::Arguments<'_>) -> ! {
    let mut text = format!("stress: {what}\nseed {}\n{BOOKS}\n", crate::seeds::seed());
    let tasks = trine::task::list();
    let _ = writeln!(text, "{} tasks in the registry", tasks.len());
    for info in tasks.iter().take(200) {
        let _ = writeln!(text, "  {info} {} of {:?}", info.state, info.parent);
    }
    if let Ok(at_work) = AT_WORK.try_lock() {
        for (number, (id, way, fate)) in at_work.iter().take(200) {
            let (stage, step) = (fate.0.load(Relaxed), fate.1.load(Relaxed));
            let _ = writeln!(text, "  {number} {id:?} {way:?}: stage {stage}, step {step}");
        }
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
    process::abort();
}

/// A value whose constructions and destructions are counted, and which notices a second
/// destruction.
pub struct Guard {
    pub number: u64,
    alive: Cell<u64>,
}

const ALIVE: u64 = 0x600d_600d_600d_600d;

impl Guard {
    pub fn new(number: u64) -> Guard {
        count(&BOOKS.guards_made);
        Guard { number, alive: Cell::new(ALIVE) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let was = std::hint::black_box(&self.alive).replace(!ALIVE);
        must!(was == ALIVE, "a guard of {} is dropped that is none: {was:#x}", self.number);
        count(&BOOKS.guards_dropped);
    }
}

/// A message in a channel.
pub struct Message {
    pub from: u64,
    pub turn: u64,
    settled: bool,
    _guard: Guard,
}

impl Message {
    pub fn new(from: u64, turn: u64) -> Message {
        count(&BOOKS.messages_made);
        Message { from, turn, settled: false, _guard: Guard::new(from) }
    }

    pub fn received(mut self) {
        self.settled = true;
        count(&BOOKS.received);
    }

    pub fn returned(mut self) {
        self.settled = true;
        count(&BOOKS.returned);
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if !self.settled {
            count(&BOOKS.left);
        }
    }
}

/// The stage of a task's life and its current step, for observers.
#[derive(Default)]
pub struct Fate(AtomicU8, AtomicU8);

impl Fate {
    pub fn is_at(&self, step: usize) {
        self.1.store(step as u8, Relaxed);
    }

    /// Notes that the task unwinds by an intended panic from now on.
    pub fn will_panic(&self) {
        self.0.store(PANICS, Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        self.0.load(Acquire) >= ENDED
    }

    pub fn has_panicked(&self) -> bool {
        self.0.load(Acquire) == ENDED + PANICS
    }

    /// Returns true if the function is panicking, or has caught its own panic.
    pub fn panics(&self) -> bool {
        self.0.load(Acquire) == PANICS
    }
}

/// The value that the function of a task owns. It is dropped once, when the function ends or is not
/// called.
pub struct Life {
    pub number: u64,
    pub fate: Arc<Fate>,
    way: Way,
    _guard: Guard,
}

impl Life {
    pub fn new(way: Way) -> Life {
        count(&BOOKS.spawned[way as usize]);
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Relaxed);
        Life { number, fate: Arc::default(), way, _guard: Guard::new(number) }
    }

    pub fn watch(&self) -> Watch {
        Watch { number: self.number, way: self.way, fate: Arc::clone(&self.fate) }
    }

    pub fn begin(&self) {
        let was = self.fate.0.swap(BEGUN, Relaxed);
        must!(was == NEW, "task {} has begun twice: {was}", self.number);
        let id = trine::task::current().map(|task| task.id);
        at_work().insert(self.number, (id, self.way, Arc::clone(&self.fate)));
    }

    /// Notes that the function returns. Returns its value.
    pub fn value(self) -> Guard {
        let was = self.fate.0.swap(RETURNED, Relaxed);
        must!(was == BEGUN, "task {} returns after a panic: {was}", self.number);
        Guard::new(self.number)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let stage = self.fate.0.load(Relaxed);
        must!(stage < ENDED, "task {} has ended twice", self.number);
        if stage > NEW {
            at_work().remove(&self.number);
        }
        count(&BOOKS.ended[self.way as usize][stage as usize]);
        self.fate.0.store(stage + ENDED, std::sync::atomic::Ordering::Release);
    }
}

/// A task's number and fate, for a comparison with the result of its handle.
#[derive(Clone)]
pub struct Watch {
    pub number: u64,
    pub way: Way,
    pub fate: Arc<Fate>,
}

impl Watch {
    /// Compares the result of `join` with the task's end.
    pub fn settle(&self, id: TaskId, result: Result<Guard, TaskError>) {
        let Watch { number, way, fate } = self;
        let stage = fate.0.load(Acquire);
        let error = match result {
            Ok(value) => {
                count(&BOOKS.joined);
                must!(
                    value.number == *number,
                    "{way:?} {number} has the value of {}",
                    value.number
                );
                must!(stage == ENDED + RETURNED, "{way:?} {number}: a value, but stage {stage}");
                return;
            }
            Err(error) => error,
        };
        if error.task().map(|task| task.id) != Some(id) {
            let interrupted = error.is_cancelled() || error.is_timeout();
            must!(interrupted, "{way:?} {number} {id} has the error of another: {error}");
            must!(trine::checkpoint().is_err(), "the joiner was not interrupted: {error}");
            count(&BOOKS.joiner_interrupted);
            return;
        }
        count(&BOOKS.joined);
        let expected = if error.is_panic() {
            stage == ENDED + PANICS
        } else {
            // A task of a scope has the deadline of its spawner.
            (error.is_cancelled() && stage == ENDED + NEW)
                || ((error.is_cancelled() || error.is_timeout()) && stage == ENDED + BEGUN)
        };
        must!(expected, "{way:?} {number}: stage {stage}, but {error}");
    }
}
