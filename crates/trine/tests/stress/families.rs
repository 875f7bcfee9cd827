//! Steps that start tasks: children, scopes, races, local tasks, maps, pipelines.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use trine::sync::channel;
use trine::{Executor, Kind, TaskError, coroutine, time};

use crate::books::{BOOKS, Guard, Life, Message, Watch, Way, count};
use crate::locks::inside;
use crate::must;
use crate::work::{Body, Ctx, LONG, Running, run, work, work_as};
use crate::world::WORLD;

pub fn children(ctx: &mut Ctx) {
    for _ in 0..=ctx.rng.below(3) {
        let way = ctx.way();
        if ctx.rng.one_in(4) {
            let running = Running::start(ctx, way, Body::Forever);
            if ctx.rng.one_in(2) {
                time::sleep(ctx.micros(500));
            }
            running.task().cancel();
            running.join();
            continue;
        }
        let running = Running::start(ctx, way, Body::Mix);
        match ctx.rng.below(8) {
            0 => running.join(),
            1 => running.detach(),
            2 => drop(running),
            3 => running.join_soon(ctx.micros(1000)),
            4 => {
                let id = running.task().id();
                must!(running.task().state().to_string() != "", "{id}");
                drop(WORLD.tasks.put(&mut ctx.rng, running));
            }
            _ => drop(WORLD.tasks.put(&mut ctx.rng, running)),
        }
    }
}

/// Asserts at its drop that all its tasks have ended, however the frame is left.
struct AllEnded(Rc<RefCell<Vec<Watch>>>);

impl Drop for AllEnded {
    fn drop(&mut self) {
        for watch in &*self.0.borrow() {
            must!(watch.fate.has_ended(), "{:?} {} outlives its scope", watch.way, watch.number);
        }
    }
}

fn all_ended() -> (AllEnded, Rc<RefCell<Vec<Watch>>>) {
    let watches = Rc::new(RefCell::new(Vec::new()));
    (AllEnded(Rc::clone(&watches)), watches)
}

/// Starts some children in a scope; they borrow from the caller.
fn start_in<'scope>(
    ctx: &mut Ctx,
    s: &'scope trine::Scope<'scope, '_>,
    watches: &RefCell<Vec<Watch>>,
    borrowed: &'scope std::sync::atomic::AtomicUsize,
) -> Vec<(trine::ScopedTask<'scope, Guard>, Watch)> {
    let n = 1 + ctx.rng.below(5);
    let start = |_| {
        let way = if ctx.rng.one_in(8) { Way::Thread } else { Way::Coroutine };
        let body = if ctx.rng.one_in(4) { Body::Forever } else { Body::Mix };
        let life = Life::new(way);
        let (watch, mut child) = (life.watch(), ctx.of_child(&life));
        watches.borrow_mut().push(watch.clone());
        let run = move || {
            borrowed.fetch_add(1, Relaxed);
            run(life, |life| work_as(&mut child, life, body))
        };
        let task = match way {
            Way::Thread => s.thread(run),
            _ => s.coroutine(run),
        };
        if body == Body::Forever {
            if ctx.rng.one_in(2) {
                time::sleep(ctx.micros(300));
            }
            task.cancel();
        } else if ctx.rng.one_in(4) {
            drop(WORLD.cancellers.put(&mut ctx.rng, task.canceller()));
        }
        (task, watch)
    };
    (0..n).map(start).collect()
}

pub fn scope(ctx: &mut Ctx) {
    let borrowed = std::sync::atomic::AtomicUsize::new(0);
    let (ended, watches) = all_ended();
    let result: Result<(), TaskError> = trine::scope(|s| {
        let tasks = start_in(ctx, s, &watches, &borrowed);
        for (task, watch) in tasks {
            if ctx.rng.one_in(2) {
                let id = task.id();
                watch.settle(id, task.join());
            }
        }
        if ctx.rng.one_in(32) {
            ctx.panic();
        }
    });
    let panicked = watches.borrow().iter().filter(|watch| watch.fate.has_panicked()).count();
    match result {
        Ok(()) => must!(panicked == 0, "a scope is well, {panicked} tasks have panicked"),
        Err(error) if error.is_cancelled() => {
            must!(panicked == 0 && trine::checkpoint().is_err(), "{error}");
        }
        Err(error) => {
            let reported = panics(error.suppressed()) + usize::from(error.is_panic());
            // After a failure, the panic of the body is among the suppressed errors.
            let body = ctx.fate.panics();
            must!(
                reported == panicked + usize::from(body),
                "{panicked} and {body}, {reported} are reported"
            );
            if body {
                carry_on(error);
            }
        }
    }
    drop(ended);
}

/// Resumes the panic of a scope's body, which came after a failure and is suppressed by it.
fn carry_on(error: TaskError) -> ! {
    let own = error.suppressed().last().cloned().expect("the panic of the body");
    std::panic::resume_unwind(own.into_panic().expect("it is the last of the failures"))
}

/// Counts the panics among failures. The other failures are children that timed out with their
/// caller.
fn panics(failures: &[TaskError]) -> usize {
    let others = failures.iter().filter(|error| !error.is_panic());
    others.for_each(|error| must!(error.is_timeout(), "{error}"));
    failures.iter().filter(|error| error.is_panic()).count()
}

