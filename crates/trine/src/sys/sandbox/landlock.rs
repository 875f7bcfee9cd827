//! Landlock: what a process may reach by name, taken away by the process itself and for good.
//!
//! ```text
//!   ABI   Linux   adds
//!    1    5.13    files and directories; no memory or descriptors of processes outside (`ptrace`, /proc/PID/mem)
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

/// The newest version of the interface that is known here.
const NEWEST: ABI = ABI::V9;

/// What may be done below a path, or with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Reading files, listing directories.
    Read,
    /// These, and running programs.
    ReadAndRun,
    /// Reading, writing, making and removing all but device files; connecting to Unix sockets.
    ReadAndWrite,
}

/// Which version of Landlock the kernel has.
///
/// # Errors
///
/// `ENOSYS`: not built in; `EOPNOTSUPP`: not started; others: refused by what the caller runs in.
pub(crate) fn version() -> io::Result<u32> {
    const VERSION: u32 = 1;
    let none = ptr::null::<u8>();
    // SAFETY: with this flag the kernel is given no memory, and makes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// Why [`version`] found none, and what to do.
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

/// Rules on their way into the kernel.
pub(crate) struct Rules(RulesetCreated);

impl Rules {
    /// Rules under which no file can be reached but by [`allow`](Self::allow); or, with `files` false, any
    /// file, and no device file can be made. `tcp`: whether TCP stays. Both without processes,
    /// signals and abstract Unix sockets outside, as far as the kernel knows how.
    pub(crate) fn new(files: bool, tcp: bool) -> Result<Rules, RulesetError> {
        // A right that is not handled stays, but for `Refer`; and rules without any right are refused.
        let devices = make_bitflags!(AccessFs::{MakeChar | MakeBlock | Refer});
        let handled = if files { AccessFs::from_all(NEWEST) } else { devices };
        let mut rules =
            Ruleset::default().handle_access(handled)?.scope(Scope::from_all(NEWEST))?;
        if !tcp {
            rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
        }
        Ok(Rules(rules.create()?))
    }

    /// Allows something below `path`, which is opened here.
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

    /// Puts them into force for the calling thread and all that it starts; takes the way back to more
    /// rights by `exec`, too.
    pub(crate) fn enforce(self) -> Result<(), String> {
        self.0.restrict_self().map(drop).map_err(|error| explain(&error))
    }
}

/// The last words of an error of the crate, which holds the kernel's.
fn explain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
