//! Settings of the runtime: from the program, else from the environment, else from the machine.
//!
//! They are read once, at their first use, and then fixed.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The usual size of a coroutine's stack, in bytes, above its guard.
pub(crate) const DEFAULT_STACK_SIZE: usize = 256 * 1024;
/// The smallest stack that a coroutine gets.
pub(crate) const MIN_STACK_SIZE: usize = 16 * 1024;
/// The largest stack of a coroutine: no address space holds many of them.
pub(crate) const MAX_STACK_SIZE: usize = 1 << 40;

/// The most carriers: each is a thread, and more than the number of cores are of no use.
const MAX_CARRIERS: usize = 4096;

/// The settings of the runtime; see [`configure`].
///
/// ```
/// trine::configure(|config| {
///     config.carriers(2).hogs(trine::HogWatch::Trace);
/// })?;
/// # Ok::<(), trine::AlreadyStarted>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Config {
    carriers: Option<NonZeroUsize>,
    stack_size: Option<usize>,
    mprotect_guards: Option<bool>,
    hogs: Option<HogWatch>,
    reactor: Option<Reactor>,
}

/// The kernel interface by which carriers wait for descriptors; see [`reactor`](crate::reactor()).
///
/// ```
/// use trine::Reactor;
///
/// trine::configure(|config| _ = config.reactor(Reactor::Epoll))?;
/// assert_eq!(Reactor::Epoll.to_string(), "epoll");
/// # Ok::<(), trine::AlreadyStarted>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reactor {
    /// `io_uring`, one ring for each carrier. Needs Linux 6.1 and the permission to use it, which
    /// containers often lack.
    IoUring,
    /// `epoll`, one for each carrier, and a pool of threads for files.
    Epoll,
}

impl fmt::Display for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reactor::IoUring => "io_uring",
            Reactor::Epoll => "epoll",
        })
    }
}

/// The treatment of coroutines that hold their carrier for over 10 ms; see
/// [`coroutine::hogs`](crate::coroutine::hogs).
///
/// ```
/// trine::configure(|config| _ = config.hogs(trine::HogWatch::Off))?;
/// # Ok::<(), trine::AlreadyStarted>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HogWatch {
    /// They are not detected.
    Off,
    /// They are counted, and other carriers take over the tasks of their carrier that have not
    /// begun.
    Count,
    /// They are counted as by `Count`. A coroutine that has computed or blocked its thread for a
    /// second is also reported on standard error, in one line, at most one a minute.
    ///
    /// The line names the coroutine, the time since when, and the system call that blocks. Time for
    /// which the process was stopped, or the thread got no core, does not count. Needs `/proc` for
    /// coroutines that block.
    #[default]
    Warn,
    /// They are counted as by `Count`, and reported on standard error with their stack, at most one
    /// a second.
    ///
    /// To take the stack, the thread is interrupted with SIGURG, unless the program has a handler
    /// for it. A system call that the kernel does not restart (`poll`, `epoll_wait`, …: see
    /// signal(7)) then ends with `EINTR`.
    Trace,
}

impl Config {
    /// Sets the number of threads that carry coroutines, at most 4096. Default: `TRINE_CARRIERS`,
    /// else one per core.
    ///
    /// # Panics
    ///
    /// If `carriers` is 0 or more than 4096.
    pub fn carriers(&mut self, carriers: usize) -> &mut Config {
        assert!(carriers <= MAX_CARRIERS, "{carriers} carriers: at most {MAX_CARRIERS}");
        let carriers = NonZeroUsize::new(carriers);
        self.carriers = Some(carriers.expect("coroutines need at least one carrier"));
        self
    }

