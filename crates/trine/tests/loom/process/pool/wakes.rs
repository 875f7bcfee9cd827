//! Sleeping and notifying: a master hands out tasks, a worker replies to them, and no thread sleeps
//! forever.
//!
//! `link.rs`, `replies.rs`, `rings.rs` and `inbox.rs` are the library's. The code here does what
//! `pool/worker.rs` and `service/thread.rs` do.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::dispatcher::Dispatcher;
use super::link::WorkerLink;
use super::replies;
use crate::check;
use crate::process::wire::board::WorkerSlot;
use crate::process::wire::reader::heads;
use crate::process::wire::ring::{CELLS, Producer};
use crate::process::wire::rings::{self, Words, WorkerRings};
use crate::process::wire::{self, FrameKind, Head};
use crate::process::worker::inbox::{self, Inbox};
use crate::sys::io::poll::Poll;
use crate::sys::io::{Blocking, socket};
use crate::task::park;

struct Pool {
    link: WorkerLink,
    dispatcher: Arc<Dispatcher>,
    /// In mutexes of std, which are free whenever loom lets another thread run.
    tasks: Mutex<Producer>,
    worker: Mutex<Option<WorkerRings>>,
}

fn no_descriptor() -> OwnedFd {
    File::open("/dev/null").expect("it is there").into()
}

fn pool() -> Pool {
    let (master, descriptor) = rings::create().unwrap();
    let worker = Mutex::new(Some(rings::attach(descriptor).unwrap()));
    let descriptors = (no_descriptor(), no_descriptor(), None);
    let (link, tasks) = WorkerLink::new(
        (1, 1),
        descriptors,
        WorkerSlot::new(),
        (Some(master), None),
        Arc::new(Poll),
    );
    Pool {
        link,
        dispatcher: Arc::new(Dispatcher::new()),
        tasks: Mutex::new(tasks.expect("it is made")),
        worker,
    }
}

/// Runs the worker, which replies to tasks until it receives the end.
fn work(pool: &Pool) {
    let lines = pool.worker.lock().unwrap().take();
    let mut inbox = Inbox::new(no_descriptor(), lines, inbox::scratch());
    pool.link.slot.set_ready();
    loop {
        let order = inbox.next();
        match order.head.kind {
            FrameKind::Run => {
                inbox.outbox.blank();
                inbox.outbox.answer(&Head::of(FrameKind::Value, order.head.task), Vec::new());
                inbox.outbox.finished();
                inbox.reuse(order.body);
            }
            FrameKind::Setup => return,
            kind => panic!("{kind:?}"),
        }
    }
}

/// The number of replies taken at once from which on the worker is attended; 1, so that it happens.
const MANY: usize = 1;

/// Runs the service, until it receives the end.
fn serve(pool: &Pool) {
    let Pool { link, dispatcher, .. } = pool;
    let mut attended = false;
    loop {
        let blocking = if attended { Blocking::No } else { Blocking::Yes };
        let bytes = socket::receive_from_worker(blocking).unwrap_or_default();
        for head in heads(&bytes) {
            match head.kind {
                FrameKind::Bell if replies::receive(dispatcher, link) >= MANY => {
                    link.mute();
                    attended = true;
                }
                FrameKind::Bell => replies::listen(dispatcher, link),
                FrameKind::Ready => assert!(link.is_ready(), "it has said so"),
                FrameKind::Setup => return,
                kind => panic!("{kind:?}"),
            }
        }
        if attended && replies::receive(dispatcher, link) <= 1 {
            attended = false;
            replies::listen(dispatcher, link);
        }
    }
}

fn hand(pool: &Pool, task: u64) {
    let head = Head::of(FrameKind::Run, task).record();
    let place = pool.tasks.lock().unwrap().push(&head, &[]);
    assert!(place.is_some(), "there is room");
    if pool.link.words().is_some_and(Words::wake_worker) {
        socket::send_to_worker(&wire::head(FrameKind::Bell, 0, 0));
    }
}

fn join(pool: &Pool, task: u64) {
    let done = || pool.dispatcher.is_done(task);
    pool.dispatcher.register(task);
    while !done() {
        replies::park(&pool.dispatcher, &pool.link, &done, None).expect("nobody cancels it");
    }
}

/// All tasks have ended.
fn end(_: &Pool) {
    let end = wire::head(FrameKind::Setup, 0, 0);
    socket::send_to_worker(&end);
    socket::send_to_master(&end);
}

fn join_one(pool: &Pool) {
    hand(pool, 0);
    join(pool, 0);
    end(pool);
}

fn join_one_in_a_coroutine(pool: &Pool) {
    park::be_carried();
    join_one(pool);
}

fn join_two(pool: &Pool) {
    hand(pool, 0);
    join(pool, 0);
    hand(pool, 1);
    join(pool, 1);
    end(pool);
}

fn join_two_ahead(pool: &Pool) {
    hand(pool, 0);
    hand(pool, 1);
    join(pool, 0);
    join(pool, 1);
    end(pool);
}

fn assert_answered(pool: &Pool) {
    let answered = pool.dispatcher.answered.lock().unwrap();
    assert!(answered.iter().copied().eq(0..answered.len() as u64), "in order, each once");
    assert!(!answered.is_empty());
}

#[test]
fn a_thread_takes_its_answer_and_the_worker_its_task() {
    check(2, pool, &[join_one, work, serve], assert_answered);
}

#[test]
fn a_coroutine_has_its_answer_from_the_service() {
    check(2, pool, &[join_one_in_a_coroutine, work, serve], assert_answered);
}

#[test]
fn one_task_follows_the_other() {
    check(2, pool, &[join_two, work], assert_answered);
}

#[test]
fn two_tasks_are_handed_ahead() {
    check(2, pool, &[join_two_ahead, work], assert_answered);
}

/// Puts more answers into the ring than it holds, each if there is room, without notices.
fn flood(pool: &Pool) {
    let rings = pool.worker.lock().unwrap().take();
    let mut answers = rings.expect("one works").answers;
    for _ in 0..CELLS + 1 {
        _ = answers.push(&Head::of(FrameKind::Value, 0).record(), &[]);
    }
}

fn look_once(pool: &Pool) {
    replies::receive_all(&pool.dispatcher, &pool.link, false);
}

#[test]
fn one_look_takes_no_more_answers_than_the_ring_holds() {
    check(3, pool, &[look_once, flood], |pool| {
        assert!(pool.dispatcher.answered.lock().unwrap().len() <= CELLS);
    });
}
