//! The back end that carriers wait with, chosen once at the first wait.

use std::fmt;
use std::sync::OnceLock;

use crate::config::{self, Reactor};
use crate::sys;
use crate::sys::io::uring::Ring;

/// The back end that the carriers of this program wait with, and the reason for it.
///
/// Displayed as `io_uring`, `epoll`, or `epoll: io_uring was refused (Operation not permitted …)`.
///
/// ```
/// let reactor = trine::reactor();
/// assert!(reactor.to_string().starts_with(&reactor.kind().to_string()));
/// ```
#[derive(Clone, Debug)]
pub struct ReactorInUse {
    kind: Reactor,
    refused: Option<String>,
}

impl ReactorInUse {
    /// Returns the back end.
    ///
    /// ```
    /// use trine::Reactor;
    ///
    /// assert!(matches!(trine::reactor().kind(), Reactor::IoUring | Reactor::Epoll));
    /// ```
    pub fn kind(&self) -> Reactor {
        self.kind
    }

    /// Returns the reason why the kernel has refused `io_uring`, if it was asked and has refused.
    ///
    /// ```
    /// if let Some(reason) = trine::reactor().refused() {
    ///     println!("io_uring was refused: {reason}");
    /// }
    /// ```
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl fmt::Display for ReactorInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refused {
            None => write!(f, "{}", self.kind),
            Some(why) => write!(f, "{}: io_uring was refused ({why})", self.kind),
        }
    }
}

/// Returns the back end that the carriers of this program wait with for descriptors. The first
/// call, or the first wait, decides.
///
/// ```
/// println!("waiting with {}", trine::reactor());
/// ```
pub fn reactor() -> &'static ReactorInUse {
    static IN_USE: OnceLock<ReactorInUse> = OnceLock::new();
    IN_USE.get_or_init(|| {
        let wanted = config::settings().reactor;
        if wanted == Some(Reactor::Epoll) {
            return ReactorInUse { kind: Reactor::Epoll, refused: None };
        }
        match Ring::new() {
            Ok(_) => ReactorInUse { kind: Reactor::IoUring, refused: None },
            Err(error) => {
                if wanted.is_some() {
                    sys::eprint(format_args!("trine: no io_uring ({error}); using epoll\n"));
                }
                ReactorInUse { kind: Reactor::Epoll, refused: Some(error.to_string()) }
            }
        }
    })
}