    /// Sets the size in bytes of coroutine stacks whose builder sets none.
    ///
    /// It is rounded up to at least 16 KiB and to whole pages. It is address space only: a page
    /// becomes memory when it is touched. A guard of 64 KiB or little more lies below each stack,
    /// in addition. Default: `TRINE_STACK_SIZE`, with an optional `K` or `M`, else 256 KiB.
    ///
    /// ```
    /// trine::configure(|config| _ = config.stack_size(1 << 20))?; // a megabyte
    /// # Ok::<(), trine::AlreadyStarted>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `bytes` is more than 1 TiB.
    #[track_caller]
    pub fn stack_size(&mut self, bytes: usize) -> &mut Config {
        refuse_absurd_stack(bytes);
        self.stack_size = Some(bytes);
        self
    }

    /// Makes guards with `mprotect` even where the kernel has guard markers. Such a guard
    /// costs two of the `vm.max_map_count` mappings. Default: `TRINE_GUARD=mprotect`, else `false`.
    ///
    /// ```
    /// trine::configure(|config| _ = config.mprotect_guards(true))?;
    /// # Ok::<(), trine::AlreadyStarted>(())
    /// ```
    pub fn mprotect_guards(&mut self, always: bool) -> &mut Config {
        self.mprotect_guards = Some(always);
        self
    }

    /// Sets the treatment of coroutines that hold their carrier for long. Default: `TRINE_HOGS`
    /// (`off`, `count`, `warn` or `trace`), else [`HogWatch::Warn`].
    pub fn hogs(&mut self, watch: HogWatch) -> &mut Config {
        self.hogs = Some(watch);
        self
    }

    /// Sets the kernel interface by which carriers wait for descriptors. Default: `TRINE_REACTOR`
    /// (`uring` or `epoll`), else `io_uring` where the kernel has and allows it. Without
    /// `io_uring`, carriers use `epoll` whatever is set.
    ///
    /// ```
    /// trine::configure(|config| _ = config.reactor(trine::Reactor::Epoll))?;
    /// assert_eq!(trine::reactor().kind(), trine::Reactor::Epoll);
    /// # Ok::<(), trine::AlreadyStarted>(())
    /// ```
    pub fn reactor(&mut self, reactor: Reactor) -> &mut Config {
        self.reactor = Some(reactor);
        self
    }
}

/// The error of a [`configure`] that came too late: the settings are in use.
///
/// ```
/// trine::coroutine::spawn(|| ()).join()?;
/// assert_eq!(trine::configure(|_| ()), Err(trine::AlreadyStarted));
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyStarted;

impl fmt::Display for AlreadyStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings are in use already: call trine::configure before the first spawn")
    }
}

impl std::error::Error for AlreadyStarted {}

/// The settings in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) carriers: usize,
    /// Not rounded yet.
    pub(crate) stack_size: usize,
    pub(crate) mprotect_guards: bool,
    pub(crate) hogs: HogWatch,
    /// The reactor that was chosen, if any.
    pub(crate) reactor: Option<Reactor>,
}

/// The program's choices; `None` once they are in use.
static CHOSEN: Mutex<Option<Config>> = Mutex::new(Some(Config {
    carriers: None,
    stack_size: None,
    mprotect_guards: None,
    hogs: None,
    reactor: None,
}));
static IN_USE: OnceLock<Settings> = OnceLock::new();

/// Sets what the environment and the machine would decide otherwise. A later call adds to an
/// earlier one.
///
/// ```
/// trine::configure(|config| {
///     config.carriers(2).stack_size(512 * 1024);
/// })?;
/// # Ok::<(), trine::AlreadyStarted>(())
/// ```
///
/// # Errors
///
/// [`AlreadyStarted`] after the first coroutine was spawned.
pub fn configure(set: impl FnOnce(&mut Config)) -> Result<(), AlreadyStarted> {
    // Not under the lock: a spawn in `set` fixes the settings, which takes the lock.
    let mut config = chosen().clone().ok_or(AlreadyStarted)?;
    set(&mut config);
    *chosen().as_mut().ok_or(AlreadyStarted)? = config;
    Ok(())
}

