//! The table of open descriptors as a whole, and its limit.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags};

use crate::sys::lift::lift;
use crate::sys::limits;

/// Copies `descriptor` to the lowest free number from `from`, or to any number if there is no room.
pub(crate) fn copy_high(descriptor: BorrowedFd<'_>, from: RawFd) -> io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, from)
        // The limit for descriptors may lie below.
        .or_else(|_| rustix::io::fcntl_dupfd_cloexec(descriptor, 3))
        .map_err(io::Error::from)
}

/// Sets whether calls on `descriptor`, and on every copy of it, may sleep.
pub(crate) fn set_blocking(descriptor: BorrowedFd<'_>, blocking: bool) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(descriptor)?;
    let wanted = flags.difference(OFlags::NONBLOCK)
        | if blocking { OFlags::empty() } else { OFlags::NONBLOCK };
    if wanted != flags {
        rustix::fs::fcntl_setfl(descriptor, wanted)?;
    }
    Ok(())
}

/// Returns how many bytes wait to be read from a pipe.
pub(crate) fn readable_bytes(pipe: BorrowedFd<'_>) -> usize {
    rustix::io::ioctl_fionread(pipe).map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Makes copies of two descriptors the standard output and error of the calling process.
pub(crate) fn become_output(stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> io::Result<()> {
    for (from, to) in [(stdout, 1), (stderr, 2)] {
        // SAFETY: no value owns the standard streams, and code that writes to them by number then
        // writes to the copies.
        if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Opens the null device.
///
/// # Errors
///
/// There is no `/dev/null`, or no descriptor left.
pub(crate) fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(lift(rustix::fs::openat(CWD, c"/dev/null", flags, Mode::empty())?)?)
}

/// Opens the null device under the numbers of those standard streams that are closed. The caller's
/// process has one thread.
///
/// # Errors
///
/// The same as for [`null`].
pub(crate) fn fill_streams() -> io::Result<()> {
    for number in (0..3).filter(|number| !is_open(*number)) {
        let null = null()?;
        // SAFETY: the number was free, so nothing owns it.
        if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Returns true if a call failed because there is no room for one more descriptor.
pub(crate) fn is_limit_met(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Returns true if [the limit](is_limit_met) is met, or there is no memory for one more.
pub(crate) fn none_left(error: &io::Error) -> bool {
    is_limit_met(error) || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

/// Returns what helps if there is [none left](none_left).
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            "Close what is not needed, or raise the limit: `ulimit -n`, `LimitNOFILE=` of systemd."
        }
        Some(libc::ENFILE) => "The whole system has too many open files: see `sysctl fs.file-max`.",
        _ => {
            "The kernel has no memory for it: see `free`, `sysctl net.ipv4.tcp_mem`, the cgroup's \
             limit."
        }
    }
}

/// Returns the open descriptors except the first three, in order.
pub(crate) fn open() -> io::Result<Vec<RawFd>> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let listed = || -> io::Result<Vec<Option<RawFd>>> {
        std::fs::read_dir("/proc/self/fd")?.map(|entry| entry.map(number)).collect()
    };
    let mut open: Vec<RawFd> = match listed() {
        // The list contains its own descriptor, which is closed by now.
        Ok(listed) => listed.into_iter().flatten().filter(|number| is_open(*number)).collect(),
        Err(_) => probe()?,
    };
    open.retain(|number| *number > 2);
    open.sort_unstable();
    Ok(open)
}

/// Returns the open descriptors without a look into `/proc`: asks for each number that there may
/// be.
fn probe() -> io::Result<Vec<RawFd>> {
    /// The highest number that a system allows by default (`fs.nr_open`).
    const HIGHEST: u64 = 1 << 20;
    const AT_ONCE: RawFd = 1024;
    let most = limits::descriptors().unwrap_or(HIGHEST).min(HIGHEST) as RawFd;
    let mut open = Vec::new();
    for first in (0..most).step_by(AT_ONCE as usize) {
        let numbers = first..most.min(first + AT_ONCE);
        let mut asked: Vec<_> =
            numbers.map(|fd| libc::pollfd { fd, events: 0, revents: 0 }).collect();
        // SAFETY: the list is valid, and its length is passed. The call does not wait.
        if unsafe { libc::poll(asked.as_mut_ptr(), asked.len() as libc::nfds_t, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        open.extend(asked.iter().filter(|it| it.revents & libc::POLLNVAL == 0).map(|it| it.fd));
    }
    Ok(open)
}

/// Returns true if the number is that of an open descriptor.
pub(in crate::sys) fn is_open(number: RawFd) -> bool {
    // SAFETY: the number is only given to the kernel, which knows whether it is open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(descriptor).is_ok()
}

/// Closes every descriptor but the first three and those in `kept`.
///
/// # Safety
///
/// No value that the caller uses later owns any of them.
pub(crate) unsafe fn close_all_but(mut kept: Vec<RawFd>) {
    kept.sort_unstable();
    let mut first = 3;
    for number in kept.into_iter().filter_map(|number| u32::try_from(number).ok()) {
        if number > first {
            // SAFETY: the caller's promise.
            unsafe { close_range(first, number - 1) };
        }
        first = first.max(number + 1);
    }
    // SAFETY: the caller's promise.
    unsafe { close_range(first, u32::MAX) };
}

/// # Safety
///
/// The same as for [`close_all_but`].
unsafe fn close_range(first: u32, last: u32) {
    // SAFETY: the caller's promise; the call touches no memory.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // A kernel or a sandbox without the call: this closes them one by one.
    let numbers = open().unwrap_or_default();
    for number in numbers.into_iter().filter(|it| (first..=last).contains(&it.cast_unsigned())) {
        // SAFETY: the caller's promise; for a closed number the kernel returns EBADF.
        unsafe { libc::close(number) };
    }
}

/// Borrows a descriptor that, according to the parent, was left open for this process.
///
/// # Safety
///
/// If the number is open, it stays open while the result is used. If it is not, the result is only
/// passed to the kernel, which returns an error.
pub(crate) unsafe fn inherited(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: not -1, as the callers have checked; the rest is the caller's promise.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Takes ownership of a descriptor that the parent has left open for this process.
///
/// # Safety
///
/// It is open, and nothing else in this process owns it.
pub(crate) unsafe fn take_inherited(number: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn open_descriptors_are_found_without_proc() {
        let (low, high) = (null().unwrap(), copy_high(null().unwrap().as_fd(), 1500).unwrap());
        let found = probe().unwrap();
        assert!(found.contains(&low.as_raw_fd()) && found.contains(&high.as_raw_fd()));
    }
}
