//! Sockets, with the names and meanings of [`std::net`] and [`std::os::unix::net`].
//!
//! A call that must wait parks the calling coroutine, and its carrier runs others. On a plain
//! thread it blocks the thread. It fails with an error that holds an
//! [`Interrupted`](crate::Interrupted) when its task is cancelled or reaches its deadline.
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
//!         // One coroutine for each connection, which runs on detached.
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
//! # Differences from std
//!
//! | | std | here |
//! |---|---|---|
//! | `set_nonblocking` | exists | missing: no call blocks the carrier, and all calls wait |
//! | a read or write whose timeout is over | `WouldBlock` | `TimedOut` |
//! | timeouts and `try_clone` | one timeout for all clones | each clone has its own, at first the same |
//! | a read into an empty buffer | waits until there is something to read | `Ok(0)` at once |
//! | `accept` without a free descriptor | an error | pauses until there is one, and reports it once on standard error |
//! | [`Incoming`] | never ends | ends when its task is cancelled or reaches its deadline |
//! | names, as in `connect("example.com:80")` | block the thread | park the coroutine |
//!
//! # Conversions
//!
//! `From` converts each type from and to its counterpart of std, with its options and timeouts. A
//! descriptor ([`OwnedFd`](std::os::fd::OwnedFd)) must be one of a socket of that type; this is not
//! checked. A socket that is converted to std blocks, as std's sockets do.
//!
//! Blocking mode is a property of the socket, not of the handle, so a clone (`try_clone`) that
//! stays behind changes with it. Streams and UDP sockets here work on if a clone was converted to
//! std, but a [`TcpListener`] would block its carrier in `accept`. A std clone of a converted
//! socket fails with `WouldBlock`.
//!
//! | file | contents |
//! |---|---|
//! | `tcp_listener.rs` | [`TcpListener`], [`Incoming`] |
//! | `tcp_stream.rs` | [`TcpStream`] |
//! | `udp.rs` | [`UdpSocket`] |
//! | `unix/` | [`UnixListener`], [`UnixStream`], [`UnixDatagram`] |
//! | `readiness.rs` | [`Readiness`]: waits for any descriptor |
//! | `address.rs` | [`ToSocketAddrs`] |
//! | `convert.rs` | conversions from and to std, descriptors, `Debug` |
//! | `accept.rs` | accepting without a free descriptor |
//! | `timeout.rs` | timeouts of reads and writes |

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
