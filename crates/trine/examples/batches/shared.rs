//! 100 MiB of memory shared with processes without a copy, and a counter that all of them write.
//!
//! Eight tasks in two worker processes each sum a part of the numbers, and count them in shared
//! memory. Then the program compares the time of a task with and without the 100 MiB as its
//! argument. Run it with `cargo run --release --example shared`.

use std::error::Error;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use trine::ipc::{Shared, SharedMut};
use trine::process;

const NUMBERS: usize = (100 << 20) / size_of::<u64>();
const PARTS: usize = 8;

/// Sums a part of the numbers, in a worker process, on the same memory that `main` has filled.
fn sum((numbers, part, done): (Shared<[u64]>, usize, SharedMut<AtomicU64>)) -> u64 {
    let len = NUMBERS / PARTS;
    let sum = numbers[part * len..(part + 1) * len].iter().sum();
    done.fetch_add(len as u64, Relaxed);
    sum
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers = Shared::build(NUMBERS, |numbers: &mut [u64]| {
        numbers.iter_mut().zip(1..).for_each(|(place, number)| *place = number);
    })?;
    let done = SharedMut::<AtomicU64>::zero()?;

    let pool = process::Pool::new(2);
    let tasks: Vec<_> =
        (0..PARTS).map(|part| pool.spawn((numbers.clone(), part, done.clone()), sum)).collect();
    let mut total = 0;
    for task in tasks {
        total += task.join()?;
        println!("{} of {NUMBERS} numbers are added", done.load(Relaxed));
    }
    assert_eq!(total, (NUMBERS as u64 + 1) * (NUMBERS as u64 / 2));
    println!("{total}, by {PARTS} tasks in other processes");

    // The time of a task with 100 MiB as its argument, and without an argument.
    let [mut least_nothing, mut least_shared] = [f64::MAX; 2];
    for _ in 0..50 {
        let begin = Instant::now();
        pool.spawn((), |()| ()).join()?;
        least_nothing = least_nothing.min(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        let len = pool.spawn(numbers.clone(), |numbers: Shared<[u64]>| numbers.len()).join()?;
        least_shared = least_shared.min(begin.elapsed().as_secs_f64());
        assert_eq!(len, NUMBERS);
    }
    println!(
        "there and back: {:.3} ms with 100 MiB, {:.3} ms with nothing",
        least_shared * 1e3,
        least_nothing * 1e3
    );
    pool.shutdown();
    Ok(())
}
