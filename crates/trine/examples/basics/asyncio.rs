//! Python's first example of asyncio: three sleepers start in order, their results come in order.
//!
//! Run it with `cargo run --release --example asyncio [MILLISECONDS]`. The argument is the length
//! of a second here, so that a test need not wait for long; it is 1000 by default.
//!
//! Local coroutines start in the order in which they were spawned, so the first lines never change.

use std::error::Error;
use std::time::{Duration, Instant};

use trine::{coroutine, time};

fn sleeper(name: &str, seconds: u32, second: Duration) -> String {
    println!("Task {name}: sleeps for {seconds} s");
    time::sleep(second * seconds);
    println!("Task {name}: done");
    format!("{name} slept for {seconds} s")
}

fn main() -> Result<(), Box<dyn Error>> {
    let length = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    let second = Duration::from_millis(length);
    println!("started at 0 s");
    let begin = Instant::now();
    let tasks = [("A", 2), ("B", 3), ("C", 1)]
        .map(|(name, seconds)| coroutine::spawn_local(move || sleeper(name, seconds, second)));
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.join()?);
    }
    println!("{results:?}");
    println!("finished after {:.1?}", begin.elapsed());
    Ok(())
}
