//! Unix sockets, with the names and meanings of [`std::os::unix::net`].
//!
//! | file | contents |
//! |---|---|
//! | `stream.rs` | [`UnixStream`], [`UCred`] |
//! | `listener.rs` | [`UnixListener`], [`UnixIncoming`] |
//! | `datagram.rs` | [`UnixDatagram`] |
//! | `room.rs` | waits for room in another socket's queue |

pub(super) mod datagram;
mod listener;
mod room;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::{UnixIncoming, UnixListener};
pub use stream::{UCred, UnixStream};
