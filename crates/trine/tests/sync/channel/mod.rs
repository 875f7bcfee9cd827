//! Channels, between coroutines, threads and both.

mod cancel;
mod ends;
mod futures;
mod messages;

use trine::sync::channel::{self, Receiver, Sender};

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
