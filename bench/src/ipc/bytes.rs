//! Means that carry bytes, and semaphores, which carry none.

use std::io::{Read, Write};

use trine::ipc::{Fifo, MessageQueue, Semaphore};

use super::link::{Boxed, Ends, Link, fresh_name};

/// The bytes of a message, which begin with its number.
struct Frame(Vec<u8>);

impl Frame {
    fn new(len: usize) -> Frame {
        Frame(vec![1; len])
    }

    fn set(&mut self, n: u64) -> &[u8] {
        self.0[..8].copy_from_slice(&n.to_ne_bytes());
        &self.0
    }

    fn get(&self) -> u64 {
        u64::from_ne_bytes(self.0[..8].try_into().expect("eight bytes are a number"))
    }
}

/// A stream of bytes each way, cut into messages of one length.
pub struct Bytes<R, W> {
    from: R,
    to: W,
    sent: Frame,
    received: Frame,
}

impl<R: Read, W: Write> Bytes<R, W> {
    pub fn new(from: R, to: W, len: usize) -> Bytes<R, W> {
        Bytes { from, to, sent: Frame::new(len), received: Frame::new(len) }
    }
}

impl<R: Read, W: Write> Link for Bytes<R, W> {
    fn send(&mut self, n: u64) -> anyhow::Result<()> {
        Ok(self.to.write_all(self.sent.set(n))?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        self.from.read_exact(&mut self.received.0)?;
        Ok(self.received.get())
    }
}

/// A named pipe each way.
pub struct Fifos;

impl Fifos {
    pub fn near(len: usize, start: impl FnOnce(Ends) -> anyhow::Result<()>) -> Boxed {
        let dir = tempfile::Builder::new().prefix("trine-bench-").tempdir()?;
        let paths = ["there", "back"].map(|name| dir.path().join(name));
        let fifos = [Fifo::create_new(&paths[0], 0o600)?, Fifo::create_new(&paths[1], 0o600)?];
        start(Ends::of_names(paths.map(|path| path.display().to_string())))?;
        let to = fifos[0].open_writer()?;
        Ok(Box::new(Bytes::new(fifos[1].open_reader()?, to, len)))
    }

    pub fn far(len: usize, ends: Ends) -> Boxed {
        let [there, back] = ends.names()?;
        let from = Fifo::open(there)?.open_reader()?;
        Ok(Box::new(Bytes::new(from, Fifo::open(back)?.open_writer()?, len)))
    }
}

/// A queue of messages each way.
pub struct Queues {
    to: MessageQueue,
    from: MessageQueue,
    sent: Frame,
    received: Frame,
    /// Names that the near side unlinks when it is dropped.
    named: Vec<String>,
}

impl Queues {
    pub fn near(len: usize, start: impl FnOnce(Ends) -> anyhow::Result<()>) -> Boxed {
        let named = [fresh_name(), fresh_name()];
        let queues = Queues::open(&named, len, named.to_vec())?;
        start(Ends::of_names(named))?;
        Ok(Box::new(queues))
    }

    pub fn far(len: usize, ends: Ends) -> Boxed {
        let [there, back] = ends.names()?;
        Ok(Box::new(Queues::open(&[back, there], len, vec![])?))
    }

    fn open([to, from]: &[String; 2], len: usize, named: Vec<String>) -> anyhow::Result<Queues> {
        let mut options = MessageQueue::options();
        options = options.create(true).mode(0o600).message_size(len).max_messages(10);
        let (to, from) = (options.open(to)?, options.open(from)?);
        Ok(Queues { to, from, sent: Frame::new(len), received: Frame::new(len), named })
    }
}

impl Link for Queues {
    fn send(&mut self, n: u64) -> anyhow::Result<()> {
        Ok(self.to.send(self.sent.set(n), 0)?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        self.from.receive_into(&mut self.received.0)?;
        Ok(self.received.get())
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        for name in &self.named {
            let _ = MessageQueue::unlink(name);
        }
    }
}

/// A semaphore each way: a message is a permit.
pub struct Semaphores {
    to: Semaphore,
    from: Semaphore,
    /// Names that the near side unlinks when it is dropped.
    named: Vec<String>,
}

impl Semaphores {
    pub fn near(start: impl FnOnce(Ends) -> anyhow::Result<()>) -> Boxed {
        let named = [fresh_name(), fresh_name()];
        let to = Semaphore::create_new(&named[0], 0o600, 0)?;
        let from = Semaphore::create_new(&named[1], 0o600, 0)?;
        let semaphores = Semaphores { to, from, named: named.to_vec() };
        start(Ends::of_names(named))?;
        Ok(Box::new(semaphores))
    }

    pub fn far(ends: Ends) -> Boxed {
        let [there, back] = ends.names()?;
        let (to, from) = (Semaphore::open(back)?, Semaphore::open(there)?);
        Ok(Box::new(Semaphores { to, from, named: vec![] }))
    }
}

impl Link for Semaphores {
    fn send(&mut self, _: u64) -> anyhow::Result<()> {
        Ok(self.to.release(1)?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        self.from.acquire()?;
        Ok(0)
    }

    fn numbered(&self) -> bool {
        false
    }
}

impl Drop for Semaphores {
    fn drop(&mut self) {
        for name in &self.named {
            let _ = Semaphore::unlink(name);
        }
    }
}
