//! Sending and receiving from async code: the same waiters, in a future instead of on a stack.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::error::{RecvError, SendError};
use super::shared::{self, Channel};
use super::state::{Put, Side, Taken};
use super::waiter::{Progress, Waiter};
use super::{Receiver, Sender};
use crate::task::{budget, park};

impl<T> Sender<T> {
    /// Sends `value` like [`send`](Self::send), in a future: for async code of any executor.
    /// Dropped before it is ready, the future has sent nothing, or a receiver had already taken the
    /// value.
    ///
    /// ```
    /// use trine::{future, sync::channel};
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// future::block_on(async {
    ///     sender.send_async(1).await?;
    ///     assert_eq!(receiver.recv_async().await, Ok(1));
    ///     Ok::<(), channel::SendError<i32>>(())
    /// })?;
    /// # Ok::<(), channel::SendError<i32>>(())
    /// ```
    pub fn send_async(&self, value: T) -> Send<'_, T> {
        Send { operation: Operation::new(&self.channel, Side::Sender, Some(value)) }
    }
}

impl<T> Receiver<T> {
    /// Receives like [`recv`](Self::recv), in a future: for async code of any executor. Dropped
    /// before it is ready, the future has taken nothing. A message that it was given meanwhile goes
    /// to another receiver, or back to the head of the channel.
    ///
    /// ```
    /// use trine::{future, sync::channel};
    ///
    /// let (sender, receiver) = channel::unbounded();
    /// sender.send(7)?;
    /// assert_eq!(future::block_on(receiver.recv_async()), Ok(7));
    /// # Ok::<(), channel::SendError<i32>>(())
    /// ```
    pub fn recv_async(&self) -> Recv<'_, T> {
        Recv { operation: Operation::new(&self.channel, Side::Receiver, None) }
    }
}

/// The future of [`Sender::send_async`].
///
/// ```
/// use trine::{future, sync::channel};
///
/// let (sender, receiver) = channel::bounded(1);
/// let sending: channel::SendFuture<'_, u32> = sender.send_async(7);
/// assert!(receiver.is_empty()); // nothing is sent before the first poll
/// future::block_on(sending)?;
/// assert_eq!(receiver.try_recv(), Ok(7));
/// # Ok::<(), channel::SendError<u32>>(())
/// ```
#[must_use = "a future does nothing until it is polled"]
pub struct Send<'a, T> {
    operation: Operation<'a, T>,
}

/// The future of [`Receiver::recv_async`].
///
/// ```
/// use trine::{future, sync::channel};
///
/// let (sender, receiver) = channel::bounded(1);
/// let receiving: channel::RecvFuture<'_, u32> = receiver.recv_async();
/// sender.send(7)?;
/// assert_eq!(future::block_on(receiving), Ok(7));
/// # Ok::<(), channel::SendError<u32>>(())
/// ```
#[must_use = "a future does nothing until it is polled"]
pub struct Recv<'a, T> {
    operation: Operation<'a, T>,
}

/// One waiter and its channel. Never moved once it is queued: it is pinned, and not `Unpin`.
struct Operation<'a, T> {
    channel: &'a Channel<T>,
    waiter: Waiter<T>,
    side: Side,
    is_queued: bool,
}

// SAFETY: the waiter is touched under the channel's lock while it is queued, by its owner
// otherwise; a message may go to another thread. The waiter is no arm of a choice, so it has no
// pointer to a choice.
unsafe impl<T: std::marker::Send> std::marker::Send for Operation<'_, T> {}
// SAFETY: a shared reference allows no access.
unsafe impl<T: std::marker::Send> Sync for Operation<'_, T> {}

impl<'a, T> Operation<'a, T> {
    fn new(channel: &'a Channel<T>, side: Side, value: Option<T>) -> Operation<'a, T> {
        Operation { channel, waiter: Waiter::new(value), side, is_queued: false }
    }

    /// Returns the progress of a settled waiter. Else replaces its waker.
    fn poll_settled(&mut self, waker: &Waker) -> Poll<Progress> {
        if self.waiter.progress() == Progress::Waiting {
            // Cloned and dropped outside the lock: a waker may run foreign code.
            let mut waker = Some(waker.clone());
            let state = self.channel.lock();
            if self.waiter.is_queued() {
                waker = self.waiter.replace_waker(waker);
            }
            drop(state);
            park::discard(waker);
        }
        match self.waiter.progress() {
            Progress::Waiting => Poll::Pending,
            settled => {
                self.is_queued = false;
                Poll::Ready(settled)
            }
        }
    }
}

impl<T> Drop for Operation<'_, T> {
    fn drop(&mut self) {
        if self.is_queued {
            self.channel.abandon(&self.waiter, self.side);
        }
    }
}

impl<T> Future for Send<'_, T> {
    type Output = Result<(), SendError<T>>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing but the value is moved out, which is not pinned.
        let operation = unsafe { &mut self.get_unchecked_mut().operation };
        if operation.is_queued {
            return operation.poll_settled(context.waker()).map(|progress| match progress {
                Progress::Granted => Ok(()),
                _ => Err(SendError::Disconnected(value_of(&operation.waiter))),
            });
        }
        if budget::spend_in_poll(context.waker()) {
            return Poll::Pending;
        }
        operation.waiter.set_waker(context.waker().clone());
        let value = value_of(&operation.waiter);
        // SAFETY: pinned, and withdrawn when it is dropped.
        match unsafe { operation.channel.put_or_enqueue(value, &operation.waiter) } {
            Put::Sent => Poll::Ready(Ok(())),
            Put::Closed(value) => Poll::Ready(Err(SendError::Disconnected(value))),
            Put::Full(()) => {
                operation.is_queued = true;
                Poll::Pending
            }
        }
    }
}

fn value_of<T>(waiter: &Waiter<T>) -> T {
    waiter.take_value().expect("a send was polled after it was ready")
}

impl<T> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing but the message is moved out, which is not pinned.
        let operation = unsafe { &mut self.get_unchecked_mut().operation };
        if operation.is_queued {
            return operation.poll_settled(context.waker()).map(|progress| match progress {
                Progress::Granted => Ok(operation.waiter.take_value().expect("it was granted")),
                _ => Err(RecvError::Disconnected),
            });
        }
        if budget::spend_in_poll(context.waker()) {
            return Poll::Pending;
        }
        operation.waiter.reset();
        operation.waiter.set_waker(context.waker().clone());
        // SAFETY: pinned, and withdrawn when it is dropped.
        match unsafe { operation.channel.take_or_enqueue(&operation.waiter) } {
            Taken::Message(message) => Poll::Ready(Ok(message)),
            Taken::Closed => Poll::Ready(Err(RecvError::Disconnected)),
            Taken::Empty => {
                operation.is_queued = true;
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Send<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shared::describe("SendFuture", self.operation.channel, f)
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shared::describe("RecvFuture", self.operation.channel, f)
    }
}
