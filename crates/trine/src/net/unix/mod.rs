//! Unix sockets, with the names of [`std::os::unix::net`].

mod datagram;
mod listener;
mod room;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::{UnixIncoming, UnixListener};
pub use stream::{UCred, UnixStream};
