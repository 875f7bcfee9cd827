//! Limits that the kernel holds a process to, set by the process itself.
//!
//! | what | counts | who goes beyond it sees |
//! |---|---|---|
//! | [`Data`](Resource::Data) | private memory that may be written to, touched or not: heap, threads' stacks, private mappings | `ENOMEM` |
//! | [`OpenFiles`](Resource::OpenFiles) | descriptors | `EMFILE` |
//! | [`FileSize`](Resource::FileSize) | the size that a file is brought to | SIGXFSZ, `EFBIG` |
//! | [`Core`](Resource::Core) | the size of a core file | no core file |
//!
//! For memory `RLIMIT_DATA`, not `RLIMIT_AS`: the latter counts address space that holds nothing, such as the
//! 64 MiB that the C library sets aside for each thread's heap, the program's own text, and shared
//! memory, so a program that uses 20 MiB needs a limit of hundreds.

use std::io;

use rustix::process::{self, Rlimit};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Data,
    OpenFiles,
    FileSize,
    Core,
}

impl Resource {
    fn of_kernel(self) -> process::Resource {
        match self {
            Resource::Data => process::Resource::Data,
            Resource::OpenFiles => process::Resource::Nofile,
            Resource::FileSize => process::Resource::Fsize,
            Resource::Core => process::Resource::Core,
        }
    }
}

/// Limits the calling process and its later children to `most`, for good.
///
/// # Errors
///
/// `PermissionDenied` if a lower limit is in force that the caller may not raise: [`most`].
pub(crate) fn set(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    Ok(process::setrlimit(resource.of_kernel(), limit)?)
}

/// The most that the calling process may ask for; `None` for as much as it likes.
pub(crate) fn most(resource: Resource) -> Option<u64> {
    process::getrlimit(resource.of_kernel()).maximum
}

/// Limits the calling process to the most that it may ask for.
pub(crate) fn raise(resource: Resource) -> io::Result<()> {
    let limit = process::getrlimit(resource.of_kernel());
    Ok(process::setrlimit(resource.of_kernel(), Rlimit { current: limit.maximum, ..limit })?)
}

/// Memory of the calling process that [`Data`](Resource::Data) counts, in bytes.
pub(crate) fn data_in_use() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Limits the calling process, between `fork` and `exec`: to so many bytes of [`Data`](Resource::Data), and to so
/// many seconds of processor time, at whose end it is sent SIGXCPU, and SIGKILL a second later.
///
/// Allocates nothing and takes no lock.
pub(crate) fn set_for_program(data: Option<u64>, seconds: Option<u64>) -> io::Result<()> {
    if let Some(data) = data {
        set(Resource::Data, data)?;
    }
    if let Some(seconds) = seconds {
        let limit = Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) };
        process::setrlimit(process::Resource::Cpu, limit)?;
    }
    Ok(())
}
