//! Steps with the locks that all tasks share.

use trine::{coroutine, time};

use crate::books::{BOOKS, count};
use crate::work::Ctx;
use crate::world::{Change, PERMITS, WORLD, look};

/// Does one of the things that may happen while a lock is held.
pub fn inside(ctx: &mut Ctx) {
    match ctx.rng.below(12) {
        0 => coroutine::yield_now(),
        1 => time::sleep(ctx.micros(200)),
        2 if ctx.rng.one_in(8) => ctx.panic(),
        _ => {}
    }
}

pub fn mutex(ctx: &mut Ctx) {
    let at = ctx.rng.below(WORLD.mutexes.len());
    let mutex = &WORLD.mutexes[at];
    let guard = match ctx.rng.below(3) {
        0 => Some(mutex.lock()),
        1 => mutex.lock_timeout(ctx.micros(1000)),
        _ => mutex.try_lock(),
    };
    if let Some(guard) = guard {
        let _change = Change::begin(mutex.enter(guard, 1, 1));
        inside(ctx);
    }
}

pub fn rwlock(ctx: &mut Ctx) {
    let at = ctx.rng.below(WORLD.rwlocks.len());
    let lock = &WORLD.rwlocks[at];
    if ctx.rng.one_in(3) {
        let guard = match ctx.rng.below(3) {
            0 => Some(lock.write()),
            1 => lock.write_timeout(ctx.micros(1000)),
            _ => lock.try_write(),
        };
        if let Some(guard) = guard {
            let _change = Change::begin(lock.enter(guard, 1, 1));
            inside(ctx);
        }
        return;
    }
    let guard = match ctx.rng.below(3) {
        0 => Some(lock.read()),
        1 => lock.read_timeout(ctx.micros(1000)),
        _ => lock.try_read(),
    };
    if let Some(guard) = guard {
        let reads = lock.enter(guard, 1, usize::MAX);
        look(&reads);
        inside(ctx);
        look(&reads);
    }
}

pub fn semaphore(ctx: &mut Ctx) {
    let at = ctx.rng.below(WORLD.semaphores.len());
    let (semaphore, n) = (&WORLD.semaphores[at], 1 + ctx.rng.below(PERMITS));
    let permit = match ctx.rng.below(3) {
        0 => Some(semaphore.acquire_many(n)),
        1 => semaphore.acquire_many_timeout(n, ctx.micros(1000)),
        _ => semaphore.try_acquire_many(n),
    };
    if let Some(permit) = permit {
        let _inside = semaphore.enter(permit, n, PERMITS);
        inside(ctx);
    }
}

pub fn condvar(ctx: &mut Ctx) {
    let mut tokens = WORLD.tokens.lock();
    if ctx.rng.one_in(2) {
        *tokens += 1;
        count(&BOOKS.tokens_made);
        match ctx.rng.below(3) {
            0 => _ = WORLD.token.notify_all(),
            _ => _ = WORLD.token.notify_one(),
        }
        return;
    }
    let (mut tokens, _) =
        WORLD.token.wait_timeout_while(tokens, ctx.micros(1000), |tokens| *tokens == 0);
    if *tokens > 0 {
        *tokens -= 1;
        count(&BOOKS.tokens_taken);
    }
}

pub fn event(ctx: &mut Ctx) {
    match ctx.rng.below(4) {
        0 => WORLD.event.set(),
        1 => WORLD.event.reset(),
        2 => drop(time::timeout(ctx.micros(1000), || WORLD.event.wait())),
        _ => drop(WORLD.event.wait_timeout(ctx.micros(1000))),
    }
}