fn chosen() -> MutexGuard<'static, Option<Config>> {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the settings, fixed by the first call.
pub(crate) fn settings() -> &'static Settings {
    IN_USE.get_or_init(|| {
        let config = chosen().take().unwrap_or_default();
        let carriers = config
            .carriers
            .or_else(|| variable("TRINE_CARRIERS", "a number from 1 to 4096", parse_carriers));
        let stack_size = config.stack_size.or_else(|| {
            variable(
                "TRINE_STACK_SIZE",
                "a size up to 1 TiB, such as 262144, 256K or 1M",
                parse_size,
            )
        });
        let mprotect_guards = config.mprotect_guards.or_else(|| {
            variable("TRINE_GUARD", "`mprotect` or `marker`", |text| match text {
                "mprotect" => Some(true),
                "marker" => Some(false),
                _ => None,
            })
        });
        let hogs = config.hogs.or_else(|| {
            variable("TRINE_HOGS", "`off`, `count`, `warn` or `trace`", |text| match text {
                "off" => Some(HogWatch::Off),
                "count" => Some(HogWatch::Count),
                "warn" => Some(HogWatch::Warn),
                "trace" => Some(HogWatch::Trace),
                _ => None,
            })
        });
        let reactor = config.reactor.or_else(|| {
            variable("TRINE_REACTOR", "`uring` or `epoll`", |text| match text {
                "uring" => Some(Reactor::IoUring),
                "epoll" => Some(Reactor::Epoll),
                _ => None,
            })
        });
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Settings {
            carriers: carriers.map_or_else(cores, NonZeroUsize::get),
            stack_size: stack_size.unwrap_or(DEFAULT_STACK_SIZE),
            mprotect_guards: mprotect_guards.unwrap_or(false),
            hogs: hogs.unwrap_or_default(),
            reactor,
        }
    })
}

/// Reads an environment variable. A value that cannot be parsed is reported and ignored.
fn variable<T>(name: &str, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let value = std::env::var_os(name)?;
    let parsed = value.to_str().and_then(parse);
    if parsed.is_none() {
        // Not `eprintln!`, which panics where standard error cannot be written.
        let _ = writeln!(io::stderr(), "trine: {name}={value:?} is ignored: it takes {wanted}");
    }
    parsed
}

fn parse_carriers(text: &str) -> Option<NonZeroUsize> {
    text.parse().ok().filter(|carriers: &NonZeroUsize| carriers.get() <= MAX_CARRIERS)
}

fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1024),
        b'm' | b'M' => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    };
    let bytes = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    (bytes <= MAX_STACK_SIZE).then_some(bytes)
}

/// Panics if no address space holds stacks of this size.
#[track_caller]
pub(crate) fn refuse_absurd_stack(bytes: usize) {
    assert!(
        bytes <= MAX_STACK_SIZE,
        "a stack of {bytes} bytes is beyond the address space: at most 1 TiB"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_settings_are_refused_with_the_limit() {
        let refusal = |set: fn(&mut Config)| {
            let payload = std::panic::catch_unwind(|| set(&mut Config::default())).unwrap_err();
            let text = payload.downcast_ref::<String>().cloned();
            text.unwrap_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).to_owned())
        };
        assert!(refusal(|config| _ = config.stack_size(usize::MAX)).contains("at most 1 TiB"));
        assert!(refusal(|config| _ = config.carriers(4097)).contains("at most 4096"));
        assert!(refusal(|config| _ = config.carriers(0)).contains("at least one carrier"));
    }

    #[test]
    fn sizes_have_units_and_nonsense_is_none() {
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("256K"), Some(256 * 1024));
        assert_eq!(parse_size("2m"), Some(2 * 1024 * 1024));
        for nonsense in ["", "K", "-1", "1.5M", "18446744073709551615M", "ten"] {
            assert_eq!(parse_size(nonsense), None, "{nonsense}");
        }
    }
}
