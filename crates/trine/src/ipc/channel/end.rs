//! One end of a channel in one process: its memory, its descriptors, and its waits.
//!
//! ```text
//!   memory   sealed; the messages
//!   peers    an end of a socket pair: all senders, in any process, hold the one end, all
//!            receivers the other. When the last of them is closed, also by a death, the kernel
//!            notifies the other side
//!   bell     a pipe that wakes coroutines, which do not sleep on a word of the memory. Each end
//!            has its own open file description: on a shared one, a peer could make writes block
//! ```

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::error::{AttachError, Reason};
use super::layout::{Layout, MAX_ATTACHED};
use super::ring::{Found, OTHERS, Ring, Side, THREADS};
use super::spin::ProbeSpin;
use crate::reactor::{Direction, Source};
use crate::sys::io::reopen;
use crate::sys::io::{Blocking, poll, socket};
use crate::sys::memory::shared::SharedMemory;
use crate::sys::presence::Presence;
use crate::task::{Interrupted, park, wait};

/// The state that all clones of a sender or receiver share.
#[derive(Debug)]
pub(super) struct End {
    pub(super) ring: Arc<Ring>,
    pub(super) side: Side,
    /// `None` once the end is dropped.
    peers: Option<Source<OwnedFd>>,
    bell: Source<Arc<OwnedFd>>,
    memory: OwnedFd,
    hangup: Arc<HangupWaker>,
    /// No end is left on the other side. Never changes back.
    disconnected: AtomicBool,
    departures: AtomicU32,
    /// Calls of `is_disconnected` since the kernel was last asked.
    checks: AtomicU32,
    spin: ProbeSpin,
}

/// The descriptors of an end, in the order in which they travel.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) memory: OwnedFd,
    pub(super) peers: OwnedFd,
    pub(super) bell: OwnedFd,
}

/// Calls of `is_disconnected` between two queries to the kernel, while no process has reported its
/// departure.
const CHECKS_PER_QUERY: u32 = 64;

/// First and longest pause between two looks at another process's unfinished claim.
const PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Interval between two looks of a sleeper that gets no notice of the other side's death.
const UNWATCHED: Duration = Duration::from_millis(50);

impl End {
    pub(super) fn new(
        side: Side,
        region: SharedMemory,
        layout: Layout,
        descriptors: Descriptors,
    ) -> io::Result<End> {
        let Descriptors { memory, peers, bell } = descriptors;
        let presence = Presence::new(&memory, MAX_ATTACHED)?;
        let ring = Arc::new(Ring::new(region, layout, bell, presence));
        Ok(End {
            side,
            peers: Some(Source::of_nonblocking(peers)),
            bell: Source::of_nonblocking(Arc::clone(&ring.bell)),
            memory,
            hangup: Arc::new(HangupWaker {
                ring: Arc::clone(&ring),
                side,
                has_fired: AtomicBool::new(true),
                is_registered: AtomicBool::new(false),
                turn: Mutex::new(()),
            }),
            disconnected: AtomicBool::new(false),
            departures: AtomicU32::new(0),
            checks: AtomicU32::new(0),
            spin: ProbeSpin::new(),
            ring,
        })
    }

    /// Checks descriptors that have been received, and makes an end of them.
    pub(super) fn attach(
        side: Side,
        descriptors: Descriptors,
        fingerprint: u64,
    ) -> Result<End, AttachError> {
        let region = SharedMemory::attach(&descriptors.memory)?;
        let layout = Layout::read(&region, fingerprint)?;
        if socket::packet_pair_maker(descriptors.peers.as_fd()).is_err() {
            return Err(AttachError::NotAChannel("it has no socket to its other side"));
        }
        let Some(bell) = reopen::same_bell(descriptors.bell.as_fd())? else {
            return Err(AttachError::NotAChannel("it has no pipe for wake-ups"));
        };
        Ok(End::new(side, region, layout, Descriptors { bell, ..descriptors })?)
    }

    /// Duplicates the descriptors, so that another process can make an end of the same side.
    ///
    /// # Errors
    ///
    /// Fails if no descriptors are left.
    pub(super) fn descriptors(&self) -> io::Result<Descriptors> {
        Ok(Descriptors {
            memory: self.memory.try_clone()?,
            peers: self.peers().get().try_clone()?,
            bell: reopen::reopen(self.bell.as_fd())?,
        })
    }

    fn peers(&self) -> &Source<OwnedFd> {
        self.peers.as_ref().expect("it is there until the end is dropped")
    }

    /// Returns true if no end is left on the other side, as far as is known without a system call
    /// each time.
    #[inline]
    pub(super) fn is_disconnected(&self) -> bool {
        let checks = self.checks.load(Relaxed);
        if checks < CHECKS_PER_QUERY
            && self.ring.departures() == self.departures.load(Relaxed)
            && !self.hangup.has_fired.load(SeqCst)
        {
            self.checks.store(checks + 1, Relaxed);
            return self.disconnected.load(SeqCst);
        }
        self.query_kernel()
    }

    /// Asks the kernel whether an end is left on the other side.
    ///
    /// The first caller that finds none wakes this side. Another waiter may have looked after the
    /// note of a departure was taken and before `disconnected` was set, and no further event would
    /// wake it. It has armed the ring before that look, and all four accesses are `SeqCst`: so
    /// either it sees `disconnected`, or the wake-up finds its mark.
    #[cold]
    fn query_kernel(&self) -> bool {
        self.checks.store(0, Relaxed);
        self.departures.store(self.ring.departures(), Relaxed);
        self.hangup.has_fired.store(false, SeqCst);
        if !poll::is_hung_up(self.peers()) {
            return self.disconnected.load(SeqCst);
        }
        if !self.disconnected.swap(true, SeqCst) {
            self.ring.wake_all(self.side);
        }
        true
    }

