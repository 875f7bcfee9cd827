//! Resource limits of the calling process.
//!
//! | resource | counts | beyond it |
//! |---|---|---|
//! | [`Data`](Resource::Data) | private writable memory, touched or not: heap, threads' stacks, private mappings | `ENOMEM` |
//! | [`OpenFiles`](Resource::OpenFiles) | descriptors | `EMFILE` |
//! | [`FileSize`](Resource::FileSize) | the size that a file is brought to | SIGXFSZ, `EFBIG` |
//! | [`Core`](Resource::Core) | the size of a core file | no core file |
//!
//! Memory is limited by `RLIMIT_DATA`, not by `RLIMIT_AS`. The latter counts address space that
//! holds nothing, such as the 64 MiB that the C library sets aside for each thread's heap, the
//! program's own text, and shared memory. So a program that uses 20 MiB needs a limit of hundreds.

use std::io;

use rustix::process::{self, Rlimit};

/// A limited resource.
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

/// Limits the calling process and its later children to `most`, permanently.
///
/// # Errors
///
/// `PermissionDenied` if a lower limit is in force that the caller may not raise: [`most`].
pub(crate) fn set(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    Ok(process::setrlimit(resource.of_kernel(), limit)?)
}

/// Returns the highest limit that the calling process may set; `None` if there is none.
pub(crate) fn most(resource: Resource) -> Option<u64> {
    finite(get(resource.of_kernel()).ok()?.rlim_max)
}

/// Raises the limit of the calling process to the highest that it may set.
pub(crate) fn raise(resource: Resource) -> io::Result<()> {
    let most = finite(get(resource.of_kernel())?.rlim_max);
    Ok(process::setrlimit(resource.of_kernel(), Rlimit { current: most, maximum: most })?)
}

/// Returns the limits of the calling process.
///
/// Not rustix's function, whose result is undefined where the kernel refuses the call, as in a
/// sandbox.
fn get(resource: process::Resource) -> io::Result<libc::rlimit> {
    get_number(resource as u32)
}

fn get_number(number: u32) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes a structure of that type.
    match unsafe { libc::getrlimit(number, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

fn finite(limit: libc::rlim_t) -> Option<u64> {
    (limit != libc::RLIM_INFINITY).then_some(limit)
}

/// Returns how many descriptors this process may have open; `None` if there is no limit. The least
/// that a system allows by default, if the kernel does not answer.
pub(crate) fn descriptors() -> Option<u64> {
    const DEFAULT: u64 = 1024;
    get(process::Resource::Nofile).map_or(Some(DEFAULT), |limit| finite(limit.rlim_cur))
}

/// Returns how many bytes a file of this process may have; `None` if there is no limit.
pub(in crate::sys) fn file_size() -> Option<u64> {
    finite(get(process::Resource::Fsize).ok()?.rlim_cur)
}

/// Returns true if this process may open one more descriptor.
pub(in crate::sys) fn has_descriptor_left() -> bool {
    // Opens a directory that always exists.
    std::fs::File::open("/").is_ok()
}

/// Returns how many processes and threads this user may have; `None` if there is no limit.
pub(super) fn processes() -> Option<u64> {
    finite(get(process::Resource::Nproc).ok()?.rlim_cur)
}

/// Returns how large the first thread's stack may grow, in bytes; `None` if there is no limit.
pub(crate) fn stack() -> Option<u64> {
    finite(get(process::Resource::Stack).ok()?.rlim_cur)
}

/// Returns how many bytes the message queues of this user may take; `None` if there is no limit.
pub(in crate::sys) fn message_queue_bytes() -> Option<u64> {
    finite(get_number(libc::RLIMIT_MSGQUEUE).ok()?.rlim_cur)
}

/// Returns how much memory of the calling process [`Data`](Resource::Data) counts, in bytes.
pub(crate) fn data_in_use() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Limits the calling process between `fork` and `exec`: to `data` bytes of
/// [`Data`](Resource::Data), and to `seconds` of processor time. At the end of that time the kernel
/// sends SIGXCPU, and SIGKILL a second later.
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
