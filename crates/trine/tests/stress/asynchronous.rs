//! The tasks and steps of futures.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use trine::future;

use crate::books::{BOOKS, Guard, Life, count};
use crate::stopped;
use crate::work::{Body, Ctx, Running};
use crate::world::WORLD;

/// The future of every future task.
pub async fn run(life: Life, mut ctx: Ctx, body: Body) -> Guard {
    life.begin();
    let _held = Guard::new(life.number);
    match body {
        Body::Mix => work(&mut ctx).await,
        Body::Forever => future::sleep(Duration::MAX).await,
    }
    life.value()
}

/// Some steps.
pub async fn work(ctx: &mut Ctx) {
    for _ in 0..=ctx.rng.below(5) {
        count(&BOOKS.steps);
        let time = Duration::from_micros(ctx.rng.below(1500) as u64);
        let which = ctx.rng.below(12);
        ctx.fate.is_at(100 + which);
        match which {
            0 | 1 => future::sleep(time).await,
            2 | 3 => wait_for_a_stranger(ctx).await,
            4 => yield_now().await,
            5 => {
                let mut sleep = Box::pin(future::sleep(Duration::from_secs(3600)));
                let slept = future::timeout(time, &mut sleep).await;
                crate::must!(slept.is_err(), "an hour has passed");
                count(&BOOKS.timeouts);
            }
            6 if ctx.rng.one_in(4) => ctx.panic(),
            7 | 8 if !stopped() && ctx.depth < 4 => {
                let way = ctx.way();
                let mut child = Running::start(ctx, way, Body::Mix);
                let mut task = child.task.take().expect("just started");
                let id = task.id();
                // Half of them only for a while; then they are detached.
                if ctx.rng.one_in(2) {
                    if let Ok(result) = future::timeout(time, &mut task).await {
                        child.watch.settle(id, result);
                    }
                } else {
                    child.watch.settle(id, task.await);
                }
            }
            _ => {
                if let Some(canceller) = WORLD.cancellers.take(&mut ctx.rng) {
                    count(&BOOKS.cancelled);
                    canceller.cancel();
                }
            }
        }
        if stopped() {
            return;
        }
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Leaves its waker in the world, and waits until another task has used it.
async fn wait_for_a_stranger(ctx: &mut Ctx) {
    let mut left = false;
    poll_fn(|context| {
        if std::mem::replace(&mut left, true) {
            return Poll::Ready(());
        }
        if let Some(waker) = WORLD.wakers.put(&mut ctx.rng, context.waker().clone()) {
            waker.wake();
        }
        Poll::Pending
    })
    .await;
}
