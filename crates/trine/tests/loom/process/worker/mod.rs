//! The library's inbox of a worker.

#[allow(dead_code, reason = "as above")]
#[path = "../../../../src/process/worker/inbox.rs"]
pub(super) mod inbox;

mod limits {
    use crate::process::wire::Head;

    pub(in crate::process) fn abort_out_of_memory(_: &Head, _: &str) -> ! {
        unreachable!("no frame of a model is too large")
    }
}
