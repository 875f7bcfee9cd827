//! Waits of coroutines for a word that other processes change.
//!
//! A coroutine cannot sleep on a futex without blocking its carrier. So a thread sleeps for all
//! coroutines, on many words at once (`futex_waitv`, Linux 5.16), and wakes those that can have a
//! permit:
//!
//! ```text
//!   waiter ── arm, notify ──► table of words ──► thread: looks at each word, wakes waiters,
//!     ▲                                          ▲         sleeps on the other words
//!     │                                          │                       │
//!     │                              a post in another process           │
//!     └──────────────────────────── waker ───────────────────────────────┘
//! ```
//!
//! One thread watches up to 127 words; further words get further threads. A thread without words
//! ends after 10 s.
//!
//! # No wake-up is lost
//!
//! - The thread looks at a word after each change of its table. It sleeps only while the word has
//!   the value that it saw.
//! - With `v` permits in a word, up to `v` of its waiters are woken at a time. A woken waiter
//!   reports back: it arms itself again or leaves. Then the thread looks again if others wait. So
//!   while the thread sleeps on a word that is not 0, a waiter is about to report.
//! - The thread's sleep may have consumed a wake-up that no waiter here needs, because the waiter
//!   it was meant for has left. Then the thread wakes one more sleeper, in any process.
//!
//! Without that system call or without a thread, waiters look again at intervals of their own
//! ([`Registration::arm`]).

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use super::state;
use crate::sys::futex;
use crate::sys::process::fork_detect;
use crate::sys::semaphore::Memory;
use crate::task::park;

/// Time after which a thread that watches nothing ends.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

static WATCHERS: Mutex<Vec<&'static Watcher>> = Mutex::new(Vec::new());

/// The table of one thread.
#[derive(Debug, Default)]
struct Watcher {
    /// Counts the changes of the table. The thread sleeps on this word, too.
    changes: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    runs: bool,
    words: Vec<Watched>,
    waiters_so_far: u64,
}

/// A word and its waiters, of which there is always at least one.
#[derive(Debug)]
struct Watched {
    memory: Arc<Memory>,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// `None` if the waiter was woken and has not reported back yet.
    waker: Option<Waker>,
}

