//! `ipc_channel`, `ipc_channel_polling`: messages through memory shared by two processes.

use std::time::Duration;

use crate::ipc::{Means, Plan, measure};
use crate::row::{Better, Column, Peer, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "ipc_channel",
    about: "Messages of 64 bytes between two processes, each on a core of its own, through a \
            channel that holds 1,024: there and back, back to back; the same with both sides \
            asleep for 300 µs before they send (the median, without the sleep); and one way, as \
            fast as they are taken. Then messages of 64 KiB one way, through a channel that holds \
            16. Each message is copied from and to the program's own memory, with iceoryx2 too, \
            whose users can avoid the copies. A receiver that finds no message sleeps: trine spins \
            first, iceoryx2's receivers wait for its events, 10 ms at a time (without a limit, \
            some measurements hung).",
    columns: &[
        Column { key: "us", heading: "µs there and back", better: Better::Less },
        Column { key: "blocked", heading: "µs, both asleep before", better: Better::Less },
        Column { key: "rate", heading: "M messages/s", better: Better::More },
        Column { key: "bytes", heading: "GB/s", better: Better::More },
    ],
    peers: &[
        Peer::rust("trine, threads", |size| run(Means::Channel, FAST, size)),
        Peer::rust("trine, coroutines", |size| run(Means::ChannelCoroutines, FAST, size)),
        Peer::rust("iceoryx2, events", |size| run(Means::Iceoryx, FAST, size)),
        Peer::rust("ipc-channel", |size| run(Means::IpcChannel, SLOW, size)),
        Peer::rust("std, pipe", |size| run(Means::StdPipe, SLOW, size)),
    ],
    limit: Duration::from_secs(60),
};

pub const POLLING: Row = Row {
    name: "ipc_channel_polling",
    about: "The same with both sides polling: they never sleep.",
    columns: &[
        Column { key: "us", heading: "µs there and back", better: Better::Less },
        Column { key: "rate", heading: "M messages/s", better: Better::More },
        Column { key: "bytes", heading: "GB/s", better: Better::More },
    ],
    peers: &[
        Peer::rust("trine", |size| polling(Means::ChannelPolling, FAST, size)),
        Peer::rust("iceoryx2", |size| polling(Means::IceoryxPolling, FAST, size)),
        Peer::rust("ipc-channel", |size| polling(Means::IpcChannelPolling, SLOW, size)),
    ],
    limit: Duration::from_secs(60),
};

/// Numbers of short and of long messages that take a measurable time.
type Counts = (u64, u64);

const FAST: Counts = (4_000_000, 100_000);
const SLOW: Counts = (400_000, 20_000);

fn run(means: Means, (short, long): Counts, size: Size) -> anyhow::Result<Sample> {
    measure(means, Plan { blocked: true, short, long }, size)
}

fn polling(means: Means, (short, long): Counts, size: Size) -> anyhow::Result<Sample> {
    measure(means, Plan { blocked: false, short, long }, size)
}
