//! The two ends of every peer's channel of `u64`, so that the work at them is written once.

use std::future::Future;

/// The sending end of a channel; it blocks the caller.
pub trait Tx: Clone + Send + 'static {
    /// Waits until the channel takes the message.
    fn send(&self, message: u64);
}

/// The receiving end of a channel; it blocks the caller.
pub trait Rx: Send + 'static {
    /// Waits for a message; `None` when no sender is left.
    fn recv(&self) -> Option<u64>;
}

/// The sending end of an async channel.
pub trait AsyncTx: Clone + Send + Sync + 'static {
    /// Waits until the channel takes the message.
    fn send(&self, message: u64) -> impl Future<Output = ()> + Send;
}

/// The receiving end of an async channel.
pub trait AsyncRx: Send + 'static {
    /// Waits for a message; `None` when no sender is left.
    fn recv(&mut self) -> impl Future<Output = Option<u64>> + Send;
}

const OPEN: &str = "a receiver is left";

impl Tx for trine::sync::channel::Sender<u64> {
    fn send(&self, message: u64) {
        self.send(message).expect(OPEN);
    }
}

impl Rx for trine::sync::channel::Receiver<u64> {
    fn recv(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl Tx for crossbeam_channel::Sender<u64> {
    fn send(&self, message: u64) {
        self.send(message).expect(OPEN);
    }
}

impl Rx for crossbeam_channel::Receiver<u64> {
    fn recv(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl Tx for flume::Sender<u64> {
    fn send(&self, message: u64) {
        self.send(message).expect(OPEN);
    }
}

impl Rx for flume::Receiver<u64> {
    fn recv(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl AsyncTx for flume::Sender<u64> {
    async fn send(&self, message: u64) {
        self.send_async(message).await.expect(OPEN);
    }
}

impl AsyncRx for flume::Receiver<u64> {
    async fn recv(&mut self) -> Option<u64> {
        self.recv_async().await.ok()
    }
}

impl Tx for kanal::Sender<u64> {
    fn send(&self, message: u64) {
        self.send(message).expect(OPEN);
    }
}

impl Rx for kanal::Receiver<u64> {
    fn recv(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl AsyncTx for kanal::AsyncSender<u64> {
    async fn send(&self, message: u64) {
        self.send(message).await.expect(OPEN);
    }
}

impl AsyncRx for kanal::AsyncReceiver<u64> {
    async fn recv(&mut self) -> Option<u64> {
        (*self).recv().await.ok()
    }
}

impl Tx for std::sync::mpsc::SyncSender<u64> {
    fn send(&self, message: u64) {
        self.send(message).expect(OPEN);
    }
}

impl Rx for std::sync::mpsc::Receiver<u64> {
    fn recv(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl Tx for may::sync::mpmc::Sender<u64> {
    fn send(&self, message: u64) {
        self.send(message).expect(OPEN);
    }
}

impl Rx for may::sync::mpmc::Receiver<u64> {
    fn recv(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl AsyncTx for async_channel::Sender<u64> {
    async fn send(&self, message: u64) {
        self.send(message).await.expect(OPEN);
    }
}

impl AsyncRx for async_channel::Receiver<u64> {
    async fn recv(&mut self) -> Option<u64> {
        (*self).recv().await.ok()
    }
}

impl AsyncTx for tokio::sync::mpsc::Sender<u64> {
    async fn send(&self, message: u64) {
        self.send(message).await.expect(OPEN);
    }
}

impl AsyncRx for tokio::sync::mpsc::Receiver<u64> {
    async fn recv(&mut self) -> Option<u64> {
        self.recv().await
    }
}
