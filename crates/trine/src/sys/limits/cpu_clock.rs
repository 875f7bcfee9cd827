//! Processor time of processes, read and limited by timers.
//!
//! A timer belongs to the process that made it: children made by `fork` do not have it, and it ends
//! at `exec`.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The signal to a process whose processor time is used up.
pub(crate) const SIGXCPU: i32 = libc::SIGXCPU;

/// Returns the processor time that the calling process has used, all its threads together.
pub(crate) fn own() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or_default()
}

/// Returns the processor time that a process has used, also if it has ended and was not reaped.
pub(crate) fn of(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: the library writes one number.
    let result = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if result == 0 { read(clock) } else { None }
}

fn read(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills `time`, or refuses the clock.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).ok()?))
}

/// Timers that send the calling process SIGXCPU when its processor time has reached one value, and
/// SIGKILL at a later one: the first can be handled or ignored, the second cannot.
#[derive(Debug)]
pub(crate) struct Timers {
    warn: libc::timer_t,
    kill: libc::timer_t,
}

// SAFETY: a timer is a number to the kernel, and belongs to the process, not to a thread.
unsafe impl Send for Timers {}
// SAFETY: as above; several threads may make its calls at once.
unsafe impl Sync for Timers {}

impl Timers {
    pub(crate) fn new() -> io::Result<Timers> {
        Ok(Timers { warn: create(libc::SIGXCPU)?, kill: create(libc::SIGKILL)? })
    }

    /// Sends the signals when [`own`] has reached these values.
    pub(crate) fn arm(&self, warn_at: Duration, kill_at: Duration) {
        set(self.warn, warn_at);
        set(self.kill, kill_at);
    }

    /// Sends no signals any more.
    pub(crate) fn disarm(&self) {
        set(self.warn, Duration::ZERO);
        set(self.kill, Duration::ZERO);
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        for timer in [self.warn, self.kill] {
            // SAFETY: made by `create`, deleted once.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

fn create(signal: i32) -> io::Result<libc::timer_t> {
    // SAFETY: all-zero is a valid `sigevent`.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = signal;
    let mut timer = MaybeUninit::uninit();
    // SAFETY: `event` is valid; `timer` is written before it is read.
    unsafe {
        match libc::timer_create(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut event, timer.as_mut_ptr())
        {
            0 => Ok(timer.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn set(timer: libc::timer_t, at: Duration) {
    let seconds = libc::time_t::try_from(at.as_secs()).unwrap_or(libc::time_t::MAX);
    let value = libc::timespec { tv_sec: seconds, tv_nsec: at.subsec_nanos().into() };
    let once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let when = libc::itimerspec { it_interval: once, it_value: value };
    // SAFETY: the timer exists and the moment is valid, so the call cannot fail.
    unsafe {
        libc::timer_settime(timer, libc::TIMER_ABSTIME, &raw const when, std::ptr::null_mut())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_dead_child_is_known_until_its_status_is_taken() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // SAFETY: all-zero is a valid `siginfo_t`; the call leaves the status to be reaped.
        unsafe {
            let mut info = MaybeUninit::zeroed().assume_init();
            let options = libc::WEXITED | libc::WNOWAIT;
            assert_eq!(libc::waitid(libc::P_PID, child.id(), &raw mut info, options), 0);
        }
        assert!(of(child.id()).is_some_and(|time| !time.is_zero()));
        child.wait().unwrap();
        assert_eq!(of(child.id()), None);
    }
}
