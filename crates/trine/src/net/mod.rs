//! Sockets, with std's names: whoever knows [`std::net`] knows them.
//!
//! A call that has to wait parks the coroutine it is called in, and its carrier goes on with others; on
//! a plain thread it blocks that thread. It ends when its task is cancelled or its time is up.

mod accept;
mod readiness;
mod tcp;
mod timeout;
mod unix;

pub use readiness::Readiness;
pub use tcp::{TcpListener, TcpStream};
pub use unix::{UCred, UnixDatagram, UnixIncoming, UnixListener, UnixStream};
