//! The owner of a file or kernel object that has a name, checked before it is used.
//!
//! Names are there for all users. A program that opens the name it has chosen may find an object
//! that another user has put there: to read what it sends, to keep it waiting, or, where the object
//! is mapped, to end it by SIGBUS.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{self, Stat};
use rustix::process::geteuid;

/// The permissions of other users that matter: to read and to write.
const OTHERS: u32 = 0o066;

/// A name's object that may be refused for its owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    /// The attempted action: "open the semaphore /x".
    pub(crate) what: &'a str,
    /// The command that removes the object.
    pub(crate) removal: &'a str,
    /// The call that accepts it as it is.
    pub(crate) acceptance: &'a str,
    /// The mode that the caller would have created it with, if it would.
    pub(crate) mode: Option<u32>,
}

impl Named<'_> {
    /// Checks that the object belongs to this process's user or to root, and that no other users
    /// have permissions that the caller would not have given.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` with the owner or mode; the kernel's.
    pub(crate) fn check(&self, descriptor: impl AsFd) -> io::Result<()> {
        self.check_found(&fs::fstat(descriptor)?)
    }

    fn check_found(&self, found: &Stat) -> io::Result<()> {
        let (owner, own) = (found.st_uid, geteuid().as_raw());
        let mode = found.st_mode & 0o777;
        let why = if owner != own && owner != 0 {
            format!("it belongs to user {owner}, and this process runs as user {own}")
        } else if self.mode.is_some_and(|asked| mode & OTHERS & !asked != 0) {
            let asked = self.mode.unwrap_or_default() & 0o777;
            format!(
                "it exists with mode {mode:04o}, which lets other users in, and {asked:04o} was \
                 asked for"
            )
        } else {
            return Ok(());
        };
        let Named { what, removal, acceptance, .. } = self;
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "cannot {what}: {why}. Another program may have taken the name on purpose: remove \
                 it (`{removal}`), use another name, or accept it with `{acceptance}`"
            ),
        ))
    }
}
