//! `ipc_bytes`: the kernel's own means of IPC.

use std::time::Duration;

use crate::ipc::{Means, Plan, measure};
use crate::row::{Better, Column, Peer, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "ipc_bytes",
    about: "Messages of 64 bytes between two processes, each on a core of its own: there and back, \
            back to back; the same with both sides asleep for 300 µs before they send (the median, \
            without the sleep); and one way, as fast as they are taken. Then messages of 64 KiB \
            one way; a queue's have 8 KiB, the kernel's limit. A semaphore carries only permits, a \
            signal only its number, and one at a time. The lines of std are the same system calls \
            without a wrapper.",
    columns: &[
        Column { key: "us", heading: "µs there and back", better: Better::Less },
        Column { key: "blocked", heading: "µs, both asleep before", better: Better::Less },
        Column { key: "rate", heading: "M messages/s", better: Better::More },
        Column { key: "bytes", heading: "GB/s", better: Better::More },
    ],
    peers: &[
        Peer::rust("trine, pipe, threads", |size| run(Means::Pipe, size)),
        Peer::rust("trine, pipe, coroutines", |size| run(Means::PipeCoroutines, size)),
        Peer::rust("std, pipe", |size| run(Means::StdPipe, size)),
        Peer::rust("trine, Fifo, threads", |size| run(Means::Fifo, size)),
        Peer::rust("trine, Fifo, coroutines", |size| run(Means::FifoCoroutines, size)),
        Peer::rust("trine, UnixStream, threads", |size| run(Means::Socket, size)),
        Peer::rust("trine, UnixStream, coroutines", |size| run(Means::SocketCoroutines, size)),
        Peer::rust("std, UnixStream", |size| run(Means::StdSocket, size)),
        Peer::rust("trine, MessageQueue, threads", |size| run(Means::Queue, size)),
        Peer::rust("trine, MessageQueue, coroutines", |size| run(Means::QueueCoroutines, size)),
        Peer::rust("trine, Semaphore, threads", |size| run(Means::Semaphore, size)),
        Peer::rust("trine, Semaphore, coroutines", |size| run(Means::SemaphoreCoroutines, size)),
        Peer::rust("trine, signal, threads", |size| run(Means::Signal, size)),
        Peer::rust("trine, signal, coroutines", |size| run(Means::SignalCoroutines, size)),
    ],
    limit: Duration::from_secs(60),
};

fn run(means: Means, size: Size) -> anyhow::Result<Sample> {
    measure(means, Plan { blocked: true, short: 400_000, long: 20_000 }, size)
}
