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
//! | `set_nonblocking` | belongs to the socket and all its clones | each handle has its own |
//! | a read or write whose timeout is over | `WouldBlock` | `TimedOut` |
//! | timeouts and `try_clone` | one timeout for all clones | each clone has its own, at first the same |
//! | a read into an empty buffer | waits until there is something to read | `Ok(0)` at once |
//! | `accept` without a free descriptor | an error | pauses until there is one, and reports it once on standard error |
//! | [`Incoming`] | never ends | ends when its task is cancelled or reaches its deadline |
//! | names, as in `connect("example.com:80")` | block the thread | park the coroutine |
//!
//! # Sockets that only look
//!
//! Each `try_…` makes its call once, and fails with `WouldBlock` where the call would have to wait.
//! So does every call of a handle that was set to non-blocking mode (`set_nonblocking`). A
//! `wait_readable` waits until such a call may succeed, and `readable` does the same as a future.
//! With a timeout of zero it only looks. Another task may take what there was, so the call can
//! still fail with `WouldBlock`.
//!
//! ```
//! use std::io::ErrorKind;
//! use trine::net::UdpSocket;
//!
//! let socket = UdpSocket::bind("127.0.0.1:0")?;
//! let mut packet = [0; 1500];
//! # UdpSocket::bind("127.0.0.1:0")?.send_to(b"a packet", socket.local_addr()?)?;
//! let (length, from) = loop {
//!     match socket.try_recv_from(&mut packet) {
//!         Err(error) if error.kind() == ErrorKind::WouldBlock => socket.wait_readable()?,
//!         received => break received?,
//!     }
//! };
//! println!("{length} bytes from {from}");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A look gives the turn away only in a loop: the 129th operation of one turn of a coroutine lets
//! the carrier's others run first.
//!
//! # Halves
//!
//! `&TcpStream` and `&UnixStream` can be read and written, so two tasks of a
//! [scope](crate::scope()) need no halves. [`TcpStream::into_split`] makes two owned halves for
//! tasks that outlive their creator. The writing half ends the stream for the peer when it is
//! dropped.
//!
//! # Conversions
//!
//! `From` converts each type from and to its counterpart of std, with its options and timeouts. A
//! descriptor ([`OwnedFd`](std::os::fd::OwnedFd)) must be one of a socket of that type; this is not
//! checked. A socket that is converted to std blocks, as std's sockets do, unless its handle was
//! set to non-blocking mode. One that is converted from std waits here, in whatever mode it was.
//!
//! Blocking mode is a property of the socket, not of the handle, so a clone (`try_clone`) that
//! stays behind changes with it. Streams and UDP sockets here work on if a clone was converted to
//! std, but a [`TcpListener`] would block its carrier in `accept`. A std clone of a converted
//! socket fails with `WouldBlock`.

// | file | contents |
// |---|---|
// | `tcp_listener.rs` | `TcpListener`, `Incoming` |
// | `tcp_stream.rs` | `TcpStream` |
// | `udp.rs` | `UdpSocket` |
// | `unix/` | `UnixListener`, `UnixStream`, `UnixDatagram` |
// | `look/` | calls that never wait, and waits for readiness without a call |
// | `readiness.rs` | `Readiness`: waits for any descriptor |
// | `split.rs` | `OwnedReadHalf`, `OwnedWriteHalf` |
// | `address.rs` | `ToSocketAddrs` |
// | `convert.rs` | conversions from and to std, descriptors, `Debug` |
// | `accept.rs` | accepting without a free descriptor |
// | `timeout.rs` | timeouts of reads and writes |

mod accept;
mod address;
mod convert;
mod look;
mod readiness;
mod split;
mod tcp_listener;
mod tcp_stream;
mod timeout;
mod udp;
mod unix;

pub use address::ToSocketAddrs;
pub use readiness::Readiness;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use std::net::Shutdown;
pub use tcp_listener::{Incoming, TcpListener};
pub use tcp_stream::TcpStream;
pub use udp::UdpSocket;
pub use unix::{UCred, UnixDatagram, UnixIncoming, UnixListener, UnixStream};
