//! `trine::ipc::channel`: one channel each way.

use std::ops::DerefMut;
use std::os::fd::OwnedFd;

use serde::Serialize;
use serde::de::DeserializeOwned;
use trine::ipc::channel::{Receiver, Sender};

use super::link::{Boxed, Ends, Link, capacity};

/// One side, for messages that begin with a number.
struct Channel<T> {
    to: Sender<T>,
    from: Receiver<T>,
    polling: bool,
    message: T,
}

/// Makes the near side. Messages are like `message`.
pub fn near<T>(
    polling: bool,
    message: T,
    len: usize,
    start: impl FnOnce(Ends) -> anyhow::Result<()>,
) -> Boxed
where
    T: Serialize + DeserializeOwned + DerefMut<Target: AsMut<[u8]>> + 'static,
{
    let (to, far_from) = trine::ipc::channel(capacity(len))?;
    let (far_to, from) = trine::ipc::channel(capacity(len))?;
    start(Ends::of_fds([OwnedFd::try_from(far_from)?, OwnedFd::try_from(far_to)?]))?;
    Ok(Box::new(Channel { to, from, polling, message }))
}

/// Makes the far side.
pub fn far<T>(polling: bool, message: T, ends: Ends) -> Boxed
where
    T: Serialize + DeserializeOwned + DerefMut<Target: AsMut<[u8]>> + 'static,
{
    let [from, to] = ends.fds()?;
    Ok(Box::new(Channel { to: to.try_into()?, from: from.try_into()?, polling, message }))
}

impl<T> Link for Channel<T>
where
    T: Serialize + DeserializeOwned + DerefMut<Target: AsMut<[u8]>>,
{
    fn send(&mut self, n: u64) -> anyhow::Result<()> {
        self.message.as_mut()[..8].copy_from_slice(&n.to_ne_bytes());
        if self.polling {
            // This is the only sender, so no other takes the free place.
            while self.to.len() == self.to.capacity() {
                std::hint::spin_loop();
            }
        }
        Ok(self.to.send_ref(&self.message)?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        let mut message = if self.polling {
            loop {
                match self.from.try_recv() {
                    Ok(message) => break message,
                    Err(error) if error.is_empty() => std::hint::spin_loop(),
                    Err(error) => return Err(error.into()),
                }
            }
        } else {
            self.from.recv()?
        };
        Ok(u64::from_ne_bytes(message.as_mut()[..8].try_into()?))
    }
}
