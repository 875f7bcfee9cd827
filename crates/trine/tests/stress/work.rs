//! What the tasks do: some steps out of all that the library has, chosen by their own numbers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use trine::coroutine::{Generator, Local, Step};
use trine::sync::channel;
use trine::{Executor, Kind, Task, TaskError, coroutine, future, thread, time};

use crate::asynchronous;
use crate::books::{BOOKS, Fate, Guard, Life, Message, Watch, Way, count};
use crate::seeds::Rng;
use crate::world::{Change, PERMITS, WORLD, look};
use crate::{must, stopped};

/// A shield that holds for as long as any step may last.
const LONG: Duration = Duration::from_secs(60);
const MOST_LIVE: u64 = 2000;

/// What one task knows of itself.
pub struct Ctx {
    pub rng: Rng,
    pub fate: Arc<Fate>,
    pub number: u64,
    pub way: Way,
    pub depth: u32,
    /// Whether it may start tasks of the pool: one of the pool that waits for another of it could wait
    /// for good.
    pub pool: bool,
    /// Whether it may wait for tasks that are not its own: not where a shield waits for it, or two could
    /// wait for each other and not hear that they are cancelled.
    pub strangers: bool,
}

/// What a task is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Mix,
    /// Waits until it is cancelled.
    Forever,
}

impl Ctx {
    pub fn way(&mut self) -> Way {
        match self.rng.below(16) {
            0 => Way::Thread,
            1 | 2 if self.pool => Way::Pool,
            3..6 => Way::Future,
            _ => Way::Coroutine,
        }
    }

    fn of_child(&mut self, life: &Life) -> Ctx {
        let way = life.watch().way;
        Ctx {
            rng: Rng(self.rng.number()),
            fate: Arc::clone(&life.fate),
            number: life.number,
            way,
            depth: self.depth + 1,
            pool: self.pool && way != Way::Pool,
            strangers: self.strangers && way != Way::Local,
        }
    }

    fn may_start(&self) -> bool {
        self.depth < 4 && BOOKS.live() < MOST_LIVE && !stopped()
    }

    fn micros(&mut self, below: usize) -> Duration {
        Duration::from_micros(self.rng.below(below) as u64)
    }

    pub fn panic(&self) -> ! {
        self.fate.will_panic();
        panic!("{}", crate::EXPECTED);
    }
}

/// A task and what is known of it; cancelled if it is dropped.
pub struct Running {
    pub task: Option<Task<Guard>>,
    pub watch: Watch,
}

impl Running {
    pub fn start(ctx: &mut Ctx, way: Way, body: Body) -> Running {
        let life = Life::new(way);
        let watch = life.watch();
        let mut child = ctx.of_child(&life);
        let named = ctx.rng.one_in(8);
        let deep = ctx.rng.one_in(16);
        let task = if way == Way::Future {
            future::spawn(asynchronous::run(life, child, body))
        } else {
            let run = move || run(life, |life| work_as(&mut child, life, body));
            match way {
                Way::Thread if named => thread::Builder::new().name("stress").spawn(run),
                Way::Thread => thread::spawn(run),
                Way::Pool => WORLD.pool.spawn(run),
                _ if named => coroutine::Builder::new().name("stress").spawn(run),
                _ if deep => coroutine::Builder::new().stack_size(1 << 20).spawn(run),
                _ => coroutine::spawn(run),
            }
        };
        if ctx.rng.one_in(4) {
            drop(WORLD.cancellers.put(&mut ctx.rng, task.canceller()));
        }
        Running { task: Some(task), watch }
    }

    fn task(&self) -> &Task<Guard> {
        self.task.as_ref().expect("not joined yet")
    }

    pub fn join(mut self) {
        let task = self.task.take().expect("not joined yet");
        let id = task.id();
        self.watch.settle(id, task.join());
    }