pub fn supervise(ctx: &mut Ctx) {
    let borrowed = std::sync::atomic::AtomicUsize::new(0);
    let (ended, watches) = all_ended();
    let result = trine::supervise(|s| drop(start_in(ctx, s, &watches, &borrowed)));
    let panicked = watches.borrow().iter().filter(|watch| watch.fate.has_panicked()).count();
    let reported = panics(&result.failures);
    must!(reported == panicked, "{panicked} panics, {reported} are reported");
    must!(result.failed == result.failures.len(), "{} failures are missing", result.failed);
    drop(ended);
}

pub fn race(ctx: &mut Ctx) {
    let (ended, watches) = all_ended();
    let mut tasks = Vec::new();
    for n in 0..=ctx.rng.below(3) {
        let way = ctx.way();
        let body = if n > 0 && ctx.rng.one_in(3) { Body::Forever } else { Body::Mix };
        let mut running = Running::start(ctx, way, body);
        watches.borrow_mut().push(running.watch.clone());
        tasks.extend(running.task.take());
    }
    // A task that waits forever needs a racer that ends. It may be left over if all others have
    // failed.
    let result = time::timeout(Duration::from_millis(5), || trine::race(tasks));
    let result = result.expect("a wait with a result does not unwind");
    if let Ok(value) = result {
        let known = watches.borrow().iter().any(|watch| watch.number == value.number);
        must!(known, "a race was won by {}, which was not in it", value.number);
    }
    drop(ended);
}

pub fn local_tasks(ctx: &mut Ctx) {
    let shared = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for _ in 0..=ctx.rng.below(3) {
        let life = Life::new(Way::Local);
        let (watch, mut child) = (life.watch(), ctx.of_child(&life));
        let shared = Rc::clone(&shared);
        let task = coroutine::spawn_local(move || {
            run(life, |_| {
                let seen = shared.get();
                shared.set(seen + 1);
                work(&mut child);
            })
        });
        if ctx.rng.one_in(3) {
            task.cancel();
        }
        tasks.push((task, watch));
    }
    // To the end, since a thread that ends leaves its local coroutines unfinished.
    for (task, watch) in tasks {
        let id = task.id();
        watch.settle(id, trine::shield(LONG, || task.join()));
    }
    must!(Rc::strong_count(&shared) == 1, "a local coroutine has not dropped what it owns");
}

pub fn map(ctx: &mut Ctx) {
    let wanted = ctx.rng.below(24);
    let kind = if ctx.rng.one_in(2) { Kind::Coroutine } else { Kind::Thread };
    let squares = kind.map(0..20_u64, |n| n * n);
    for (n, square) in squares.take(wanted).enumerate() {
        match square {
            Ok(square) => must!(square == (n * n) as u64, "{n} squared is {square}"),
            Err(error) => must!(trine::checkpoint().is_err(), "{error}"),
        }
    }
}

/// Runs senders in a scope, whose body receives some or all messages.
pub fn pipeline(ctx: &mut Ctx) {
    let (tx, rx) = match ctx.rng.below(3) {
        0 => channel::rendezvous(),
        1 => channel::bounded(1 + ctx.rng.below(3)),
        _ => channel::unbounded(),
    };
    let (ended, watches) = all_ended();
    let senders = 1 + ctx.rng.below(3);
    let wanted = if ctx.rng.one_in(2) { usize::MAX } else { ctx.rng.below(40) };
    let value: Result<(), TaskError> = trine::scope(|s| {
        for _ in 0..senders {
            let way = if ctx.rng.one_in(8) { Way::Thread } else { Way::Coroutine };
            let life = Life::new(way);
            let (watch, mut child, tx) = (life.watch(), ctx.of_child(&life), tx.clone());
            watches.borrow_mut().push(watch);
            let send = move || {
                run(life, |_| {
                    for turn in 1..=child.rng.below(20) as u64 {
                        match tx.send(Message::new(child.number, turn)) {
                            Ok(()) => count(&BOOKS.sent),
                            Err(error) => {
                                let expected =
                                    error.is_disconnected() || error.interrupted().is_some();
                                must!(expected, "{error}");
                                error.into_inner().returned();
                                break;
                            }
                        }
                        inside(&mut child);
                    }
                })
            };
            let task = match way {
                Way::Thread => s.thread(send),
                _ => s.coroutine(send),
            };
            if ctx.rng.one_in(4) {
                drop(WORLD.cancellers.put(&mut ctx.rng, task.canceller()));
            }
        }
        drop(tx);
        let rx = rx;
        let mut latest = std::collections::HashMap::new();
        for _ in 0..wanted {
            let message = match rx.recv() {
                Ok(message) => message,
                Err(error) => {
                    let expected = error.is_disconnected() || trine::checkpoint().is_err();
                    must!(expected, "{error}");
                    return;
                }
            };
            let before = latest.insert(message.from, message.turn).unwrap_or(0);
            let (from, turn) = (message.from, message.turn);
            must!(turn == before + 1, "message {turn} of {from} comes after {before}");
            message.received();
            inside(ctx);
        }
    });
    if let Err(error) = value
        && ctx.fate.panics()
    {
        carry_on(error);
    }
    drop(ended);
}
