//! Unix sockets, of each kind and wherever they are used.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/places.rs"]
mod places;

mod datagram;
mod listener;
mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// A path for a socket; what is there is removed at the end.
struct Place(PathBuf);

fn place() -> Place {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("trine-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    Place(std::env::temp_dir().join(name))
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_types_go_where_std_s_go() {
    fn goes<T: Send + Sync + Unpin + std::fmt::Debug + std::panic::UnwindSafe>() {}
    goes::<trine::net::UnixListener>();
    goes::<trine::net::UnixStream>();
    goes::<trine::net::UnixDatagram>();
}
