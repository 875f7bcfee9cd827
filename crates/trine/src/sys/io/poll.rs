//! Waiting until one of many descriptors is ready (`poll`, `epoll`), and bells within a process.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};

use crate::sys::lift::lift;

/// A set of watched descriptors (`epoll`, level-triggered).
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

/// The readiness that a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// There is something to read, or the peer has closed its end.
    Read,
    /// There is room to write, or the peer has closed its end.
    Write,
    /// One of both.
    ReadWrite,
}

/// A change of one watched descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// The number under which the descriptor is watched.
    pub(crate) token: u64,
    /// There is something to read, an end of file, or an error that a read returns.
    pub(crate) readable: bool,
    /// There is room to write, or an error that a write returns.
    pub(crate) writable: bool,
    /// No later event reports what remains to be read: the peer has closed its end, or one read may
    /// leave some of it.
    pub(crate) read_ended: bool,
    /// Nothing can be written any more.
    pub(crate) write_ended: bool,
}

impl Poll {
    /// The most events that one call takes from the kernel.
    pub(crate) const MOST: usize = 256;

    pub(crate) fn new() -> io::Result<Poll> {
        Ok(Poll { epoll: lift(epoll::create(epoll::CreateFlags::CLOEXEC)?)? })
    }

    /// Watches `descriptor` for reading until it is removed or closed.
    pub(crate) fn add(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, descriptor, data, epoll_flags(Interest::Read))?)
    }

    /// Watches `descriptor` until it is removed or closed, and reports changes only. The first
    /// report gives the present state.
    pub(crate) fn add_changes(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        let flags =
            both | epoll::EventFlags::PRI | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, descriptor, data, flags)?)
    }

    /// Stops watching the descriptor with this number.
    pub(crate) fn remove_number(&self, descriptor: RawFd) {
        // SAFETY: the number is only given to the kernel, which knows whether it is watched.
        self.remove(unsafe { BorrowedFd::borrow_raw(descriptor) });
    }

    /// Changes the interest in a watched descriptor; one that is not watched stays so.
    pub(crate) fn change(&self, descriptor: impl AsFd, token: u64, interest: Interest) {
        let data = epoll::EventData::new_u64(token);
        let _ = epoll::modify(&self.epoll, descriptor, data, epoll_flags(interest));
    }

    /// Stops watching `descriptor`.
    pub(crate) fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Sleeps until something happens or `deadline` comes, and collects the events in `into`.
    pub(crate) fn wait(&self, into: &mut Vec<Event>, deadline: Option<Instant>) {
        self.take(into, deadline.map(time_until));
    }

    /// Collects the events in `into` without sleeping.
    pub(crate) fn take_ready(&self, into: &mut Vec<Event>) {
        self.take(into, Some(NO_TIME));
    }

    fn take(&self, into: &mut Vec<Event>, timeout: Option<Timespec>) {
        into.clear();
        let mut events = [const { MaybeUninit::uninit() }; Poll::MOST];
        // EINTR is the one possible error; it means that nothing happened yet.
        let Ok((events, _)) = wait(&self.epoll, &mut events, timeout.as_ref()) else { return };
        into.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let ended = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            // A read of a stream with urgent data stops before it, and there may be more behind.
            let last = epoll::EventFlags::RDHUP | epoll::EventFlags::PRI;
            let read_ended = ended || flags.intersects(last);
            Event {
                token: data.u64(),
                readable: ended || flags.contains(epoll::EventFlags::IN),
                writable: ended || flags.contains(epoll::EventFlags::OUT),
                read_ended,
                write_ended: ended,
            }
        }));
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Returns how long a sleep until `deadline` may be: at most a day, after which the sleeper checks
/// its clock again.
pub(super) fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(86_400))
}

fn time_until(deadline: Instant) -> Timespec {
    let left = time_left(deadline);
    Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
}

/// Sleeps until `descriptor` may be ready, `bell` rings, or `deadline` comes. May return early.
pub(crate) fn wait_for(
    descriptor: BorrowedFd<'_>,
    interest: Interest,
    bell: Option<&Bell>,
    deadline: Option<Instant>,
) {
    let timeout = deadline.map(time_until);
    let own = PollFd::from_borrowed_fd(descriptor, poll_flags(interest));
    // EINTR means that nothing happened yet. A closed descriptor is reported as ready, and the
    // caller's next attempt fails.
    match bell {
        None => _ = poll(&mut [own], timeout.as_ref()),
        Some(bell) => {
            let mut both = [own, PollFd::new(bell, PollFlags::IN)];
            let polled = poll(&mut both, timeout.as_ref());
            if polled.is_ok() && !both[1].revents().is_empty() {
                bell.quiet();
            }
        }
    }
}

