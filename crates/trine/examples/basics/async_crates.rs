//! Async crates that need no runtime of their own, on trine's carriers.
//!
//! Future tasks, coroutines and threads share channels of `async-channel`, locks of `async-lock`
//! and events of `event-listener`; tasks go into combinators and streams of `futures`. Run it with
//! `cargo run --release --example async_crates`.

use std::error::Error;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_lock::{Mutex, Semaphore};
use event_listener::Event;
use futures::future::{Either, join_all, select};
use futures::stream::{self, FuturesUnordered, StreamExt};
use trine::{coroutine, future, thread};

fn main() -> Result<(), Box<dyn Error>> {
    channel()?;
    lock()?;
    event()?;
    combinators()?;
    streams()?;
    Ok(())
}

/// A bounded channel: future tasks send; a future task, a coroutine and a thread receive.
fn channel() -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = async_channel::bounded::<u64>(8);
    let senders: Vec<_> = (0..10_u64)
        .map(|n| {
            let sender = sender.clone();
            future::spawn(async move {
                for item in n * 100..(n + 1) * 100 {
                    sender.send(item).await.expect("a receiver is left");
                }
            })
        })
        .collect();
    drop(sender);
    let sum = |items: async_channel::Receiver<u64>| async move {
        let mut items = pin!(items);
        let mut sum = 0;
        while let Some(item) = items.next().await {
            sum += item;
        }
        sum
    };
    let (first, second, third) = (sum(receiver.clone()), sum(receiver.clone()), sum(receiver));
    let receivers = [
        future::spawn(first),
        coroutine::spawn(|| future::block_on(second)),
        thread::spawn(|| future::block_on(third)),
    ];
    let mut total = 0;
    for receiver in receivers {
        total += receiver.join()?;
    }
    for sender in senders {
        sender.join()?;
    }
    println!(
        "channel: ten futures have sent 1000 items to three kinds of receivers, {total} in all"
    );
    assert_eq!(total, 999 * 1000 / 2);
    Ok(())
}

/// A lock that is held across a wait, and a semaphore around it.
fn lock() -> Result<(), Box<dyn Error>> {
    let (count, permits) = (Arc::new(Mutex::new(0)), Arc::new(Semaphore::new(3)));
    let add = move || {
        let (count, permits) = (Arc::clone(&count), Arc::clone(&permits));
        async move {
            let _permit = permits.acquire().await;
            let mut count = count.lock().await;
            let before = *count;
            future::sleep(Duration::from_micros(20)).await;
            *count = before + 1;
            *count
        }
    };
    let tasks: Vec<_> = (0..99)
        .map(|n| {
            let add = add();
            match n % 3 {
                0 => future::spawn(add),
                1 => coroutine::spawn(|| future::block_on(add)),
                _ => thread::spawn(|| future::block_on(add)),
            }
        })
        .collect();
    for task in tasks {
        task.join()?;
    }
    let count = future::block_on(add());
    println!("lock: 100 tasks of three kinds, one at a time, have counted to {count}");
    assert_eq!(count, 100);
    Ok(())
}

/// An event: a thread notifies a thousand futures.
fn event() -> Result<(), Box<dyn Error>> {
    let shared = Arc::new((Event::new(), AtomicBool::new(false)));
    let waiters: Vec<_> = (0..1000)
        .map(|_| {
            let shared = Arc::clone(&shared);
            future::spawn(async move {
                loop {
                    let listener = shared.0.listen();
                    if shared.1.load(Ordering::SeqCst) {
                        return;
                    }
                    listener.await;
                }
            })
        })
        .collect();
    thread::spawn(move || {
        shared.1.store(true, Ordering::SeqCst);
        shared.0.notify(usize::MAX);
    })
    .join()?;
    let notified = waiters.into_iter().map(|waiter| waiter.join()).filter(Result::is_ok).count();
    println!("event: {notified} futures have heard of it");
    assert_eq!(notified, 1000);
    Ok(())
}

/// Combinators: a task is a future, so it goes into them directly.
fn combinators() -> Result<(), Box<dyn Error>> {
    let squares = join_all((1..=10).map(|n| coroutine::spawn(move || n * n)));
    let squares: Result<Vec<i32>, _> = future::block_on(squares).into_iter().collect();
    let sum: i32 = squares?.iter().sum();
    let race = future::spawn(async {
        let soon = pin!(future::sleep(Duration::from_millis(1)));
        let late = pin!(future::sleep(Duration::from_secs(3600)));
        matches!(select(soon, late).await, Either::Left(_))
    });
    println!("combinators: ten squares make {sum}; the sooner sleep won: {}", race.join()?);
    assert_eq!(sum, 385);
    Ok(())
}

/// Streams, and many futures in one task.
fn streams() -> Result<(), Box<dyn Error>> {
    let task = future::spawn(async {
        let answers: FuturesUnordered<_> = (0..100_u64)
            .map(|n| async move {
                future::sleep(Duration::from_micros(500 - 5 * n)).await;
                n
            })
            .collect();
        let answered = answers.fold(0, |sum, n| ready(sum + n)).await;
        let buffered = stream::iter(0..100_u64)
            .map(|n| future::spawn(async move { 2 * n }))
            .buffered(10)
            .filter_map(|n| ready(n.ok()))
            .collect::<Vec<u64>>()
            .await;
        (answered, buffered.is_sorted(), buffered.len())
    });
    let (sum, sorted, count) = task.join()?;
    println!(
        "streams: {sum} from sleeps in one task; \
         {count} from tasks of their own, in order: {sorted}"
    );
    assert!(sum == 4950 && sorted && count == 100);
    Ok(())
}
