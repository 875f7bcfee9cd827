//! A million coroutines at once, each with a stack and a guard page of its own, waiting.
//!
//! `cargo run --release --example million [COUNT]` prints what each takes, and fails if it is more
//! resident memory than the library promises: 4.6 KiB.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use trine::{coroutine, thread, time};

/// What the library promises, in bytes of resident memory for each idle coroutine.
const PROMISE: f64 = 4.6 * 1024.0;

/// A field of `/proc/self/status`, in bytes.
fn status(field: &str) -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let begun = Arc::new(AtomicUsize::new(0));
    let (resident, tables) = (status("VmRSS")?, status("VmPTE")?);
    let begin = Instant::now();

    // A chain: each waits for the one before it, the first for a thread that waits for us.
    let (open, gate) = mpsc::channel::<()>();
    let mut last = thread::spawn(move || {
        let _ = gate.recv();
        0_usize
    });
    for _ in 0..count {
        let begun = Arc::clone(&begun);
        last = coroutine::spawn(move || {
            begun.fetch_add(1, Ordering::Relaxed);
            last.join().map_or(0, |before| before + 1)
        });
    }
    while begun.load(Ordering::Relaxed) < count {
        time::sleep(Duration::from_millis(10));
    }
    let each = (status("VmRSS")? - resident) / count as f64;
    let table = (status("VmPTE")? - tables) / count as f64;
    println!(
        "{count} coroutines wait after {:.1?}: {:.2} KiB resident each, and {table:.0} B of page table",
        begin.elapsed(),
        each / 1024.0
    );

    drop(open);
    assert_eq!(last.join()?, count, "one after the other has ended");
    println!("all have ended after {:.1?}", begin.elapsed());
    if each > PROMISE {
        return Err(format!("{each:.0} B each is more than the promised {PROMISE:.0} B").into());
    }
    Ok(())
}
