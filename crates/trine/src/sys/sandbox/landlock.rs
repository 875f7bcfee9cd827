//! Landlock: a process permanently gives up the right to reach things by name.
//!
//! ```text
//!   ABI   Linux   adds
//!    1    5.13    files and directories; no memory or descriptors of processes outside
//!                 (`ptrace`, /proc/PID/mem)
//!    2    5.19    renaming between directories can be allowed
//!    3    6.2     truncate by name
//!    4    6.7     TCP
//!    5    6.10    ioctl of device files
//!    6    6.12    signals to processes outside, abstract Unix sockets
//!    9    7.1     Unix sockets by name
//! ```

use std::io;
use std::path::Path;
use std::ptr;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

/// The newest version of the interface that this file knows.
const NEWEST: ABI = ABI::V9;

/// The accesses that a rule allows to a file, or below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Reading files, listing directories.
    Read,
    /// Reading as above, and running programs.
    ReadAndRun,
    /// Reading, writing, making and removing all but device files; connecting to Unix sockets.
    ReadAndWrite,
}

/// Returns the version of Landlock that the kernel has.
///
/// # Errors
///
/// `ENOSYS`: not built in; `EOPNOTSUPP`: not started; others: refused by the caller's environment.
pub(crate) fn version() -> io::Result<u32> {
    const VERSION: u32 = 1;
    let none = ptr::null::<u8>();
    // SAFETY: with this flag the kernel is given no memory, and makes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// Explains why [`version`] found none, and how to get it.
pub(crate) fn explain_missing(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "the kernel has no Landlock: it is older than 5.13, or built without \
             CONFIG_SECURITY_LANDLOCK"
                .into()
        }
        Some(libc::EOPNOTSUPP) => {
            "Landlock is not in the kernel's `lsm=` list: start the kernel with `lsm=landlock,…`, \
             the present list (/sys/kernel/security/lsm) behind it"
                .into()
        }
        _ => format!(
            "Landlock is refused by what this program runs in, a container perhaps: {error}"
        ),
    }
}

/// Rules that are not in force yet.
pub(crate) struct Rules(RulesetCreated);

impl Rules {
    /// Makes rules that forbid every file except those that [`allow`](Self::allow) adds. With
    /// `files` false, they allow every file and forbid making device files. TCP stays only if `tcp`
    /// is true.
    ///
    /// Both kinds exclude processes, signals and abstract Unix sockets outside, as far as the
    /// kernel's version can.
    pub(crate) fn new(files: bool, tcp: bool) -> Result<Rules, RulesetError> {
        // A right that is not handled stays, except for `Refer`. Rules without any right are
        // refused.
        let devices = make_bitflags!(AccessFs::{MakeChar | MakeBlock | Refer});
        let handled = if files { AccessFs::from_all(NEWEST) } else { devices };
        let mut rules =
            Ruleset::default().handle_access(handled)?.scope(Scope::from_all(NEWEST))?;
        if !tcp {
            rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
        }
        Ok(Rules(rules.create()?))
    }

    /// Allows accesses to `path`, which is opened here, and below it.
    pub(crate) fn allow(self, path: &Path, allowed: Allowed) -> Result<Rules, String> {
        let devices = make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev});
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        self.add(
            path,
            match allowed {
                Allowed::Read => read,
                Allowed::ReadAndRun => read | AccessFs::Execute,
                Allowed::ReadAndWrite => AccessFs::from_write(NEWEST) & !devices | read,
            },
        )
    }

    /// Allows renaming between all directories.
    pub(crate) fn allow_renaming(self) -> Result<Rules, String> {
        self.add(Path::new("/"), AccessFs::Refer.into())
    }

    fn add(self, path: &Path, access: BitFlags<AccessFs>) -> Result<Rules, String> {
        let path = PathFd::new(path).map_err(|error| explain(&error))?;
        self.0.add_rule(PathBeneath::new(path, access)).map(Rules).map_err(|error| explain(&error))
    }

    /// Puts the rules into force for the calling thread and all that it starts. They also keep
    /// `exec` from granting more rights.
    pub(crate) fn enforce(self) -> Result<(), String> {
        self.0.restrict_self().map(drop).map_err(|error| explain(&error))
    }
}

/// Returns the innermost error, which holds the kernel's.
fn explain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
