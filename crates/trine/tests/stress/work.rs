//! The functions of the tasks: some of the library's operations, chosen by the task's own numbers.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use trine::coroutine::{Generator, Local, Step};
use trine::sync::channel;
use trine::{Task, coroutine, future, thread, time};

use crate::asynchronous;
use crate::books::{BOOKS, Fate, Guard, Life, Message, Watch, Way, count};
use crate::families::{children, local_tasks, map, pipeline, race, scope, supervise};
use crate::locks::{condvar, event, mutex, rwlock, semaphore};
use crate::seeds::Rng;
use crate::world::WORLD;
use crate::wrecks::{choice, wreck};
use crate::{must, stopped};

/// The bound of a shield, longer than any step.
pub const LONG: Duration = Duration::from_secs(60);
const MOST_LIVE: u64 = 2000;

/// The state of one task.
pub struct Ctx {
    pub rng: Rng,
    pub fate: Arc<Fate>,
    pub number: u64,
    pub way: Way,
    pub depth: u32,
    /// True if it may start tasks of the pool. A task of the pool that waits for another of the
    /// pool could wait forever.
    pub pool: bool,
    /// True if it may wait for tasks of others. Not if a shield waits for it: two tasks could wait
    /// for each other without noticing their cancellation.
    pub strangers: bool,
}

/// The purpose of a task.
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

    pub fn of_child(&mut self, life: &Life) -> Ctx {
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

    pub fn may_start(&self) -> bool {
        self.depth < 4 && BOOKS.live() < MOST_LIVE && !stopped()
    }

    pub fn micros(&mut self, below: usize) -> Duration {
        Duration::from_micros(self.rng.below(below) as u64)
    }

    pub fn panic(&self) -> ! {
        self.fate.will_panic();
        panic!("{}", crate::EXPECTED);
    }
}

/// A task and its expected end; drop cancels it.
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

    pub fn task(&self) -> &Task<Guard> {
        self.task.as_ref().expect("not joined yet")
    }

    pub fn join(mut self) {
        let task = self.task.take().expect("not joined yet");
        let id = task.id();
        self.watch.settle(id, task.join());
    }

    /// Joins, or cancels the task and joins then.
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

pub fn work_as(ctx: &mut Ctx, _life: &Life, body: Body) {
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
            // A wait with a result returns an error, and the task may end as it likes.
            must!(rx.recv().is_err(), "a message without a sender");
        }
        2 => {
            let (tx, _rx) = channel::rendezvous();
            let refused = tx.send(Message::new(ctx.number, 0));
            refused.expect_err("there is no receiver").into_inner().returned();
        }
        _ => drop(trine::sync::Semaphore::new(0).acquire()),
    }
    must!(trine::cancelled(), "a wait for nothing has ended without a cancellation");
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
    let which = ctx.rng.below(29);
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
        26 | 27 => choice(ctx),
        28 => wreck(ctx),
        _ => drop(trine::checkpoint()),
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

/// Takes a handle of another task, and joins, cancels or detaches.
fn join_a_stranger(ctx: &mut Ctx) {
    let Some(running) = WORLD.tasks.take(&mut ctx.rng) else { return };
    let timeout = ctx.micros(2000);
    match ctx.rng.below(4) {
        // No task joins itself.
        3 if running.watch.number == ctx.number => running.detach(),
        0 => drop(running),
        1 => running.detach(),
        2 => drop(WORLD.tasks.put(&mut ctx.rng, running)),
        _ => running.join_soon(timeout),
    }
}
