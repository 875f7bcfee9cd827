//! ipc-channel: a channel each way. Long messages use its channel of bytes.

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender,
};
use serde_bytes::ByteArray;

use super::link::{Boxed, Ends, Link, SHORT};

type Message = ByteArray<SHORT>;

/// One side, for messages of [`SHORT`] bytes.
pub struct Short {
    to: IpcSender<Message>,
    from: IpcReceiver<Message>,
    polling: bool,
}

impl Short {
    pub fn near(polling: bool, start: impl FnOnce(Ends) -> anyhow::Result<()>) -> Boxed {
        let (server, name) = IpcOneShotServer::<(IpcSender<_>, IpcReceiver<_>)>::new()?;
        start(Ends::of_names([name]))?;
        let (_, (to, from)) = server.accept()?;
        Ok(Box::new(Short { to, from, polling }))
    }

    pub fn far(polling: bool, ends: Ends) -> Boxed {
        let [name] = ends.names()?;
        let ((to, near_from), (near_to, from)) = (ipc::channel()?, ipc::channel()?);
        IpcSender::connect(name)?.send((near_to, near_from))?;
        Ok(Box::new(Short { to, from, polling }))
    }
}

impl Link for Short {
    fn send(&mut self, n: u64) -> anyhow::Result<()> {
        let mut message = [0; SHORT];
        message[..8].copy_from_slice(&n.to_ne_bytes());
        Ok(self.to.send(ByteArray::new(message))?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        let message =
            if self.polling { polled(|| self.from.try_recv())? } else { self.from.recv()? };
        Ok(u64::from_ne_bytes(message[..8].try_into()?))
    }
}

/// One side, for bytes.
pub struct Long {
    to: IpcBytesSender,
    from: IpcBytesReceiver,
    polling: bool,
    sent: Vec<u8>,
}

impl Long {
    pub fn near(
        polling: bool,
        len: usize,
        start: impl FnOnce(Ends) -> anyhow::Result<()>,
    ) -> Boxed {
        let (server, name) = IpcOneShotServer::<(IpcBytesSender, IpcBytesReceiver)>::new()?;
        start(Ends::of_names([name]))?;
        let (_, (to, from)) = server.accept()?;
        Ok(Box::new(Long { to, from, polling, sent: vec![1; len] }))
    }

    pub fn far(polling: bool, len: usize, ends: Ends) -> Boxed {
        let [name] = ends.names()?;
        let ((to, near_from), (near_to, from)) = (ipc::bytes_channel()?, ipc::bytes_channel()?);
        IpcSender::connect(name)?.send((near_to, near_from))?;
        Ok(Box::new(Long { to, from, polling, sent: vec![1; len] }))
    }
}

impl Link for Long {
    fn send(&mut self, n: u64) -> anyhow::Result<()> {
        self.sent[..8].copy_from_slice(&n.to_ne_bytes());
        Ok(self.to.send(&self.sent)?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        let message =
            if self.polling { polled(|| self.from.try_recv())? } else { self.from.recv()? };
        Ok(u64::from_ne_bytes(message[..8].try_into()?))
    }
}

/// Polls until there is a message.
fn polled<T>(mut ask: impl FnMut() -> Result<T, TryRecvError>) -> anyhow::Result<T> {
    loop {
        match ask() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
}
