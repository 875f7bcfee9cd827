//! The means of IPC, and how each side of them is made.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use clap::ValueEnum;
use serde_bytes::{ByteArray, ByteBuf};
use trine::ipc::{PipeReader, PipeWriter};

use super::bytes::{Bytes, Fifos, Queues, Semaphores};
use super::channel;
use super::iceoryx::Iceoryx;
use super::ipc_channel::{Long, Short};
use super::link::{Boxed, Ends, SHORT};
use super::signals::BySignals;

/// A means, used by a thread unless its name says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Means {
    Channel,
    ChannelPolling,
    ChannelCoroutines,
    Pipe,
    PipeCoroutines,
    Fifo,
    FifoCoroutines,
    Queue,
    QueueCoroutines,
    Semaphore,
    SemaphoreCoroutines,
    Signal,
    SignalCoroutines,
    Socket,
    SocketCoroutines,
    StdPipe,
    StdSocket,
    IpcChannel,
    IpcChannelPolling,
    Iceoryx,
    IceoryxPolling,
}

/// The kernel's default limit on the bytes of a message in a queue.
const LONGEST_IN_QUEUE: usize = 8_192;

impl Means {
    /// Runs one side in a coroutine or on this thread, as the means requires.
    pub fn placed<T: Send + 'static>(
        self,
        side: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        if self.is_for_coroutines() { trine::coroutine::spawn(side).join()? } else { side() }
    }

    /// Sleeps in a coroutine or on a thread, as the means requires.
    pub fn sleep(self, duration: Duration) {
        if self.is_for_coroutines() {
            trine::time::sleep(duration);
        } else {
            std::thread::sleep(duration);
        }
    }

    fn is_for_coroutines(self) -> bool {
        use Means::*;
        matches!(
            self,
            ChannelCoroutines
                | PipeCoroutines
                | FifoCoroutines
                | QueueCoroutines
                | SemaphoreCoroutines
                | SignalCoroutines
                | SocketCoroutines
        )
    }

    /// Returns true if several messages can be in flight at once.
    pub fn streams(self) -> bool {
        !matches!(self, Means::Signal | Means::SignalCoroutines)
    }

    /// Returns the length of the longest message up to `wanted`; `None` if it carries no bytes.
    pub fn longest(self, wanted: usize) -> Option<usize> {
        match self {
            Means::Semaphore | Means::SemaphoreCoroutines => None,
            Means::Signal | Means::SignalCoroutines => None,
            Means::Queue | Means::QueueCoroutines => Some(wanted.min(LONGEST_IN_QUEUE)),
            _ => Some(wanted),
        }
    }

    /// Makes the near side. `start` starts the far side, which connects by the given ends.
    pub fn near(self, len: usize, start: impl FnOnce(Ends) -> anyhow::Result<()>) -> Boxed {
        match self {
            Means::Channel | Means::ChannelPolling | Means::ChannelCoroutines => {
                let polling = self == Means::ChannelPolling;
                if len == SHORT {
                    channel::near(polling, ByteArray::new([1; SHORT]), len, start)
                } else {
                    channel::near(polling, ByteBuf::from(vec![1; len]), len, start)
                }
            }
            Means::Pipe | Means::PipeCoroutines => {
                let ((far_from, to), (from, far_to)) = (trine::ipc::pipe()?, trine::ipc::pipe()?);
                start(Ends::of_fds([far_from.into(), far_to.into()]))?;
                Ok(Box::new(Bytes::new(from, to, len)))
            }
            Means::StdPipe => {
                let ((far_from, to), (from, far_to)) = (std::io::pipe()?, std::io::pipe()?);
                start(Ends::of_fds([far_from.into(), far_to.into()]))?;
                Ok(Box::new(Bytes::new(from, to, len)))
            }
            Means::Socket | Means::SocketCoroutines => {
                let (near, far) = trine::net::UnixStream::pair()?;
                start(Ends::of_fds([far.into()]))?;
                Ok(Box::new(Bytes::new(near.try_clone()?, near, len)))
            }
            Means::StdSocket => {
                let (near, far) = UnixStream::pair()?;
                start(Ends::of_fds([far.into()]))?;
                Ok(Box::new(Bytes::new(near.try_clone()?, near, len)))
            }
            Means::Fifo | Means::FifoCoroutines => Fifos::near(len, start),
            Means::Queue | Means::QueueCoroutines => Queues::near(len, start),
            Means::Semaphore | Means::SemaphoreCoroutines => Semaphores::near(start),
            Means::Signal | Means::SignalCoroutines => BySignals::near(start),
            Means::IpcChannel | Means::IpcChannelPolling if len == SHORT => {
                Short::near(self == Means::IpcChannelPolling, start)
            }
            Means::IpcChannel | Means::IpcChannelPolling => {
                Long::near(self == Means::IpcChannelPolling, len, start)
            }
            Means::Iceoryx | Means::IceoryxPolling => {
                Iceoryx::near(self == Means::IceoryxPolling, len, start)
            }
        }
    }

    /// Makes the far side.
    pub fn far(self, len: usize, ends: Ends) -> Boxed {
        match self {
            Means::Channel | Means::ChannelPolling | Means::ChannelCoroutines => {
                let polling = self == Means::ChannelPolling;
                if len == SHORT {
                    channel::far(polling, ByteArray::new([1; SHORT]), ends)
                } else {
                    channel::far(polling, ByteBuf::from(vec![1; len]), ends)
                }
            }
            Means::Pipe | Means::PipeCoroutines => {
                let [from, to] = ends.fds()?;
                Ok(Box::new(Bytes::new(PipeReader::from(from), PipeWriter::from(to), len)))
            }
            Means::StdPipe => {
                let [from, to] = ends.fds()?;
                let (from, to) = (std::io::PipeReader::from(from), std::io::PipeWriter::from(to));
                Ok(Box::new(Bytes::new(from, to, len)))
            }
            Means::Socket | Means::SocketCoroutines => {
                let [socket] = ends.fds()?.map(trine::net::UnixStream::from);
                Ok(Box::new(Bytes::new(socket.try_clone()?, socket, len)))
            }
            Means::StdSocket => {
                let [socket] = ends.fds()?.map(UnixStream::from);
                Ok(Box::new(Bytes::new(socket.try_clone()?, socket, len)))
            }
            Means::Fifo | Means::FifoCoroutines => Fifos::far(len, ends),
            Means::Queue | Means::QueueCoroutines => Queues::far(len, ends),
            Means::Semaphore | Means::SemaphoreCoroutines => Semaphores::far(ends),
            Means::Signal | Means::SignalCoroutines => BySignals::far(ends),
            Means::IpcChannel | Means::IpcChannelPolling if len == SHORT => {
                Short::far(self == Means::IpcChannelPolling, ends)
            }
            Means::IpcChannel | Means::IpcChannelPolling => {
                Long::far(self == Means::IpcChannelPolling, len, ends)
            }
            Means::Iceoryx | Means::IceoryxPolling => {
                Iceoryx::far(self == Means::IceoryxPolling, len, ends)
            }
        }
    }
}
