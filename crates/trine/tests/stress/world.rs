//! The state that all tasks share: locks with their values, channels, and handles of tasks.

use std::ops::Deref;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{LazyLock, PoisonError};
use std::task::Waker;

use trine::sync::Semaphore;
use trine::sync::channel::{self, Receiver, Sender};
use trine::sync::{Condvar, Event, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use trine::{Canceller, thread};

use crate::books::Message;
use crate::must;
use crate::seeds::Rng;
use crate::work::Running;

pub const PERMITS: usize = 4;
const HANDLES: usize = 256;

pub struct World {
    pub mutexes: [Watched<Mutex<Pair>>; 3],
    pub rwlocks: [Watched<RwLock<Pair>>; 3],
    pub semaphores: [Watched<Semaphore>; 3],
    pub tokens: Mutex<u64>,
    pub token: Condvar,
    pub event: Event,
    pub channels: [(Sender<Message>, Receiver<Message>); 3],
    pub pool: thread::Pool,
    pub cancellers: Bag<Canceller>,
    pub tasks: Bag<Running>,
    pub wakers: Bag<Waker>,
}

pub static WORLD: LazyLock<World> = LazyLock::new(|| World {
    mutexes: Default::default(),
    rwlocks: Default::default(),
    semaphores: std::array::from_fn(|_| Watched::new(Semaphore::new(PERMITS))),
    tokens: Mutex::new(0),
    token: Condvar::new(),
    event: Event::new(),
    channels: [channel::bounded(8), channel::rendezvous(), channel::unbounded()],
    pool: thread::Pool::new(3),
    cancellers: Bag::default(),
    tasks: Bag::default(),
    wakers: Bag::default(),
});

/// Two numbers that are equal, except while a task changes them.
#[derive(Default)]
pub struct Pair {
    pub first: u64,
    pub second: u64,
}

/// A lock, with a separate count of the tasks inside.
#[derive(Default)]
pub struct Watched<L> {
    lock: L,
    inside: AtomicUsize,
}

impl<L> Watched<L> {
    fn new(lock: L) -> Watched<L> {
        Watched { lock, inside: AtomicUsize::new(0) }
    }

    /// Counts `n` entries.
    pub fn enter<G>(&self, guard: G, n: usize, most: usize) -> Inside<'_, G> {
        let inside = self.inside.fetch_add(n, SeqCst) + n;
        must!(inside <= most, "{inside} are in a section for {most}");
        Inside { guard: Some(guard), n, inside: &self.inside }
    }

    pub fn is_empty(&self) -> bool {
        self.inside.load(SeqCst) == 0
    }
}

impl<L> Deref for Watched<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.lock
    }
}

/// Counts the entries down before the guard is dropped.
pub struct Inside<'a, G> {
    guard: Option<G>,
    n: usize,
    inside: &'a AtomicUsize,
}

impl<G> Drop for Inside<'_, G> {
    fn drop(&mut self) {
        self.inside.fetch_sub(self.n, SeqCst);
        self.guard = None;
    }
}

/// A change of a pair, which leaves it equal even if it is unwound.
pub struct Change<'a, G: AsPair>(pub Inside<'a, G>);

pub trait AsPair {
    fn pair(&mut self) -> &mut Pair;
}

impl AsPair for MutexGuard<'_, Pair> {
    fn pair(&mut self) -> &mut Pair {
        self
    }
}

impl AsPair for RwLockWriteGuard<'_, Pair> {
    fn pair(&mut self) -> &mut Pair {
        self
    }
}

impl<'a, G: AsPair> Change<'a, G> {
    /// Checks the pair, and begins to change it.
    pub fn begin(mut inside: Inside<'a, G>) -> Change<'a, G> {
        let pair = inside.guard.as_mut().expect("just made").pair();
        must!(pair.first == pair.second, "a pair is {} and {}", pair.first, pair.second);
        pair.first += 1;
        Change(inside)
    }
}

impl<G: AsPair> Drop for Change<'_, G> {
    fn drop(&mut self) {
        let pair = self.0.guard.as_mut().expect("still inside").pair();
        must!(pair.first == pair.second + 1, "a pair is {} and {}", pair.first, pair.second);
        pair.second += 1;
    }
}

/// Checks a pair that no task may be changing.
pub fn look(inside: &Inside<'_, RwLockReadGuard<'_, Pair>>) {
    let pair = inside.guard.as_ref().expect("still inside");
    must!(pair.first == pair.second, "a pair is read as {} and {}", pair.first, pair.second);
}

/// A bag of things that any task puts and takes. Nothing is dropped under its lock.
pub struct Bag<T>(std::sync::Mutex<Vec<T>>);

impl<T> Default for Bag<T> {
    fn default() -> Bag<T> {
        Bag(std::sync::Mutex::new(Vec::new()))
    }
}

impl<T> Bag<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in. If the bag is full, another comes out.
    pub fn put(&self, rng: &mut Rng, thing: T) -> Option<T> {
        let mut things = self.lock();
        things.push(thing);
        (things.len() > HANDLES).then(|| {
            let at = rng.below(things.len());
            things.swap_remove(at)
        })
    }

    pub fn take(&self, rng: &mut Rng) -> Option<T> {
        let mut things = self.lock();
        if things.is_empty() {
            return None;
        }
        let at = rng.below(things.len());
        Some(things.swap_remove(at))
    }

    pub fn take_all(&self) -> Vec<T> {
        std::mem::take(&mut *self.lock())
    }
}
