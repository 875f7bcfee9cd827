//! A large table that is loaded once and shared by all workers of a pool.
//!
//! The table is computed in the process that the workers are forked from, so no worker loads or
//! copies it, not even the replacement of one that has crashed. Run it with
//! `cargo run --release --example preload`.

use std::sync::OnceLock;
use std::time::Instant;

use trine::process::Pool;

/// The largest prime factor of each number, or 0 if that is the number itself.
static FACTORS: OnceLock<Vec<u32>> = OnceLock::new();

const NUMBERS: usize = 4_000_000;

/// Runs in the process that all workers are forked from.
fn load() {
    let mut factors = vec![0_u32; NUMBERS];
    for prime in 2..NUMBERS / 2 {
        if factors[prime] == 0 {
            for multiple in (2 * prime..NUMBERS).step_by(prime) {
                factors[multiple] = prime as u32;
            }
        }
    }
    println!("loaded in process {}", std::process::id());
    FACTORS.set(factors).expect("preload runs once");
}

/// Runs in each worker.
fn start() {
    println!("worker {} starts with {} numbers", std::process::id(), table().len());
}

fn table() -> &'static [u32] {
    FACTORS.get().expect("preload has run before any task")
}

/// Returns the prime factors of a number, the largest first.
fn factors(mut number: usize) -> Vec<usize> {
    assert!(number < NUMBERS, "{number} is not in the table");
    let mut factors = Vec::new();
    while table()[number] != 0 {
        let factor = table()[number] as usize;
        factors.push(factor);
        number /= factor;
    }
    factors.push(number);
    factors
}

fn main() -> Result<(), trine::TaskError> {
    let begin = Instant::now();
    let pool = Pool::builder().workers(3).preload(load).initializer(start).build();
    assert_eq!(pool.spawn(3_999_996, factors).join()?, [37, 13, 11, 7, 3, 3, 3, 2, 2]);
    println!("the first answer took {:?}: it waited for the table", begin.elapsed());

    // A worker crashes. Its replacement has the table as well, without loading it again.
    let crash = pool.spawn((), |()| -> () { std::process::abort() });
    println!("{}", crash.join().unwrap_err());
    let begin = Instant::now();
    let tasks: Vec<_> = (1000..2000).map(|number| (number, pool.spawn(number, factors))).collect();
    for (number, task) in tasks {
        assert_eq!(task.join()?.into_iter().product::<usize>(), number);
    }
    println!("1000 more answers took {:?}", begin.elapsed());
    pool.shutdown();
    Ok(())
}
