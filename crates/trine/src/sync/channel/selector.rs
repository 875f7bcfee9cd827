//! A selection whose arms are made at run time.

use std::fmt;
use std::time::Duration;

use super::arm_of_future::{self, FutureArm};
use super::arms::{self, Arm, JoinArm, Offer, RecvArm, SendArm, TimeoutArm};
use super::error::{RecvError, SendError};
use super::receiver::Receiver;
use super::select::{Order, choose_in, number};
use super::sender::Sender;
use crate::task::{Task, TaskError};

/// A selection among any number of arms: [`select!`](macro@crate::sync::select) for arms that are
/// known at run time only.
///
/// Each arm has a function that runs if that arm is chosen; its value is the value of the
/// selection. The rules are those of `select!`: exactly one arm goes on, chosen at random if
/// several can, and the others have done nothing. All arms are dropped before the function runs.
///
/// ```
/// use trine::coroutine;
/// use trine::sync::channel::{self, Select};
///
/// let (senders, receivers): (Vec<_>, Vec<_>) = (0..10).map(|_| channel::bounded(1)).unzip();
/// let task = coroutine::spawn(move || senders[7].send("hello").map(|()| senders));
///
/// let mut select = Select::new();
/// for (n, receiver) in receivers.iter().enumerate() {
///     select = select.recv(receiver, move |message| (n, message));
/// }
/// assert_eq!(select.wait(), (7, Ok("hello")));
/// # task.join().unwrap().unwrap();
/// ```
#[must_use = "a selection does nothing until it waits"]
pub struct Select<'a, R> {
    operations: Vec<Box<dyn Operation<R> + 'a>>,
    order: Order,
}

/// An arm, and the function of its value.
trait Operation<R> {
    fn arm(&mut self) -> &mut dyn Arm;
    fn has_gone(&self) -> bool;
    fn discard(&mut self);
    /// Runs the function, if the arm has gone.
    fn finish(self: Box<Self>) -> Option<R>;
}

struct With<A, V, F> {
    arm: A,
    discard: fn(&mut A),
    outcome: fn(A) -> Option<V>,
    then: F,
}

impl<A: Arm, V, R, F: FnOnce(V) -> R> Operation<R> for With<A, V, F> {
    fn arm(&mut self) -> &mut dyn Arm {
        &mut self.arm
    }

    fn has_gone(&self) -> bool {
        self.arm.has_gone()
    }

    fn discard(&mut self) {
        (self.discard)(&mut self.arm);
    }

    fn finish(self: Box<Self>) -> Option<R> {
        let With { arm, outcome, then, .. } = *self;
        outcome(arm).map(then)
    }
}