/// Returns true if `descriptor` is ready, at its end, or in error; never sleeps.
pub(crate) fn is_ready(descriptor: BorrowedFd<'_>, interest: Interest) -> bool {
    // If the kernel refuses (ENOMEM), the caller attempts its call and finds out.
    events_now(descriptor, poll_flags(interest)).is_none_or(|events| !events.is_empty())
}

/// Returns true if the peer of a socket or pipe has closed its end; never sleeps.
pub(crate) fn is_hung_up(descriptor: impl AsFd) -> bool {
    events_now(descriptor.as_fd(), PollFlags::empty())
        .is_some_and(|events| events.contains(PollFlags::HUP))
}

/// Returns true if a socket was shut down for receiving; never sleeps.
pub(crate) fn receives_no_more(socket: impl AsFd) -> bool {
    events_now(socket.as_fd(), PollFlags::RDHUP)
        .is_some_and(|events| events.intersects(PollFlags::RDHUP | PollFlags::HUP))
}

/// Returns the events that have happened at `descriptor`, among `wanted`, HUP and ERR; `None` if
/// the kernel refuses.
fn events_now(descriptor: BorrowedFd<'_>, wanted: PollFlags) -> Option<PollFlags> {
    let mut own = [PollFd::from_borrowed_fd(descriptor, wanted)];
    let asked = rustix::io::retry_on_intr(|| poll(&mut own, Some(&NO_TIME)));
    asked.is_ok().then(|| own[0].revents())
}

fn poll_flags(interest: Interest) -> PollFlags {
    match interest {
        Interest::Read => PollFlags::IN,
        Interest::Write => PollFlags::OUT,
        Interest::ReadWrite => PollFlags::IN | PollFlags::OUT,
    }
}

fn epoll_flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::Write => epoll::EventFlags::OUT,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
    }
}

/// Calls `epoll_wait`, to the nanosecond if the kernel can (`epoll_pwait2`, Linux 5.11), else
/// rounded up to the millisecond.
fn wait<'a>(
    epoll: &OwnedFd,
    events: &'a mut [MaybeUninit<epoll::Event>],
    timeout: Option<&Timespec>,
) -> rustix::io::Result<(&'a mut [epoll::Event], &'a mut [MaybeUninit<epoll::Event>])> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    // The layout of the kernel's structure for a system call that only has a 64-bit version.
    let exact = timeout
        .filter(|time| time.tv_sec > 0 || time.tv_nsec > 0)
        .map(|time| [time.tv_sec, time.tv_nsec]);
    let Some(exact) = exact.filter(|_| !REFUSED.load(Relaxed)) else {
        return epoll::wait(epoll, events, timeout);
    };
    // SAFETY: the kernel writes at most as many events as there is room for, each of the type that
    // it shares with rustix, and reads the time.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            events.len().min(i32::MAX as usize),
            exact.as_ptr(),
            ptr::null::<libc::sigset_t>(),
            0,
        )
    };
    let Ok(count) = usize::try_from(count) else {
        let error = io::Error::last_os_error();
        if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            REFUSED.store(true, Relaxed);
            return epoll::wait(epoll, events, timeout);
        }
        return Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::INTR));
    };
    let (filled, rest) = events.split_at_mut(count);
    // SAFETY: the kernel has written the first `count` of them.
    Ok((unsafe { filled.assume_init_mut() }, rest))
}

const _: () = assert!(size_of::<epoll::Event>() == size_of::<libc::epoll_event>());

/// A bell that any thread of this process rings to wake a thread that sleeps in [`Poll::wait`].
#[derive(Debug)]
pub(crate) struct Bell {
    eventfd: OwnedFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Bell { eventfd: lift(eventfd)? })
    }

    /// Wakes the sleeper, now or when it next sleeps.
    pub(crate) fn ring(&self) {
        // A full counter rings as well.
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
    }

    /// Stops the ringing.
    pub(crate) fn quiet(&self) {
        let _ = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