    /// Registers for a wake-up when no end is left on the other side; returns false if that is
    /// impossible, or if another waiter is at it: no waiter may rely on a registration that is
    /// about to fail.
    fn watch_peers(&self) -> bool {
        let _turn = match self.hangup.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        // Set before it is registered, so that a wake-up at any moment after that clears it.
        if self.hangup.is_registered.swap(true, SeqCst) {
            return true;
        }
        let waker = Waker::from(Arc::clone(&self.hangup));
        for _ in 0..8 {
            match self.peers().poll_ready(Direction::Read, &mut Context::from_waker(&waker)) {
                Poll::Pending => return true,
                Poll::Ready(Err(_)) => break,
                Poll::Ready(Ok(())) if self.query_kernel() => return true,
                // No process sends anything through this socket; discard what a corrupted peer has
                // sent.
                Poll::Ready(Ok(())) => {
                    let _ = socket::receive_packet(self.peers(), &mut [0; 64], Blocking::No);
                }
            }
        }
        self.hangup.is_registered.store(false, SeqCst);
        false
    }

    /// Calls `look` until it finds something or `deadline` comes, and sleeps in between.
    ///
    /// Something found in the last look counts, even if the deadline or an interruption has ended
    /// the wait.
    ///
    /// # Errors
    ///
    /// Fails with `Disconnected`, `TimedOut`, `Interrupted` or `Broken`.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Found<T>,
    ) -> Result<T, Reason> {
        if let Some(found) = self.spin.until(deadline, || match look() {
            Found::Nothing | Found::Busy(_) => None,
            found => Some(found),
        }) {
            return match found {
                Found::Claimed(value) => Ok(value),
                _ => Err(BROKEN),
            };
        }
        let mut pause = PAUSE;
        loop {
            let epoch = self.ring.arm(self.side, self.kind());
            let watched = self.watch_peers();
            let disconnected = self.is_disconnected();
            let busy = match look() {
                Found::Nothing if disconnected => return Err(Reason::Disconnected),
                // The claim's owner is dead, or the claim was never real.
                Found::Busy(_) if disconnected && pause >= LONGEST_PAUSE => {
                    return Err(Reason::Disconnected);
                }
                Found::Nothing => false,
                Found::Busy(unfinished) => {
                    if unfinished.is_some_and(|claim| self.ring.reclaim(claim)) {
                        // The next unfinished claim may be another process's, with messages behind
                        // it.
                        pause = PAUSE;
                    }
                    true
                }
                Found::Claimed(value) => return Ok(value),
                Found::Broken => return Err(BROKEN),
            };
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                if park::is_plain_thread() {
                    return Err(Reason::TimedOut);
                }
                // Lets others run first: the caller may call again and again.
                let turn = wait::for_wake(Some(now));
                return match look() {
                    Found::Claimed(value) => Ok(value),
                    _ => Err(turn.map_or_else(Reason::Interrupted, |()| Reason::TimedOut)),
                };
            }
            let bound = match (busy, watched) {
                (true, _) => Some(pause),
                (false, false) => Some(UNWATCHED),
                (false, true) => None,
            };
            pause = if busy { (2 * pause).min(LONGEST_PAUSE) } else { PAUSE };
            let until = match (deadline, bound.map(|bound| now + bound)) {
                (Some(deadline), Some(bound)) => Some(deadline.min(bound)),
                (deadline, bound) => deadline.or(bound),
            };
            if let Err(interrupted) = self.sleep(epoch, until) {
                return match look() {
                    Found::Claimed(value) => Ok(value),
                    _ => Err(Reason::Interrupted(interrupted)),
                };
            }
        }
    }

    /// Shows an end for `Debug`.
    pub(super) fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("len", &self.ring.len())
            .field("capacity", &self.ring.layout.capacity)
            .finish_non_exhaustive()
    }

    fn kind(&self) -> u32 {
        if park::is_plain_thread() { THREADS } else { OTHERS }
    }

    /// Sleeps until `until`, or until this side has been woken since `epoch` was read. May return
    /// early.
    fn sleep(&self, epoch: u32, until: Option<Instant>) -> Result<(), Interrupted> {
        let word = self.ring.epoch(self.side);
        if park::is_plain_thread() {
            return wait::for_word(word, epoch, until);
        }
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let woken = self.bell.retry(Direction::Read, timeout, |_| match word.load(SeqCst) {
            same if same == epoch => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        });
        match woken {
            Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(interrupted) => Err(Interrupted::clone(interrupted)),
                None if error.kind() == io::ErrorKind::TimedOut => Ok(()),
                // The reactor has no room to watch the bell.
                None => wait::for_wake(Some(Instant::now() + LONGEST_PAUSE)),
            },
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // Close the socket first: those that are woken next ask the kernel whether an end is left.
        drop(self.peers.take());
        self.ring.depart(self.side);
    }
}

/// Wakes the waiters of one end when the other side may have no end left.
#[derive(Debug)]
struct HangupWaker {
    ring: Arc<Ring>,
    side: Side,
    /// True from its wake-up until the kernel is next asked.
    has_fired: AtomicBool,
    /// True while it is registered with the reactor.
    is_registered: AtomicBool,
    /// Held while it is being registered. [`wake`](Wake::wake) takes no lock: the reactor may call
    /// it from within the registration.
    turn: Mutex<()>,
}

impl Wake for HangupWaker {
    fn wake(self: Arc<Self>) {
        self.has_fired.store(true, SeqCst);
        self.is_registered.store(false, SeqCst);
        self.ring.wake_all(self.side);
    }
}

/// The error for [`Found::Broken`].
pub(super) const BROKEN: Reason = Reason::Broken("a position in its queue that cannot exist");