/// A waiter's entry in a table. Dropping it removes the entry.
pub(super) struct Registration<'a> {
    memory: &'a Arc<Memory>,
    place: Option<(&'static Watcher, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Registration<'a> {
    pub(super) fn new(memory: &'a Arc<Memory>) -> Registration<'a> {
        Registration { memory, place: None }
    }

    /// Arranges that the caller is woken for a permit that no other waiter was woken for, at once
    /// if there is one. Returns false if no thread can do that.
    pub(super) fn arm(&mut self) -> bool {
        if !futex::waits_for_many() {
            return false;
        }
        let waker = park::waker();
        match self.place {
            Some((watcher, number)) => watcher.arm(self.memory, number, waker),
            None => self.place = enter(self.memory, waker),
        }
        self.place.is_some()
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if let Some((watcher, number)) = self.place {
            watcher.leave(self.memory, number);
        }
    }
}

/// Enters the waiter into a table that has room; `None` if no thread could be started.
fn enter(memory: &Arc<Memory>, waker: Waker) -> Option<(&'static Watcher, u64)> {
    let mut watchers = lock(&WATCHERS);
    let mut waker = Some(waker);
    for watcher in watchers.iter() {
        if let Some(number) = watcher.enter(memory, &mut waker) {
            return number.map(|number| (*watcher, number));
        }
    }
    let watcher: &'static Watcher = Box::leak(Box::default());
    watchers.push(watcher);
    watcher.enter(memory, &mut waker)?.map(|number| (watcher, number))
}

impl Table {
    fn find(&mut self, memory: &Arc<Memory>) -> Option<usize> {
        self.words.iter().position(|watched| Arc::ptr_eq(&watched.memory, memory))
    }
}

impl Watcher {
    /// Makes the thread look at its table again.
    fn notify(&self) {
        self.changes.fetch_add(1, Release);
        futex::wake_one(&self.changes);
    }

    /// Returns `None` if the table is full, and `Some(None)` if it has no thread.
    #[allow(clippy::option_option, reason = "the table's room, and its thread")]
    fn enter(
        &'static self,
        memory: &Arc<Memory>,
        waker: &mut Option<Waker>,
    ) -> Option<Option<u64>> {
        if fork_detect::lacks_threads() {
            return Some(None);
        }
        let mut table = lock(&self.table);
        let found = table.find(memory);
        if found.is_none() && table.words.len() == futex::MOST_SHARED {
            return None;
        }
        if !table.runs {
            let thread = thread::Builder::new().name("trine-semaphores".into());
            if thread.spawn(|| self.serve()).is_err() {
                return Some(None);
            }
            table.runs = true;
            fork_detect::note_thread();
        }
        table.waiters_so_far += 1;
        let number = table.waiters_so_far;
        let waiter = Waiter { number, waker: waker.take() };
        match found {
            Some(at) => table.words[at].waiters.push(waiter),
            None => {
                let memory = Arc::clone(memory);
                table.words.push(Watched { memory, waiters: vec![waiter] });
            }
        }
        drop(table);
        self.notify();
        Some(Some(number))
    }

    fn arm(&self, memory: &Arc<Memory>, number: u64, waker: Waker) {
        let mut table = lock(&self.table);
        let at = table.find(memory).expect("its waiter keeps the word there");
        let waiter = table.words[at].waiters.iter_mut().find(|waiter| waiter.number == number);
        let before = waiter.and_then(|waiter| waiter.waker.replace(waker));
        drop(table);
        // A waiter that was still armed needs no look, unless there was a permit; another task has
        // taken that since.
        if before.is_none() {
            self.notify();
        }
    }

    fn leave(&self, memory: &Arc<Memory>, number: u64) {
        let mut table = lock(&self.table);
        let Some(at) = table.find(memory) else { return };
        let waiters = &mut table.words[at].waiters;
        let Some(own) = waiters.iter().position(|waiter| waiter.number == number) else { return };
        // `remove` keeps the order of arrival, in which waiters are woken.
        let left = waiters.remove(own);
        let others = !waiters.is_empty();
        let gone = if others { None } else { Some(table.words.swap_remove(at)) };
        drop(table);
        // A waiter that was woken and was alone leaves nothing to look at.
        if others || left.waker.is_some() {
            self.notify();
        }
        drop((left, gone));
    }

    fn serve(&self) {
        // The words of the thread's last sleep.
        let mut slept: Vec<Arc<Memory>> = Vec::new();
        loop {
            let changes = self.changes.load(Acquire);
            let (mut wakers, mut watched) = (Vec::new(), Vec::new());
            let mut table = lock(&self.table);
            let mut idle = table.words.is_empty();
            let mut unused = Vec::new();
            for memory in &slept {
                if table.find(memory).is_none() {
                    unused.push(Arc::clone(memory));
                }
            }
            for Watched { memory, waiters } in &mut table.words {
                let permits = state::available(memory);
                let woken = waiters.iter().filter(|waiter| waiter.waker.is_none()).count();
                let more = (permits as usize).saturating_sub(woken);
                let armed = waiters.iter_mut().filter_map(|waiter| match waiter.waker {
                    Some(_) => Some(&mut waiter.waker),
                    None => None,
                });
                let before = wakers.len();
                wakers.extend(armed.take(more).filter_map(Option::take));
                if waiters.iter().any(|waiter| waiter.waker.is_some()) {
                    watched.push((Arc::clone(memory), permits));
                } else if wakers.len() - before < more
                    && slept.iter().any(|other| Arc::ptr_eq(other, memory))
                {
                    unused.push(Arc::clone(memory));
                }
            }
            drop(table);
            unused.iter().for_each(|memory| state::pass_on(memory));
            wakers.into_iter().for_each(park::wake);
            let words = watched.iter().map(|(memory, permits)| (memory.futex(), *permits));
            let limit = idle.then_some(IDLE_LIMIT);
            if futex::wait_any((&self.changes, changes), words, limit).is_err() {
                // Fails for lack of memory only; an inaccessible word would have killed the process
                // before.
                thread::sleep(Duration::from_millis(1));
                idle = false;
            }
            slept = watched.into_iter().map(|(memory, _)| memory).collect();
            if idle && self.changes.load(Acquire) == changes {
                let mut table = lock(&self.table);
                if table.words.is_empty() {
                    table.runs = false;
                    return;
                }
            }
        }
    }
}
