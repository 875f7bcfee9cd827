//! One process's hold on a mutex: who it is among the others, how it learns that they live, how it waits.
//!
//! # Who lives
//!
//! An attachment has a number, and for as long as it exists a lock of the kernel on the byte of that number
//! (`F_OFD_SETLK`, far beyond the memory's end), by an open file that nobody else has. The kernel gives it back when
//! the process ends, however it ends. So an owner is dead if its byte can be locked; and while somebody has it locked to
//! find that out and to take over, nobody can attach under that number. Process ids play no part.
//!
//! # Who wakes whom
//!
//! Of one process, one task at a time competes; the others queue for `turn`, a lock of this process. Who finds the
//! word taken by a living process marks it and waits for the *bell*, a pipe into which the holder writes when it gives the
//! lock back; coroutines wait for it in their reactor. After [`LOOK`] they look by themselves, at the word and at its owner: that is
//! how a death is noticed, and all that a wake-up which was lost can cost, by the death of the one who was woken or by
//! whatever hostile processes do to the bell.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bytemuck::Pod;

use super::state::{Attempt, Before, Memory, owner_of};
use crate::ipc::shared::SharedError;
use crate::reactor::{Direction, Source};
use crate::sync;
use crate::sys::io::reopen::{self, lock_byte, unlock_byte};
use crate::sys::memory::sealed::Open;
use crate::sys::process::fork_detect;
use crate::sys::random;
use crate::task::Interrupted;
use crate::task::park;

/// How long after its owner's death a lock may seem held.
const LOOK: Duration = Duration::from_millis(10);
/// How long one who has not waited leaves a free lock to one who has.
const COURTESY: Duration = Duration::from_millis(1);
/// How long a moment is, for those who can wait for nothing but time.
const MOMENT: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) struct Attachment {
    /// Held by the one task of this process that holds the lock, or competes for it.
    pub(super) turn: sync::Mutex<()>,
    pub(super) memory: Memory,
    number: u64,
    /// Whose number that is: a process that was forked off would be taken for the same.
    process: u64,
    bell: Source,
}

impl Attachment {
    pub(super) fn new<T: Pod>(value: T) -> Result<Attachment, SharedError> {
        let memory = Memory::new(value)?;
        let bell = reopen::bell().map_err(SharedError::of_new(memory.0.len()))?;
        Attachment::of(memory, bell)
    }

    /// Takes what another process has sent; both descriptors are then closed.
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

    /// Descriptors of memory and bell to send: of open files that hold none of our locks.
    pub(super) fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([reopen::reopen(self.memory.0.as_fd())?, reopen::reopen(self.bell.as_fd())?])
    }

    /// Takes the lock, for whoever has the turn; `None` if it was not to be had until `deadline`.
    #[inline]
    pub(super) fn take(&self, deadline: Option<Instant>) -> Option<Before> {
        match self.memory.try_take(self.number, false) {
            Attempt::Taken(before) => Some(before),
            _ => self.contend(deadline),
        }
    }

    /// Takes the lock if that needs no wait.
    ///
    /// Also if it is kept for one who has waited: who that was may be gone, and a lock that looked taken for
    /// that reason would stay so.
    pub(super) fn try_take(&self) -> Option<Before> {
        let attempt = match self.memory.try_take(self.number, false) {
            Attempt::Kept => self.memory.try_take(self.number, true),
            attempt => attempt,
        };
        match attempt {
            Attempt::Taken(before) => Some(before),
            Attempt::Held(owner) => self.take_from_dead(owner).then_some(Before::Died),
            Attempt::Kept => None,
        }
    }

    /// Whether this process was forked off the one whose attachment this is.
    #[inline]
    pub(super) fn is_another_s(&self) -> bool {
        self.process != fork_detect::generation()
    }

    /// Gives the lock back.
    #[inline]
    pub(super) fn give(&self) {
        if !self.is_another_s() && self.memory.give(self.number) {
            reopen::ring(self.bell.as_fd());
        }
    }

    #[cold]
    fn contend(&self, deadline: Option<Instant>) -> Option<Before> {
        let mut has_waited = false;
        let mut courtesy = None;
        loop {
            let attempt = self.memory.try_take(self.number, has_waited);
            let now = Instant::now();
            match attempt {
                Attempt::Taken(before) => return Some(before),
                Attempt::Held(owner) if self.take_from_dead(owner) => return Some(Before::Died),
                _ if deadline.is_some_and(|deadline| deadline <= now) => {
                    self.give_up(has_waited);
                    return None;
                }
                Attempt::Held(_) => {
                    if self.memory.ask(has_waited) {
                        let look = now + LOOK;
                        self.rest(deadline.map_or(look, |deadline| deadline.min(look)));
                        has_waited = true;
                    }
                }
                Attempt::Kept => {
                    has_waited = *courtesy.get_or_insert(now + COURTESY) <= now;
                    if !has_waited {
                        park::wait_or_unwind(Some(now + MOMENT));
                    }
                }
            }
        }
    }

    /// Whoever has waited may have heard what rang for others.
    fn give_up(&self, has_waited: bool) {
        if has_waited && !self.memory.ask(false) {
            reopen::ring(self.bell.as_fd());
        }
    }

    /// Takes the lock from `owner` if that is dead.
    fn take_from_dead(&self, owner: u64) -> bool {
        if owner == self.number {
            // Nobody of this process has it, or the caller would not have the turn: somebody has written our number.
            return self.memory.take_over(self.number, owner);
        }
        let own = self.memory.0.as_fd();
        // Without memory for a lock, it lives until the next look.
        if !matches!(lock_byte(own, owner), Ok(true)) {
            return false;
        }
        let taken = self.memory.take_over(self.number, owner);
        unlock_byte(own, owner);
        taken
    }

    /// Waits until the bell rings, at most until `until`.
    fn rest(&self, until: Instant) {
        let most = until.saturating_duration_since(Instant::now());
        let heard =
            self.bell.retry(Direction::Read, Some(most), |bell| reopen::quiet(bell.as_fd()));
        match heard {
            Err(error) if Interrupted::is_in(&error) || error.kind() != io::ErrorKind::TimedOut => {
                // It unwinds, unless it does so already; or there is no room for one more watched descriptor.
                park::wait_or_unwind(Some(until.min(Instant::now() + MOMENT)));
            }
            _ => {}
        }
    }
}

/// Finds a number that nobody has, and locks its byte.
fn find_number(memory: &Memory) -> io::Result<u64> {
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        let number = owner_of(random::token()? as u64);
        if lock_byte(memory.0.as_fd(), number)? {
            // The number of one who has died with the lock stays free until somebody has taken it over.
            if memory.owner() != number {
                return Ok(number);
            }
            unlock_byte(memory.0.as_fd(), number);
        }
    }
    Err(io::Error::other("another process has locked the whole mutex by fcntl"))
}
