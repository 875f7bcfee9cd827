//! Looks at sockets: calls that never wait, and waits for readiness without a call.
//!
//! Each `try_…` is one attempt of the call of that name. It counts in the turn of its caller as any
//! operation that does not wait ([`budget`](crate::task::budget)).
//!
//! | file | contents |
//! |---|---|
//! | `tcp_stream.rs`, `tcp_listener.rs`, `udp.rs` | the Internet's |
//! | `unix_stream.rs`, `unix_listener.rs`, `unix_datagram.rs` | the Unix ones |

mod tcp_listener;
mod tcp_stream;
mod udp;
mod unix_datagram;
mod unix_listener;
mod unix_stream;