    /// Joins, or asks the task to end and joins then.
    pub fn join_soon(mut self, timeout: Duration) {
        let task = self.task.take().expect("not joined yet");
        let id = task.id();
        match task.join_timeout(timeout) {
            Ok(result) => self.watch.settle(id, result),
            Err(task) => {
                task.cancel_because("it takes too long");
                count(&BOOKS.cancelled);
                self.watch.settle(id, task.join());
            }
        }
    }

    pub fn detach(mut self) {
        count(&BOOKS.detached);
        drop(self.task.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            count(&BOOKS.cancelled);
            task.cancel();
        }
    }
}

/// The function of every task.
pub fn run(life: Life, f: impl FnOnce(&Life)) -> Guard {
    life.begin();
    let _on_the_stack = Guard::new(life.number);
    f(&life);
    life.value()
}

fn work_as(ctx: &mut Ctx, _life: &Life, body: Body) {
    match body {
        Body::Mix => work(ctx),
        Body::Forever => wait_for_ever(ctx),
    }
}

fn wait_for_ever(ctx: &mut Ctx) {
    match ctx.rng.below(4) {
        0 => time::sleep(Duration::MAX),
        1 => {
            let (_tx, rx) = channel::bounded::<Message>(1);
            // A wait with a result: it says so, and the task may end as it likes.
            must!(rx.recv().is_err(), "a message from nobody");
        }
        2 => {
            let (tx, _rx) = channel::rendezvous();
            let refused = tx.send(Message::new(ctx.number, 0));
            refused.expect_err("nobody receives").into_inner().returned();
        }
        _ => drop(trine::sync::Semaphore::new(0).acquire()),
    }
    must!(trine::cancelled(), "a wait for nothing has ended, and nobody has cancelled it");
}

/// Some steps.
pub fn work(ctx: &mut Ctx) {
    for _ in 0..=ctx.rng.below(6) {
        count(&BOOKS.steps);
        step(ctx);
        if stopped() || (ctx.rng.one_in(4) && trine::cancelled()) {
            return;
        }
    }
}

fn step(ctx: &mut Ctx) {
    let which = ctx.rng.below(26);
    ctx.fate.is_at(which);
    match which {
        0 => coroutine::yield_now(),
        1 => time::sleep(ctx.micros(2000)),
        2 | 3 => mutex(ctx),
        4 | 5 => rwlock(ctx),
        6 | 7 => semaphore(ctx),
        8 => condvar(ctx),
        9 => event(ctx),
        10 | 11 => shared_channel(ctx),
        12 => with_a_timeout(ctx),
        13 => in_a_shield(ctx),
        14 if ctx.rng.one_in(2) => ctx.panic(),
        15 => generator(ctx),
        16 => local_values(ctx),
        17 => cancel_somebody(ctx),
        18 if ctx.strangers => join_a_stranger(ctx),
        19 if ctx.may_start() => pipeline(ctx),
        20 if ctx.may_start() => children(ctx),
        21 if ctx.may_start() => scope(ctx),
        22 if ctx.may_start() => supervise(ctx),
        23 if ctx.may_start() => race(ctx),
        24 if ctx.may_start() => local_tasks(ctx),
        25 if ctx.may_start() => match ctx.rng.below(3) {
            0 => map(ctx),
            _ => future::block_on(asynchronous::work(ctx)),
        },
        _ => drop(trine::checkpoint()),
    }
}

/// What may happen while a lock is held.
fn inside(ctx: &mut Ctx) {
    match ctx.rng.below(12) {
        0 => coroutine::yield_now(),
        1 => time::sleep(ctx.micros(200)),
        2 if ctx.rng.one_in(8) => ctx.panic(),
        _ => {}
    }
}

