//! Sleeping until one of many descriptors has something to say.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};

/// A set of watched descriptors (`epoll`, level-triggered).
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// There is something to read, or the peer is gone.
    Read,
    /// There is room to write, or the peer is gone.
    Write,
    /// One of both.
    ReadWrite,
}

/// What happened to one watched descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    /// The number under which it is watched.
    pub(crate) token: u64,
    /// There is something to read, an end, or an error that reading tells.
    pub(crate) readable: bool,
    /// There is room to write, or an error that writing tells.
    pub(crate) writable: bool,
    /// No news will come of what is there: the peer has ended, or a read may leave some of it.
    pub(crate) read_ended: bool,
    /// Nothing can be written any more.
    pub(crate) write_ended: bool,
}

impl Poll {
    /// Events taken from the kernel in one call.
    pub(crate) const MOST: usize = 256;

    pub(crate) fn new() -> io::Result<Poll> {
        Ok(Poll { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches `descriptor` until it is removed or closed.
    pub(crate) fn add(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, descriptor, data, flags(Interest::Read))?)
    }

    /// Watches `descriptor` until it is removed or closed, and reports changes only; at once what there is.
    pub(crate) fn add_changes(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        let flags =
            both | epoll::EventFlags::PRI | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, descriptor, data, flags)?)
    }

    /// Watches the descriptor of that number no longer.
    pub(crate) fn remove_number(&self, descriptor: RawFd) {
        // SAFETY: the number is only given to the kernel, which says whether it is watched.
        self.remove(unsafe { BorrowedFd::borrow_raw(descriptor) });
    }

    /// Changes what is waited for at a watched descriptor; one that is not watched stays so.
    pub(crate) fn change(&self, descriptor: impl AsFd, token: u64, interest: Interest) {
        let data = epoll::EventData::new_u64(token);
        let _ = epoll::modify(&self.epoll, descriptor, data, flags(interest));
    }

    /// Watches `descriptor` no longer.
    pub(crate) fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Sleeps until something happens or `deadline` comes, and notes what happened in `into`.
    pub(crate) fn wait(&self, into: &mut Vec<Happened>, deadline: Option<Instant>) {
        self.take(into, deadline.map(time_until));
    }

    /// Notes what has happened, without sleeping.
    pub(crate) fn look(&self, into: &mut Vec<Happened>) {
        self.take(into, Some(Timespec { tv_sec: 0, tv_nsec: 0 }));
    }

    fn take(&self, into: &mut Vec<Happened>, timeout: Option<Timespec>) {
        into.clear();
        let mut events = [const { MaybeUninit::uninit() }; Poll::MOST];
        // EINTR is the one possible error; it means that nothing happened yet.
        let Ok((events, _)) = wait(&self.epoll, &mut events, timeout.as_ref()) else { return };
        into.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let ended = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            // Of a stream with urgent data, a read stops before it, and there may be more behind.
            let last = epoll::EventFlags::RDHUP | epoll::EventFlags::PRI;
            let read_ended = ended || flags.intersects(last);
            Happened {
                token: data.u64(),
                readable: ended || flags.contains(epoll::EventFlags::IN),
                writable: ended || flags.contains(epoll::EventFlags::OUT),
                read_ended,
                write_ended: ended,
            }
        }));
    }
}

/// How long a sleep until `deadline` may be. A day is as good as for ever: whoever sleeps looks at its
/// clock again anyway.
pub(in crate::sys) fn time_left(deadline: Instant) -> Duration {
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
    // caller's next attempt says so.
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

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Whether `descriptor` is ready, has come to its end or tells an error; never sleeps.
pub(crate) fn is_ready(descriptor: BorrowedFd<'_>, interest: Interest) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut own = [PollFd::from_borrowed_fd(descriptor, poll_flags(interest))];
    // Refused (ENOMEM), the one who asks goes and finds out.
    rustix::io::retry_on_intr(|| poll(&mut own, Some(&now))) != Ok(0)
}

fn poll_flags(interest: Interest) -> PollFlags {
    match interest {
        Interest::Read => PollFlags::IN,
        Interest::Write => PollFlags::OUT,
        Interest::ReadWrite => PollFlags::IN | PollFlags::OUT,
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::Write => epoll::EventFlags::OUT,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
    }
}

/// `epoll_wait`, to the nanosecond where the kernel can (`epoll_pwait2`, Linux 5.11), else to the
/// millisecond behind it.
fn wait<'a>(
    epoll: &OwnedFd,
    events: &'a mut [MaybeUninit<epoll::Event>],
    timeout: Option<&Timespec>,
) -> rustix::io::Result<(&'a mut [epoll::Event], &'a mut [MaybeUninit<epoll::Event>])> {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    // The structure of the kernel, and of a system call that knows only 64 bits.
    let exact = timeout
        .filter(|time| time.tv_sec > 0 || time.tv_nsec > 0)
        .map(|time| [time.tv_sec, time.tv_nsec]);
    let Some(exact) = exact.filter(|_| !REFUSED.load(Relaxed)) else {
        return epoll::wait(epoll, events, timeout);
    };
    // SAFETY: the kernel writes at most as many events as there is room for, each of the type that it
    // shares with rustix, and reads the time.
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

/// A bell that any thread rings and one that sleeps in [`Poll::wait`] hears.
#[derive(Debug)]
pub(crate) struct Bell {
    eventfd: OwnedFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        Ok(Bell { eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
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
