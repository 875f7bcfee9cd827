//! The macros `select!` and `select_biased!`. Their implementation is in `channel/select.rs`.

/// Waits until one of several operations can go on, does exactly that one, and runs its arm.
///
/// | arm | happens when | the value |
/// |---|---|---|
/// | `recv(receiver) -> message => …` | a message, or disconnected | `Result<T, RecvError>` |
/// | `send(sender, value) -> sent => …` | room, or disconnected | `Result<(), SendError<T>>` |
/// | `join(task) -> outcome => …` | the task has ended | `Result<T, TaskError>` |
/// | `future(future) -> output => …` | the future is ready | its output |
/// | `timeout(duration) => …` | no other arm could in that time; zero only looks | |
/// | `default => …` | no other arm can at once; the last arm | |
///
/// If several can go on, `select!` chooses one at random, each as likely as the others. `default`
/// runs only if there was a moment at which no other arm could go on. A losing arm has done
/// nothing: its message is still in the channel, its task can be joined. A losing future is
/// dropped; pass `&mut future` to keep it. An unsent value is dropped. A value in an `Option` that
/// is passed as `&mut option` is taken out only if it is sent. An empty `Option` is never ready,
/// which switches the arm off.
///
/// ```
/// use std::time::Duration;
/// use trine::sync::{channel, select};
/// use trine::{coroutine, thread};
///
/// let (orders, kitchen) = channel::bounded::<u32>(1);
/// let (stop, stopped) = channel::bounded::<()>(1);
/// let mut cook = thread::spawn(move || {
///     let mut cooked = 0;
///     loop {
///         select! {
///             recv(kitchen) -> order => match order {
///                 Ok(n) => cooked += n,
///                 Err(_) => break,
///             },
///             recv(stopped) -> _ => break,
///         }
///     }
///     cooked
/// });
/// let mut order = Some(2);
/// while order.is_some() {
///     select! {
///         send(orders, &mut order) -> sent => sent.unwrap(),
///         timeout(Duration::from_secs(5)) => panic!("the kitchen is closed"),
///     }
/// }
/// drop(orders);
/// select! {
///     join(cook) -> cooked => assert_eq!(cooked.unwrap(), 2),
///     timeout(Duration::from_secs(5)) => panic!("the cook does not come home"),
/// }
/// # drop(stop);
/// ```
///
/// The arm `future` covers all that is no channel: the readiness of a socket
/// ([`readable`](crate::net::TcpStream::readable)), a signal
/// ([`recv_async`](crate::signal::Signals::recv_async)), the end of a child
/// ([`wait_async`](crate::process::Process::wait_async)), a function of an async crate. With
/// `default`, or a `timeout` of zero, it is polled once.
///
/// ```
/// use trine::net::UnixStream;
/// use trine::signal::{self, Signal, Signals};
/// use trine::sync::{channel, select};
///
/// let (socket, peer) = UnixStream::pair()?;
/// let signals = Signals::new([Signal::WINCH])?;
/// let (_sender, receiver) = channel::bounded::<u8>(1);
/// signal::raise(Signal::WINCH)?;
/// select! {
///     recv(receiver) -> message => println!("{message:?}"),
///     future(socket.readable()) -> ready => ready?,
///     future(signals.recv_async()) -> signal => assert_eq!(signal?, Signal::WINCH),
/// }
/// # drop(peer);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// `receiver`, `sender` and `task` are places or expressions that are borrowed during the wait,
/// `task` exclusively. All of them, the values, the futures and the durations are evaluated first,
/// in order. Temporary values in `receiver`, `sender`, `task` and `future`, such as the guard of a
/// lock, live until the choice is made, and are dropped before an arm runs. The arms are blocks, or
/// expressions with a comma after them; `break`, `return` and `?` in them belong to the surrounding
/// code.
///
/// A task that is cancelled while it waits here is unwound.
///
/// # Panics
///
/// If a task is joined whose value was taken before. If a task joins itself, with no other arm and
/// no deadline that ends the wait; see [`Task::join`](crate::Task::join).
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@arms $choose:ident [] default => $body:expr $(,)?) => {{
        $crate::sync::channel::__select::$choose([], false);
        $body
    }};
    // The arms one by one: `{ name kind (arguments) (pattern) (body) }`.
    (@arms $choose:ident [$($done:tt)*]) => {
        $crate::__select!(@all $choose [$($done)*] true { ::core::unreachable!("an arm has gone") })
    };
    (@arms $choose:ident [$($done:tt)*] default => $body:expr $(,)?) => {
        $crate::__select!(@all $choose [$($done)*] false { $body })
    };
    (@arms $choose:ident [$($done:tt)*]
        $kind:ident ($($argument:tt)*) $(-> $value:pat)? => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@arms $choose
            [$($done)* { arm $kind ($($argument)*) ($($value)?) ($body) }] $($rest)*)
    };
    (@arms $choose:ident [$($done:tt)*]
        $kind:ident ($($argument:tt)*) $(-> $value:pat)? => $body:expr) => {
        $crate::__select!(@arms $choose
            [$($done)* { arm $kind ($($argument)*) ($($value)?) ($body) }])
    };
    (@arms $choose:ident [$($done:tt)*]
        $kind:ident ($($argument:tt)*) $(-> $value:pat)? => $body:block $($rest:tt)*) => {
        $crate::__select!(@arms $choose
            [$($done)* { arm $kind ($($argument)*) ($($value)?) ($body) }] $($rest)*)
    };

    // The whole. The arms are dropped, and the places that they borrowed are free, before a body
    // runs.
    (@all $choose:ident [$({ $arm:ident $kind:ident $arguments:tt ($($value:pat)?) ($body:expr) })+]
        $wait:literal $default:block) => {{
        let ($($arm,)+) = match ($($crate::__select!(@new $kind $arguments),)+) {
            ($(mut $arm,)+) => {
                $crate::sync::channel::__select::$choose([$(&mut $arm),+], $wait);
                $($arm.discard();)+
                ($($arm.into_outcome(),)+)
            }
        };
        $(if let ::core::option::Option::Some(outcome) = $arm {
            $crate::__select!(@bind outcome $($value)?);
            $body
        } else)+ $default
    }};
    (@bind $outcome:ident $value:pat) => { let $value = $outcome; };
    (@bind $outcome:ident) => { let () = $outcome; };

    // Each is one expression, so that the temporary values in it live as long as the arm. Those of
    // an offer and of a duration do not. A `match` leaves the type of its operand to the caller.
    (@new recv ($receiver:expr $(,)?)) => {
        match &$receiver {
            receiver => $crate::sync::channel::__select::recv(receiver),
        }
    };
    (@new send ($sender:expr, $offer:expr $(,)?)) => {
        match &$sender {
            sender => {
                let offer = $offer;
                $crate::sync::channel::__select::send(sender, offer)
            }
        }
    };
    (@new join ($task:expr $(,)?)) => {
        match &mut $task {
            task => $crate::sync::channel::__select::join(task),
        }
    };
    (@new future ($future:expr $(,)?)) => {
        $crate::sync::channel::__select::future(::core::pin::pin!(::core::option::Option::Some(
            ::core::future::IntoFuture::into_future($future)
        )))
    };
    (@new timeout ($duration:expr $(,)?)) => {{
        let duration = $duration;
        $crate::sync::channel::__select::timeout(duration)
    }};

    ($kind:ident $($arms:tt)+) => { $crate::__select!(@arms choose [] $kind $($arms)+) };
}

/// Waits like [`select!`](macro@crate::sync::select), and prefers earlier arms: if several can go
/// on when it looks, the first of them does.
///
/// ```
/// use trine::sync::{channel, select_biased};
///
/// let (urgent, from_urgent) = channel::unbounded();
/// let (usual, from_usual) = channel::unbounded();
/// usual.send(1)?;
/// urgent.send(2)?;
/// let first = select_biased! {
///     recv(from_urgent) -> n => n.unwrap(),
///     recv(from_usual) -> n => n.unwrap(),
/// };
/// assert_eq!(first, 2);
/// # Ok::<(), channel::SendError<i32>>(())
/// ```
///
/// Its arms and rules are those of `select!`. An arm that is always ready keeps later ones from
/// going on.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_biased {
    ($kind:ident $($arms:tt)+) => { $crate::__select!(@arms choose_first [] $kind $($arms)+) };
}
