//! Sockets, with std's names: whoever knows [`std::net`] knows them.
//!
//! A call that has to wait parks the coroutine it is called in, and its carrier goes on with others; on
//! a plain thread it blocks that thread. It ends when its task is cancelled or its time is up, with
//! an error that holds an [`Interrupted`](crate::Interrupted).
//!
//! ```
//! use std::io::{Read, Write};
//! use trine::coroutine;
//! use trine::net::{TcpListener, TcpStream};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let server = coroutine::spawn(move || {
//!     for stream in listener.incoming() {
//!         let Ok(stream) = stream else { return };
//!         // One coroutine for each connection; nobody waits for its end.
//!         drop(coroutine::spawn(move || std::io::copy(&mut &stream, &mut &stream)));
//!     }
//! });
//!
//! let mut stream = TcpStream::connect(address)?;
//! stream.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! stream.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//!
//! server.cancel(); // `accept` ends, and with it the loop
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What differs from std
//!
//! | | std | here |
//! |---|---|---|
//! | `set_nonblocking` | there | missing: the sockets never block the carrier, the calls always wait |
//! | a read or write whose timeout is over | `WouldBlock` | `TimedOut` |
//! | timeouts and `try_clone` | one timeout for all clones | each clone has its own, at first the same |
//! | a read into an empty buffer | waits until there is something to read | `Ok(0)` at once |
//! | `accept` without a free descriptor | an error | pauses until there is one, and says so once on standard error |
//! | [`Incoming`] | never ends | ends when its task is cancelled or its time is up |
//! | names, as in `connect("example.com:80")` | block the thread | park the coroutine |
//!
//! # From and to std
//!
//! `From` leads from each type to its counterpart of std, and back, with its options and timeouts; what comes from
//! [`OwnedFd`](std::os::fd::OwnedFd) is taken at its word. A socket of std that comes out blocks, as std's do.
//!
//! Whether a socket blocks belongs to the socket, not to the handle: a clone (`try_clone`) that stays
//! behind changes with it. Streams and packets here do not mind if a clone was given to std, but a
//! [`TcpListener`] would block its carrier in `accept`; and a clone that was left with std says `WouldBlock`.

mod accept;
mod address;
mod convert;
mod readiness;
mod tcp_listener;
mod tcp_stream;
mod timeout;
mod udp;
mod unix;

pub use address::ToSocketAddrs;
pub use readiness::Readiness;
pub use std::net::Shutdown;
pub use tcp_listener::{Incoming, TcpListener};
pub use tcp_stream::TcpStream;
pub use udp::UdpSocket;
pub use unix::{UCred, UnixDatagram, UnixIncoming, UnixListener, UnixStream};
