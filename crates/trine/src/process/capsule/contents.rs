//! The file format of a capsule: a line of text, then the contents in the postcard format.
//!
//! The line has the version of the format, so that a program of another version refuses the file
//! and does not misread it.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::panic::Location;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::process::task::function::{self, Function};
use crate::sys::memory::sealed::Written;
use crate::sys::process::{current, image};
use crate::task::{Cause, TaskError};

/// The first bytes of each file.
const MAGIC: &[u8] = b"trine capsule 1\n";

/// Everything that a capsule holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::process) struct Contents {
    pub(in crate::process) program: Program,
    /// The settings of the pool, encoded: see `settings.rs`.
    pub(in crate::process) settings: Vec<u8>,
    pub(in crate::process) call: Call,
    pub(in crate::process) end: End,
}

/// The program that the task belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::process) struct Program {
    pub(in crate::process) path: OsString,
    /// The build of the program; a function's offset means nothing in another one.
    pub(in crate::process) fingerprint: u64,
    pub(in crate::process) arguments: Vec<OsString>,
    pub(in crate::process) directory: OsString,
    pub(in crate::process) environment: Vec<(OsString, OsString)>,
}

/// The task as it crossed to its worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::process) struct Call {
    pub(in crate::process) function: Function,
    /// Offset of the `Location` at which the task was spawned, if it lies in the image.
    pub(in crate::process) location: Option<u64>,
    /// The name of the task.
    pub(in crate::process) name: Option<String>,
    /// The time that it might run.
    pub(in crate::process) limit: Option<Duration>,
    /// The encoded argument, or the reason why it is not here.
    pub(in crate::process) argument: Result<Argument, String>,
}

/// An argument that can be sent again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::process) struct Argument {
    pub(in crate::process) bytes: Vec<u8>,
    /// The contents of the sealed memory that belongs to it.
    pub(in crate::process) memories: Vec<Vec<u8>>,
}

/// The end of the task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::process) struct End {
    /// The task's description: its number, name and place.
    pub(in crate::process) task: String,
    pub(in crate::process) cause: String,
    pub(in crate::process) backtrace: String,
    /// The number of the run that failed last.
    pub(in crate::process) attempt: u32,
    pub(in crate::process) stdout: Vec<u8>,
    pub(in crate::process) stderr: Vec<u8>,
    /// Seconds since 1970.
    pub(in crate::process) time: u64,
}

impl Call {
    /// Returns the place at which the task was spawned, in a process of the same build.
    #[track_caller]
    pub(in crate::process) fn place(&self) -> &'static Location<'static> {
        // SAFETY: a replay has compared the fingerprints: the same build recorded the offset.
        let place = self.location.and_then(|offset| unsafe { function::location_at(offset) });
        place.unwrap_or_else(|| Location::caller())
    }
}

impl Argument {
    /// Returns the bytes, and the descriptors that belong to them, made anew.
    ///
    /// # Errors
    ///
    /// There is no memory for them.
    pub(in crate::process) fn unpack(self) -> Result<(Vec<u8>, Vec<OwnedFd>), String> {
        let make = |memory: Vec<u8>| {
            let mut written = Written::new()?;
            written.write(&memory)?;
            written.seal()?;
            Ok(written.into_descriptor())
        };
        let made: io::Result<Vec<OwnedFd>> = self.memories.into_iter().map(make).collect();
        let made = made.map_err(|error| format!("no memory for the argument: {error}"))?;
        Ok((self.bytes, made))
    }
}

impl Program {
    /// Describes the calling process.
    pub(super) fn current() -> Program {
        Program {
            path: env::current_exe().unwrap_or_default().into(),
            fingerprint: image::fingerprint(),
            arguments: env::args_os().skip(1).collect(),
            directory: env::current_dir().unwrap_or_default().into(),
            environment: env::vars_os().collect(),
        }
    }
}

impl End {
    /// Describes the end of a task. Looks up the names of a panic's backtrace, which takes
    /// milliseconds.
    pub(super) fn of(error: &TaskError) -> End {
        let backtrace = match error.cause() {
            Cause::Panicked { backtrace, .. } => backtrace.to_string(),
            _ => String::new(),
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        End {
            task: error.task().map_or_else(|| "task".into(), ToString::to_string),
            cause: error.cause().to_string(),
            backtrace,
            attempt: error.attempt(),
            stdout: error.stdout().to_owned(),
            stderr: error.stderr().to_owned(),
            time: time.as_secs(),
        }
    }
}

impl Contents {
    /// Encodes the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, MAGIC.to_vec()).expect("strings, bytes and numbers")
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is another user's, or is no capsule of this version.
    pub(in crate::process) fn read(path: &Path) -> io::Result<Contents> {
        let mut bytes = Vec::new();
        let mut file = File::open(path)?;
        check_owner(&file)?;
        file.read_to_end(&mut bytes)?;
        let refused = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let Some(body) = bytes.strip_prefix(MAGIC) else {
            return Err(refused(
                "it is no capsule of this version of trine; replay it with the version that the \
                 program was built with",
            ));
        };
        postcard::from_bytes(body).map_err(|_| refused("it is a capsule, but cut off or changed"))
    }
}

/// Makes sure that only this user and root can have written the file: it says which program runs
/// with which bytes.
///
/// # Errors
///
/// `PermissionDenied` with the reason.
fn check_owner(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let (owner, own) = (found.uid(), current::effective_user());
    let reason = if owner != own && owner != 0 {
        format!("it belongs to user {owner}, and this process runs as user {own}")
    } else if found.mode() & 0o022 != 0 {
        format!("others may have written it: its mode is {:04o}", found.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}
