//! Errors of shared memory.

use std::error::Error;
use std::fmt;
use std::io;

use crate::sys::limits;
use crate::sys::memory::sealed::Unfit;
use crate::sys::process::descriptors;

/// The reason why memory could not be shared, or why a descriptor is not the expected memory.
///
/// It converts into an [`io::Error`] with `?`. Its kind is `InvalidInput` for an impossible size,
/// `InvalidData` for an unfit descriptor, and else that of the system's error.
///
/// ```
/// use trine::ipc::{Shared, SharedError};
///
/// let file = std::fs::File::open("/dev/null")?;
/// let error = Shared::<[u8]>::try_from(std::os::fd::OwnedFd::from(file)).unwrap_err();
/// assert!(matches!(error, SharedError::NotMemory));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedError {
    /// The requested size exceeds the address space.
    TooLarge,
    /// The system could not make memory of this size.
    NotMade {
        /// Size in bytes.
        bytes: usize,
        /// The system's error.
        error: io::Error,
    },
    /// The system has refused a call on a descriptor.
    NotMapped(io::Error),
    /// The descriptor is not one of memory, but of a file, a socket, or memory of huge pages.
    NotMemory,
    /// Other processes could still change the memory or its size, because it lacks a seal.
    NotSealed {
        /// Name of the seal in `fcntl(2)`.
        missing: &'static str,
    },
    /// The memory's size does not fit the type.
    Size {
        /// Size of the type, or of its elements, of which the memory's size must be a multiple.
        expected: usize,
        /// Size of the memory.
        found: usize,
    },
    /// The memory was made for another type.
    Content,
    /// The descriptor by which a [`Mutex`](crate::ipc::Mutex) wakes its waiters is not one of a
    /// pipe.
    NotPipe,
}

impl SharedError {
    pub(in crate::ipc) fn of_new(bytes: usize) -> impl Fn(io::Error) -> SharedError {
        move |error| SharedError::NotMade { bytes, error }
    }

    /// Returns the remedy if a limit was reached.
    fn remedy(error: &io::Error) -> &'static str {
        match error.kind() {
            io::ErrorKind::StorageFull => {
                "; its pages are allocated at once: free memory, or check vm.overcommit_memory"
            }
            io::ErrorKind::ResourceBusy => {
                "; the kernel or a forked process still writes to some of its pages"
            }
            _ => "",
        }
    }
}

impl From<Unfit> for SharedError {
    fn from(unfit: Unfit) -> SharedError {
        match unfit {
            Unfit::NotMemory => SharedError::NotMemory,
            Unfit::Unsealed(missing) => SharedError::NotSealed { missing },
            Unfit::System(error) => SharedError::NotMapped(error),
        }
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SharedError::TooLarge => f.write_str(
                "shared memory of that many elements has more bytes than there are addresses",
            ),
            SharedError::NotMade { bytes, error }
                if matches!(
                    error.kind(),
                    io::ErrorKind::FileTooLarge | io::ErrorKind::OutOfMemory
                ) =>
            {
                let what = format!("shared memory of {bytes} bytes");
                f.write_str(&limits::explain_no_memory(&what, *bytes as u64, error))
            }
            SharedError::NotMade { bytes, error } if descriptors::is_limit_met(error) => f
                .write_str(&limits::explain_missing(
                    &format!("shared memory of {bytes} bytes"),
                    error,
                )),
            SharedError::NotMade { bytes, error } => {
                let remedy = SharedError::remedy(error);
                write!(f, "no shared memory of {bytes} bytes: {error}{remedy}")
            }
            SharedError::NotMapped(error) => {
                f.write_str(&limits::explain_missing("use of the shared memory", error))
            }
            SharedError::NotMemory => f.write_str(
                "the descriptor is not one of shared memory: it must come from memfd_create, with \
                 ordinary pages",
            ),
            SharedError::NotSealed { missing } => write!(
                f,
                "the memory lacks {missing}, so other processes could change it; its creator must \
                 add its seals (fcntl F_ADD_SEALS) before sending it"
            ),
            SharedError::Size { expected, found } => {
                write!(f, "the memory has {found} bytes, which does not fit a type of {expected}")
            }
            SharedError::NotPipe => {
                f.write_str("the second descriptor of a shared mutex must be that of its pipe")
            }
            SharedError::Content => {
                f.write_str("the memory was made for another type, or by another version of it")
            }
        }
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SharedError::NotMade { error, .. } | SharedError::NotMapped(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SharedError> for io::Error {
    fn from(error: SharedError) -> io::Error {
        let kind = match &error {
            SharedError::TooLarge => io::ErrorKind::InvalidInput,
            SharedError::NotMade { error, .. } | SharedError::NotMapped(error) => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
