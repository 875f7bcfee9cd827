//! The steps with `select!`, and those with destructors that panic.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use trine::coroutine::{self, Generator};
use trine::sync::{channel, select};
use trine::time;

use crate::books::{BOOKS, Guard, Message, count};
use crate::work::Ctx;
use crate::world::WORLD;
use crate::{EXPECTED, must};

/// A message that is returned if it was not sent.
struct Unsent(Option<Message>);

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(message) = self.0.take() {
            message.returned();
        }
    }
}

/// Sends to and receives from shared channels, by the one arm that is ready first.
pub fn choice(ctx: &mut Ctx) {
    let mut any = || &WORLD.channels[ctx.rng.below(WORLD.channels.len())];
    let ((_, first), (_, second), (room, _)) = (any(), any(), any());
    let received = |message: Result<Message, _>| message.into_iter().for_each(Message::received);
    let sends = ctx.rng.one_in(2) && room.len() < 1000;
    let mut unsent = Unsent(sends.then(|| Message::new(ctx.number, 0)));
    if ctx.rng.one_in(4) {
        select! {
            recv(first) -> message => received(message),
            recv(second) -> message => received(message),
            default => {}
        }
        return;
    }
    select! {
        recv(first) -> message => received(message),
        send(room, &mut unsent.0) -> sent => {
            must!(sent.is_ok(), "a shared channel is closed");
            count(&BOOKS.sent);
        }
        recv(second) -> message => received(message),
        timeout(ctx.micros(1000)) => {}
    }
}

/// Panics when it is dropped, unless its thread unwinds already.
struct Bad(#[allow(dead_code, reason = "counts its drops")] Guard);

impl Drop for Bad {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic::panic_any(EXPECTED);
        }
    }
}

/// Drops values whose destructors panic, in several places. The others there are dropped too, as
/// the accounts show in the end.
pub fn wreck(ctx: &mut Ctx) {
    let number = ctx.number;
    let bad = move || (Guard::new(number), Bad(Guard::new(number)), Guard::new(number));
    let place = ctx.rng.below(5);
    let pause = ctx.micros(100);
    let wrecked = panic::catch_unwind(AssertUnwindSafe(|| match place {
        0 => {
            let _values = (bad(), Guard::new(number));
            time::sleep(pause);
        }
        1 => {
            let (tx, rx) = channel::unbounded();
            (0..3).for_each(|_| drop(tx.send(bad())));
            drop(rx);
        }
        2 => drop(coroutine::spawn(bad).join()),
        3 => drop(coroutine::spawn(bad)),
        _ => {
            let mut values = Generator::new(move |yielder, ()| {
                let _own = Guard::new(number);
                loop {
                    coroutine::yield_now();
                    yielder.yield_(bad());
                }
            });
            let first = values.next();
            drop((values, first));
        }
    }));
    if let Err(payload) = wrecked
        && !is_expected(&*payload)
    {
        // An interruption, which goes on.
        panic::resume_unwind(payload);
    }
}

fn is_expected(payload: &(dyn Any + Send)) -> bool {
    payload.downcast_ref::<&str>() == Some(&EXPECTED)
}
