//! A million waiting coroutines at once, each with a stack and a guard of its own.
//!
//! Run it with `cargo run --release --example million [COUNT]`. It prints the memory of each
//! coroutine, and fails if that is more resident memory than the library promises: 4.6 KiB.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use trine::{coroutine, thread, time};

/// The library's promise: bytes of resident memory for each idle coroutine.
const PROMISE: f64 = 4.6 * 1024.0;

/// Reads a field of `/proc/self/status`, in bytes.
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

    // A chain: each coroutine waits for the task before it. The first task, a thread, waits for the
    // gate.
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
        "{count} coroutines wait after {:.1?}: {:.2} KiB resident each, \
         and {table:.0} B of page table",
        begin.elapsed(),
        each / 1024.0
    );

    drop(open);
    assert_eq!(last.join()?, count, "all have ended, one after the other");
    println!("all have ended after {:.1?}", begin.elapsed());
    if each > PROMISE {
        return Err(format!("{each:.0} B each is more than the promised {PROMISE:.0} B").into());
    }
    Ok(())
}
