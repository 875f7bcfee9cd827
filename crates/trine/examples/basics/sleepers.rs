//! A million sleeping futures at once, each a task with a handle.
//!
//! Run it with `cargo run --release --example sleepers [COUNT]`. It prints the memory of each
//! future, and fails if that is more resident memory than the library promises: 0.4 KiB, with the
//! handle.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use trine::{future, time};

/// The library's promise: bytes of resident memory for each sleeping future.
const PROMISE: f64 = 0.4 * 1024.0;

/// Returns the resident memory of this process, in bytes.
fn resident() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("VmRSS")).ok_or("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let asleep = Arc::new(AtomicUsize::new(0));
    let before = resident()?;
    let begin = Instant::now();
    // Long enough for all to fall asleep before the first one wakes.
    let deadline = begin + Duration::from_millis(500) + Duration::from_micros(2) * count;
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let asleep = Arc::clone(&asleep);
            future::spawn(async move {
                asleep.fetch_add(1, Ordering::Relaxed);
                future::sleep_until(deadline).await;
            })
        })
        .collect();
    while asleep.load(Ordering::Relaxed) < count as usize {
        time::sleep(Duration::from_millis(1));
    }
    let (took, each) = (begin.elapsed(), (resident()? - before) / f64::from(count));
    println!("{count} futures sleep after {took:.1?}: {each:.0} B resident each");
    for task in tasks {
        task.join()?;
    }
    println!("all have ended after {:.1?}", begin.elapsed());
    if each > PROMISE {
        return Err(format!("{each:.0} B each is more than the promised {PROMISE:.0} B").into());
    }
    Ok(())
}