fn mutex(ctx: &mut Ctx) {
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

fn rwlock(ctx: &mut Ctx) {
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

fn semaphore(ctx: &mut Ctx) {
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

fn condvar(ctx: &mut Ctx) {
    let mut tokens = WORLD.tokens.lock();
    if ctx.rng.one_in(2) {
        *tokens += 1;
        count(&BOOKS.tokens_made);
        match ctx.rng.below(3) {
            0 => WORLD.token.notify_all(),
            _ => WORLD.token.notify_one(),
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

fn event(ctx: &mut Ctx) {
    match ctx.rng.below(4) {
        0 => WORLD.event.set(),
        1 => WORLD.event.reset(),
        2 => drop(time::timeout(ctx.micros(1000), || WORLD.event.wait())),
        _ => drop(WORLD.event.wait_timeout(ctx.micros(1000))),
    }
}

fn shared_channel(ctx: &mut Ctx) {
    let at = ctx.rng.below(WORLD.channels.len());
    let (tx, rx) = &WORLD.channels[at];
    let timeout = ctx.micros(1000);
    if ctx.rng.one_in(2) {
        if tx.len() > 1000 {
            return;
        }
        let message = Message::new(ctx.number, 0);
        let refused = match ctx.rng.below(3) {
            0 => tx.try_send(message).err().map(|error| error.into_inner()),
            1 => tx.send_timeout(message, timeout).err().map(|error| error.into_inner()),
            _ => {
                let sent = time::timeout(timeout, || tx.send(message));
                let sent = sent.expect("a wait with a result does not unwind");
                sent.err().map(|error| error.into_inner())
            }
        };
        match refused {
            Some(message) => message.returned(),
            None => count(&BOOKS.sent),
        }
        return;
    }
    let message = match ctx.rng.below(3) {
        0 => rx.try_recv().ok(),
        1 => rx.recv_timeout(timeout).ok(),
        _ => time::timeout(timeout, || rx.recv()).expect("as above").ok(),
    };
    if let Some(message) = message {
        message.received();
    }
}

fn with_a_timeout(ctx: &mut Ctx) {
    let time = ctx.micros(3000);
    if ctx.depth > 3 {
        return;
    }
    ctx.depth += 1;
    let result = time::timeout(time, || match ctx.rng.below(3) {
        0 if !stopped() => time::sleep(Duration::MAX),
        _ => work(ctx),
    });
    ctx.depth -= 1;
    if result.is_err() {
        count(&BOOKS.timeouts);
    }
}

fn in_a_shield(ctx: &mut Ctx) {
    struct Whole(bool);
    impl Drop for Whole {
        fn drop(&mut self) {
            must!(self.0, "a shielded section was interrupted");
        }
    }
    let time = ctx.micros(300);
    trine::shield(LONG, || {
        let mut whole = Whole(false);
        time::sleep(time);
        whole.0 = true;
    });
}

fn generator(ctx: &mut Ctx) {
    let (fate, number, mut rng) = (Arc::clone(&ctx.fate), ctx.number, Rng(ctx.rng.number()));
    let mut squares = Generator::new(move |yielder, mut n: u64| {
        let _held = Guard::new(number);
        for _ in 0..4 {
            match rng.below(16) {
                0 => coroutine::yield_now(),
                1 => time::sleep(Duration::from_micros(50)),
                2 if rng.one_in(8) => {
                    fate.will_panic();
                    panic!("{}", crate::EXPECTED);
                }
                _ => {}
            }
            n = yielder.yield_(n * n);
        }
        Guard::new(n)
    });
    for n in 0..ctx.rng.below(7) as u64 {
        match squares.send(n) {
            Step::Yielded(square) => must!(square == n * n, "{n} squared is {square}"),
            Step::Complete(last) => {
                must!(last.number == 4, "a generator has ended with {}", last.number);
                return;
            }
        }
    }
}

static VALUES: Local<RefCell<Vec<Guard>>> = Local::new(|| RefCell::new(Vec::new()));

fn local_values(ctx: &mut Ctx) {
    if matches!(ctx.way, Way::Coroutine | Way::Local) {
        VALUES.with_borrow_mut(|values| values.push(Guard::new(ctx.number)));
        coroutine::yield_now();
        VALUES.with_borrow(|values| {
            must!(values.iter().all(|value| value.number == ctx.number), "a Local of another");
        });
    }
}

fn cancel_somebody(ctx: &mut Ctx) {
    if let Some(canceller) = WORLD.cancellers.take(&mut ctx.rng) {
        count(&BOOKS.cancelled);
        match ctx.rng.below(2) {
            0 => canceller.cancel(),
            _ => canceller.cancel_because("by the way"),
        }
    }
}

/// Takes somebody's handle, and joins, cancels or detaches.
fn join_a_stranger(ctx: &mut Ctx) {
    let Some(running) = WORLD.tasks.take(&mut ctx.rng) else { return };
    let timeout = ctx.micros(2000);
    match ctx.rng.below(4) {
        // Nobody joins itself.
        3 if running.watch.number == ctx.number => running.detach(),
        0 => drop(running),
        1 => running.detach(),
        2 => drop(WORLD.tasks.put(&mut ctx.rng, running)),
        _ => running.join_soon(timeout),
    }
}

fn children(ctx: &mut Ctx) {
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

/// Those who must have ended when this is dropped, however the frame around it is left.
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

/// Some children in a scope; they borrow from the caller.
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

fn scope(ctx: &mut Ctx) {
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
            let told = panics(error.suppressed()) + usize::from(error.is_panic());
            // After a failure, the panic of the body hangs off it.
            let body = ctx.fate.panics();
            must!(told == panicked + usize::from(body), "{panicked} and {body}, {told} are told");
            if body {
                carry_on(error);
            }
        }
    }
    drop(ended);
}

/// The panic of a scope's body, which came after a failure and hangs off that, goes on.
fn carry_on(error: TaskError) -> ! {
    let own = error.suppressed().last().cloned().expect("the panic of the body");
    std::panic::resume_unwind(own.into_panic().expect("it is the last of the failures"))
}

/// The other failures are children whose time was up with that of the caller.
fn panics(failures: &[TaskError]) -> usize {
    let others = failures.iter().filter(|error| !error.is_panic());
    others.for_each(|error| must!(error.is_timeout(), "{error}"));
    failures.iter().filter(|error| error.is_panic()).count()
}

fn supervise(ctx: &mut Ctx) {
    let borrowed = std::sync::atomic::AtomicUsize::new(0);
    let (ended, watches) = all_ended();
    let result = trine::supervise(|s| drop(start_in(ctx, s, &watches, &borrowed)));
    let panicked = watches.borrow().iter().filter(|watch| watch.fate.has_panicked()).count();
    let told = panics(&result.failures);
    must!(told == panicked, "{panicked} panics, {told} are told");
    must!(result.failed == result.failures.len(), "{} failures are missing", result.failed);
    drop(ended);
}

fn race(ctx: &mut Ctx) {
    let (ended, watches) = all_ended();
    let mut tasks = Vec::new();
    for n in 0..=ctx.rng.below(3) {
        let way = ctx.way();
        let body = if n > 0 && ctx.rng.one_in(3) { Body::Forever } else { Body::Mix };
        let mut running = Running::start(ctx, way, body);
        watches.borrow_mut().push(running.watch.clone());
        tasks.extend(running.task.take());
    }
    // Only one with an end of its own may be alone; a racer that waits for ever may be left if the others
    // have failed.
    let result = time::timeout(Duration::from_millis(5), || trine::race(tasks));
    let result = result.expect("a wait with a result does not unwind");
    if let Ok(value) = result {
        let known = watches.borrow().iter().any(|watch| watch.number == value.number);
        must!(known, "a race was won by {}, who was not in it", value.number);
    }
    drop(ended);
}

fn local_tasks(ctx: &mut Ctx) {
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
    // To the end: a thread that ends leaves its local coroutines unfinished.
    for (task, watch) in tasks {
        let id = task.id();
        watch.settle(id, trine::shield(LONG, || task.join()));
    }
    must!(Rc::strong_count(&shared) == 1, "a local coroutine has not dropped what it owns");
}

fn map(ctx: &mut Ctx) {
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

/// Senders in a scope, and a body that receives some or all of what they send.
fn pipeline(ctx: &mut Ctx) {
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
