//! Unix sockets of each kind, in every place.

mod datagram;
mod listener;
mod stream;

use crate::common::temporary::TempPath;

fn place() -> TempPath {
    TempPath::new("socket")
}

#[test]
fn the_types_go_where_std_s_go() {
    fn goes<T: Send + Sync + Unpin + std::fmt::Debug + std::panic::UnwindSafe>() {}
    goes::<trine::net::UnixListener>();
    goes::<trine::net::UnixStream>();
    goes::<trine::net::UnixDatagram>();
}
