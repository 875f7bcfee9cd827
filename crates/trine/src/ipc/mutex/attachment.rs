//! A process's attachment to a mutex: its identity, the liveness of others, and its waits.
//!
//! # Liveness
//!
//! An attachment has a number. While it exists, it holds a kernel lock on the byte of that number
//! (`F_OFD_SETLK`, far beyond the memory's end), through an open file description that no other
//! process has. The kernel releases that lock when the process ends, in whatever way. So an owner
//! is dead if its byte can be locked. A process that holds the byte locked to find that out and to
//! take over keeps others from attaching under that number. Process ids play no part.
//!
//! # Wake-ups
//!
//! In each process, one task at a time competes; the others queue for `turn`, a lock of this
//! process. A task that finds the word taken by a living process marks the word and waits for the
//! *bell*, a pipe into which the holder writes when it releases the lock. Coroutines wait for it in
//! their reactor.
//!
//! After [`PROBE_INTERVAL`] a waiter looks again by itself, at the word and at its owner. That is
//! how it notices a death. It also bounds the cost of a lost wake-up, which happens when the woken
//! process dies, or when hostile processes read or fill the bell.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bytemuck::Pod;

use super::state::{Attempt, Before, Memory, owner_from};
use crate::ipc::shared::SharedError;
use crate::reactor::{Direction, Source};
use crate::sync;
use crate::sys::io::reopen::{self, lock_byte, unlock_byte};
use crate::sys::memory::sealed::Open;
use crate::sys::process::fork_detect;
use crate::sys::random;
use crate::task::Interrupted;
use crate::task::wait;

/// Longest time for which a lock may seem held after its owner's death.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// Longest time for which a newcomer leaves a free lock to a process that has waited.
const RESERVATION: Duration = Duration::from_millis(1);
/// Pause of a waiter that can wait for nothing but time.
const SHORT_PAUSE: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) struct Attachment {
    /// Held by the one task of this process that holds the lock or competes for it.
    pub(super) turn: sync::Mutex<()>,
    pub(super) memory: Memory,
    number: u64,
    /// The process that the number belongs to. A forked process would otherwise pass for it.
    process: u64,
    bell: Source,
}

impl Attachment {
    pub(super) fn new<T: Pod>(value: T) -> Result<Attachment, SharedError> {
        let memory = Memory::new(value)?;
        let bell = reopen::bell().map_err(SharedError::of_new(memory.0.len()))?;
        Attachment::of(memory, bell)
    }

    /// Attaches to a mutex that another process has sent; both descriptors can be closed then.
    pub(super) fn attach<T: Pod>(
        memory: &OwnedFd,
        bell: &OwnedFd,
    ) -> Result<Attachment, SharedError> {
        let memory = Memory(Open::attach_apart(memory.as_fd())?);
        memory.check::<T>()?;
        let bell = reopen::same_bell(bell.as_fd()).map_err(SharedError::NotMapped)?;
        Attachment::of(memory, bell.ok_or(SharedError::NotPipe)?)
    }

    fn of(memory: Memory, bell: OwnedFd) -> Result<Attachment, SharedError> {
        let number = find_number(&memory).map_err(SharedError::NotMapped)?;
        let bell = Source::of_nonblocking(bell);
        Ok(Attachment {
            turn: sync::Mutex::new(()),
            memory,
            number,
            process: fork_detect::generation(),
            bell,
        })
    }

