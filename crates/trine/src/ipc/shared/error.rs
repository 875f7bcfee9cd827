//! Why there is no shared memory.

use std::error::Error;
use std::fmt;
use std::io;

use crate::sys::limits;
use crate::sys::memory::sealed::Unfit;
use crate::sys::process::descriptors;

/// Memory could not be shared, or a descriptor is not the memory that it should be.
///
/// As an [`io::Error`], into which it turns by `?`, its kind is `InvalidInput` for a size that no memory has,
/// `InvalidData` for a descriptor that is not fit, else that of the system's error.
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedError {
    /// More bytes were asked for than an address space has.
    TooLarge,
    /// The system has refused to make memory of this size.
    NotMade {
        /// The size, in bytes.
        bytes: usize,
        /// What the system says.
        error: io::Error,
    },
    /// The system has refused a call on a descriptor.
    NotMapped(io::Error),
    /// The descriptor is not that of memory: it is a file, a socket, memory of huge pages.
    NotMemory,
    /// Others could still change the memory, or its size: it lacks a seal.
    NotSealed {
        /// The seal, by its name in `fcntl(2)`.
        missing: &'static str,
    },
    /// The memory has another size than the type.
    Size {
        /// The size that the type has, or of which the memory's has to be a multiple.
        expected: usize,
        /// The size of the memory.
        found: usize,
    },
    /// The memory holds something else: it was made for another type.
    Content,
    /// The descriptor by which a [`Mutex`](crate::ipc::Mutex) wakes those who wait is not that of a pipe.
    NotPipe,
}

impl SharedError {
    pub(in crate::ipc) fn of_new(bytes: usize) -> impl Fn(io::Error) -> SharedError {
        move |error| SharedError::NotMade { bytes, error }
    }

    /// What helps, where a limit was met.
    fn remedy(error: &io::Error) -> &'static str {
        match error.kind() {
            io::ErrorKind::FileTooLarge => {
                "; it is a file without a name, of at most the size that `ulimit -f` says"
            }
            io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => {
                "; its pages are allocated at once: free memory, or look at the memory limit of the control \
                 group, `ulimit -v`, vm.overcommit_memory and vm.max_map_count"
            }
            io::ErrorKind::ResourceBusy => {
                "; some of its pages are still written to, by the kernel or a forked process"
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
                "the descriptor is not that of shared memory: it has to be one of memfd_create, of \
                 ordinary pages",
            ),
            SharedError::NotSealed { missing } => write!(
                f,
                "the memory lacks {missing}, so that others could change it meanwhile; whoever makes it adds its seals \
                 (fcntl F_ADD_SEALS) before it is sent"
            ),
            SharedError::Size { expected, found } => {
                write!(f, "the memory has {found} bytes, which does not fit a type of {expected}")
            }
            SharedError::NotPipe => {
                f.write_str("the second descriptor of a shared mutex has to be that of its pipe")
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
