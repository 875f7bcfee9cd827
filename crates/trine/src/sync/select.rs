//! The macro `select!`. Its implementation is in `channel/select.rs`.

/// Waits until one of several operations can go on, does exactly that one, and runs its arm.
///
/// | arm | happens when | the value |
/// |---|---|---|
/// | `recv(receiver) -> message => …` | a message, or disconnected | `Result<T, RecvError>` |
/// | `send(sender, value) -> sent => …` | room, or disconnected | `Result<(), SendError<T>>` |
/// | `join(task) -> outcome => …` | the task has ended | `Result<T, TaskError>` |
/// | `timeout(duration) => …` | no other arm could in that time; zero only looks | |
/// | `default => …` | no other arm can at once; the last arm | |
///
/// If several can go on, `select!` chooses one at random, each as likely as the others. `default`
/// runs only if there was a moment at which no other arm could go on. A losing arm has done
/// nothing: its message is still in the channel, its task can be joined. An unsent value is
/// dropped. A value in an `Option` that is passed as `&mut option` is taken out only if it is sent.
/// An empty `Option` is never ready, which switches the arm off.
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
/// `receiver`, `sender` and `task` are places or expressions that are borrowed during the wait,
/// `task` exclusively. All of them, the values and the durations are evaluated first, in order. The
/// arms are blocks, or expressions with a comma after them; `break`, `return` and `?` in them
/// belong to the surrounding code.
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
    // The arms one by one: `{ name kind (arguments) (pattern) (body) }`.
    (@arms [$($done:tt)*]) => {
        $crate::__select!(@all [$($done)*] true { ::core::unreachable!("an arm has gone") })
    };
    (@arms [$($done:tt)*] default => $body:expr $(,)?) => {
        $crate::__select!(@all [$($done)*] false { $body })
    };
    (@arms [$($done:tt)*]
        $kind:ident ($($argument:tt)*) $(-> $value:pat)? => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@arms
            [$($done)* { arm $kind ($($argument)*) ($($value)?) ($body) }] $($rest)*)
    };
    (@arms [$($done:tt)*] $kind:ident ($($argument:tt)*) $(-> $value:pat)? => $body:expr) => {
        $crate::__select!(@arms [$($done)* { arm $kind ($($argument)*) ($($value)?) ($body) }])
    };
    (@arms [$($done:tt)*]
        $kind:ident ($($argument:tt)*) $(-> $value:pat)? => $body:block $($rest:tt)*) => {
        $crate::__select!(@arms
            [$($done)* { arm $kind ($($argument)*) ($($value)?) ($body) }] $($rest)*)
    };

    // The whole. The arms are dropped, and the places that they borrowed are free, before a body
    // runs.
    (@all [$({ $arm:ident $kind:ident $arguments:tt ($($value:pat)?) ($body:expr) })+]
        $wait:literal $default:block) => {{
        let ($($arm,)+) = {
            $($crate::__select!(@new $arm $kind $arguments);)+
            $crate::sync::channel::__select::choose([$(&mut $arm),+], $wait);
            $($arm.discard();)+
            ($($arm.into_outcome(),)+)
        };
        $(if let ::core::option::Option::Some(outcome) = $arm {
            $crate::__select!(@bind outcome $($value)?);
            $body
        } else)+ $default
    }};
    (@bind $outcome:ident $value:pat) => { let $value = $outcome; };
    (@bind $outcome:ident) => { let () = $outcome; };

    (@new $arm:ident recv ($receiver:expr $(,)?)) => {
        let $arm = &$receiver;
        let mut $arm = $crate::sync::channel::__select::recv($arm);
    };
    (@new $arm:ident send ($sender:expr, $offer:expr $(,)?)) => {
        let $arm = &$sender;
        let mut $arm = $crate::sync::channel::__select::send($arm, $offer);
    };
    (@new $arm:ident join ($task:expr $(,)?)) => {
        let $arm = &mut $task;
        let mut $arm = $crate::sync::channel::__select::join($arm);
    };
    (@new $arm:ident timeout ($duration:expr $(,)?)) => {
        let mut $arm = $crate::sync::channel::__select::timeout($duration);
    };

    ($kind:ident $($arms:tt)+) => { $crate::__select!(@arms [] $kind $($arms)+) };
}