    /// Reopens memory and bell for another process: the new descriptors hold none of our kernel
    /// locks.
    pub(super) fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([reopen::reopen(self.memory.0.as_fd())?, reopen::reopen(self.bell.as_fd())?])
    }

    /// Takes the lock for the task that has the turn; `None` if it did not get it until `deadline`.
    #[inline]
    pub(super) fn take(&self, deadline: Option<Instant>) -> Option<Before> {
        match self.memory.try_take(self.number, false) {
            Attempt::Taken(before) => Some(before),
            _ => self.contend(deadline),
        }
    }

    /// Takes the lock if that needs no wait.
    ///
    /// Ignores a reservation for a process that has waited: that process may have died, and the
    /// lock would look taken forever.
    pub(super) fn try_take(&self) -> Option<Before> {
        let attempt = match self.memory.try_take(self.number, false) {
            Attempt::Reserved => self.memory.try_take(self.number, true),
            attempt => attempt,
        };
        match attempt {
            Attempt::Taken(before) => Some(before),
            Attempt::Held(owner) => self.take_from_dead(owner).then_some(Before::Died),
            Attempt::Reserved => None,
        }
    }

    /// Returns true in a process that was forked off the one that has attached.
    #[inline]
    pub(super) fn was_inherited(&self) -> bool {
        self.process != fork_detect::generation()
    }

    /// Panics in a process that was forked off the one that has attached.
    #[inline]
    #[track_caller]
    pub(super) fn assert_own(&self) {
        assert!(
            !self.was_inherited(),
            "this mutex belongs to the process that this one was forked off; make a mutex of its \
             descriptors"
        );
    }

    /// Releases the lock.
    #[inline]
    pub(super) fn release(&self) {
        if !self.was_inherited() && self.memory.release(self.number) {
            reopen::ring(self.bell.as_fd());
        }
    }

    #[cold]
    fn contend(&self, deadline: Option<Instant>) -> Option<Before> {
        let mut has_waited = false;
        let mut reserved_until = None;
        loop {
            let attempt = self.memory.try_take(self.number, has_waited);
            let now = Instant::now();
            match attempt {
                Attempt::Taken(before) => return Some(before),
                Attempt::Held(owner) if self.take_from_dead(owner) => return Some(Before::Died),
                _ if deadline.is_some_and(|deadline| deadline <= now) => {
                    self.stop_waiting(has_waited);
                    return None;
                }
                Attempt::Held(_) => {
                    if self.memory.request_wake(has_waited) {
                        let look = now + PROBE_INTERVAL;
                        self.wait_for_bell(deadline.map_or(look, |deadline| deadline.min(look)));
                        has_waited = true;
                    }
                }
                Attempt::Reserved => {
                    has_waited = *reserved_until.get_or_insert(now + RESERVATION) <= now;
                    if !has_waited {
                        wait::or_unwind(Some(now + SHORT_PAUSE));
                    }
                }
            }
        }
    }

    /// Stops waiting. If the lock is free, rings again: this waiter may have consumed a wake-up for
    /// others.
    fn stop_waiting(&self, has_waited: bool) {
        if has_waited && !self.memory.request_wake(false) {
            reopen::ring(self.bell.as_fd());
        }
    }

    /// Takes the lock from `owner` if that is dead.
    fn take_from_dead(&self, owner: u64) -> bool {
        if owner == self.number {
            // No task of this process can hold it, or the caller would not have the turn. So
            // another process has written our number.
            return self.memory.take_over(self.number, owner);
        }
        let own = self.memory.0.as_fd();
        // If no memory is left for a kernel lock, the owner counts as alive until the next look.
        if !matches!(lock_byte(own, owner), Ok(true)) {
            return false;
        }
        let taken = self.memory.take_over(self.number, owner);
        unlock_byte(own, owner);
        taken
    }

    /// Waits until the bell rings, at most until `until`.
    fn wait_for_bell(&self, until: Instant) {
        let most = until.saturating_duration_since(Instant::now());
        let rung = self.bell.retry(Direction::Read, Some(most), |bell| reopen::quiet(bell.as_fd()));
        match rung {
            Err(error) if Interrupted::is_in(&error) || error.kind() != io::ErrorKind::TimedOut => {
                // Unwinds the task, unless it is unwinding already. Also reached if the reactor has
                // no room to watch the bell.
                wait::or_unwind(Some(until.min(Instant::now() + SHORT_PAUSE)));
            }
            _ => {}
        }
    }
}

/// Finds a number that no process has, and locks its byte.
fn find_number(memory: &Memory) -> io::Result<u64> {
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        let number = owner_from(random::token()? as u64);
        if lock_byte(memory.0.as_fd(), number)? {
            // The number of a dead owner stays unused until another process has taken the lock
            // over.
            if memory.owner() != number {
                return Ok(number);
            }
            unlock_byte(memory.0.as_fd(), number);
        }
    }
    Err(io::Error::other("another process has locked the whole mutex by fcntl"))
}