impl<'a, R> Select<'a, R> {
    /// Makes a selection without arms.
    pub fn new() -> Select<'a, R> {
        Select { operations: Vec::new(), order: Order::Random }
    }

    /// Prefers earlier arms, as [`select_biased!`](macro@crate::sync::select_biased) does.
    ///
    /// ```
    /// use trine::sync::channel::{self, Select};
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// sender.send(())?;
    /// let select = Select::new().recv(&receiver, |_| 1).recv(&receiver, |_| 2);
    /// assert_eq!(select.biased().wait(), 1);
    /// # Ok::<(), channel::SendError<()>>(())
    /// ```
    pub fn biased(mut self) -> Select<'a, R> {
        self.order = Order::Given;
        self
    }

    /// Adds an arm that receives a message.
    pub fn recv<T: 'a>(
        self,
        receiver: &'a Receiver<T>,
        then: impl FnOnce(Result<T, RecvError>) -> R + 'a,
    ) -> Select<'a, R> {
        self.with(arms::recv(receiver), RecvArm::discard, RecvArm::into_outcome, then)
    }

    /// Adds an arm that sends `value`, or the value in a `&mut Option`, which stays there if it is
    /// not sent.
    ///
    /// ```
    /// use trine::sync::channel::{self, Select};
    ///
    /// let (full, _keep) = channel::rendezvous();
    /// let (sender, receiver) = channel::bounded(1);
    /// let sent = Select::new().send(&full, 1, |_| 1).send(&sender, 2, |_| 2).wait();
    /// assert_eq!((sent, receiver.recv()), (2, Ok(2)));
    /// ```
    pub fn send<T: 'a>(
        self,
        sender: &'a Sender<T>,
        value: impl Offer<'a, T>,
        then: impl FnOnce(Result<(), SendError<T>>) -> R + 'a,
    ) -> Select<'a, R> {
        self.with(arms::send(sender, value), SendArm::discard, SendArm::into_outcome, then)
    }

    /// Adds an arm that joins a task.
    ///
    /// ```
    /// use trine::{coroutine, sync::channel::Select};
    ///
    /// let mut tasks: Vec<_> = (0..3).map(|n| coroutine::spawn(move || n)).collect();
    /// let mut select = Select::new();
    /// for task in &mut tasks {
    ///     select = select.join(task, |n| n.unwrap());
    /// }
    /// assert!(select.wait() < 3);
    /// ```
    pub fn join<T>(
        self,
        task: &'a mut Task<T>,
        then: impl FnOnce(Result<T, TaskError>) -> R + 'a,
    ) -> Select<'a, R> {
        self.with(arms::join(task), JoinArm::discard, JoinArm::into_outcome, then)
    }

    /// Adds an arm that is a future. It is dropped if another arm is chosen.
    ///
    /// ```
    /// use trine::net::UnixStream;
    /// use trine::sync::channel::Select;
    ///
    /// let (one, other) = UnixStream::pair()?;
    /// other.try_write(b"!")?;
    /// let ready = Select::new()
    ///     .future(one.readable(), |ready| ready.map(|()| "one"))
    ///     .future(other.readable(), |ready| ready.map(|()| "other"))
    ///     .wait();
    /// assert_eq!(ready?, "one");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn future<F: IntoFuture>(
        self,
        future: F,
        then: impl FnOnce(F::Output) -> R + 'a,
    ) -> Select<'a, R>
    where
        F::IntoFuture: 'a,
        F::Output: 'a,
    {
        let arm = arm_of_future::future(Box::pin(Some(future.into_future())));
        self.with(arm, FutureArm::discard, FutureArm::into_outcome, then)
    }

    /// Waits until an arm can go on, does it, and runs its function.
    ///
    /// A task that is cancelled while it waits here is unwound.
    ///
    /// # Panics
    ///
    /// If there is no arm; and as `select!` does.
    #[track_caller]
    pub fn wait(mut self) -> R {
        assert!(!self.operations.is_empty(), "a selection without arms would wait forever");
        self.choose(true);
        self.finish().expect("an arm has gone")
    }

    /// Waits like [`wait`](Self::wait), for at most `timeout`; zero only looks. `None` if no arm
    /// could go on in that time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::sync::channel::{self, Select};
    ///
    /// let (_sender, receiver) = channel::bounded::<u8>(1);
    /// let select = Select::new().recv(&receiver, |message| message);
    /// assert_eq!(select.wait_timeout(Duration::from_millis(1)), None);
    /// ```
    #[track_caller]
    pub fn wait_timeout(self, timeout: Duration) -> Option<R>
    where
        R: 'a,
    {
        let mut select: Select<'a, Option<R>> =
            Select { operations: Vec::new(), order: self.order };
        for operation in self.operations {
            select.operations.push(Box::new(InTime(operation)));
        }
        let arm = arms::timeout(timeout);
        select.with(arm, TimeoutArm::discard, TimeoutArm::into_outcome, |()| None).wait()
    }

    /// Lets an arm go on if one can at once, and runs its function. `None` if none can.
    ///
    /// ```
    /// use trine::sync::channel::{self, Select};
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// let select = || Select::new().recv(&receiver, |message| message);
    /// assert_eq!(select().try_wait(), None);
    /// sender.send(7)?;
    /// assert_eq!(select().try_wait(), Some(Ok(7)));
    /// # Ok::<(), channel::SendError<u8>>(())
    /// ```
    pub fn try_wait(mut self) -> Option<R> {
        self.choose(false);
        self.finish()
    }

    fn with<A: Arm + 'a, V: 'a>(
        mut self,
        arm: A,
        discard: fn(&mut A),
        outcome: fn(A) -> Option<V>,
        then: impl FnOnce(V) -> R + 'a,
    ) -> Select<'a, R> {
        self.operations.push(Box::new(With { arm, discard, outcome, then }));
        self
    }

    #[track_caller]
    fn choose(&mut self, wait: bool) {
        let arms = self.operations.iter_mut().map(|operation| operation.arm());
        choose_in(self.order, &mut number(arms).collect::<Vec<_>>(), wait);
        self.operations.iter_mut().for_each(|operation| operation.discard());
    }

    /// Runs the function of the arm that has gone, after all others were dropped.
    fn finish(mut self) -> Option<R> {
        let at = self.operations.iter().position(|operation| operation.has_gone())?;
        let chosen = self.operations.swap_remove(at);
        drop(self);
        chosen.finish()
    }
}

/// An operation of a selection that may run out of time.
struct InTime<'a, R>(Box<dyn Operation<R> + 'a>);

impl<R> Operation<Option<R>> for InTime<'_, R> {
    fn arm(&mut self) -> &mut dyn Arm {
        self.0.arm()
    }

    fn has_gone(&self) -> bool {
        self.0.has_gone()
    }

    fn discard(&mut self) {
        self.0.discard();
    }

    fn finish(self: Box<Self>) -> Option<Option<R>> {
        Some(self.0.finish())
    }
}

impl<R> Default for Select<'_, R> {
    fn default() -> Self {
        Select::new()
    }
}

impl<R> fmt::Debug for Select<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("arms", &self.operations.len()).finish_non_exhaustive()
    }
}
