//! Channels, between coroutines, threads and both.

mod cancel;
mod ends;
mod futures;
mod messages;

use trine::sync::channel::{self, Receiver, Sender};
use trine::{Task, coroutine, thread};

type Pair<T> = (Sender<T>, Receiver<T>);

/// Makes a channel of every flavour, with its name.
fn flavours<T>() -> Vec<(&'static str, Pair<T>)> {
    vec![
        ("rendezvous", channel::rendezvous()),
        ("bounded(1)", channel::bounded(1)),
        ("bounded(2)", channel::bounded(2)),
        ("bounded(64)", channel::bounded(64)),
        ("unbounded", channel::unbounded()),
    ]
}

/// Runs `f` as a coroutine or on a thread of its own, in turn.
fn spawn<T: Send + 'static>(nth: usize, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    if nth.is_multiple_of(2) { coroutine::spawn(f) } else { thread::spawn(f) }
}
