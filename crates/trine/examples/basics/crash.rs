//! Tasks that crash in processes, and do no harm to the other tasks.
//!
//! A pool runs a decoder that fails in five ways, from a panic to a stack overflow. Each failure is
//! the error of its own task, with the true cause. Run it with `cargo run --example crash`.

use trine::{Cause, process};

/// An untrusted decoder: some inputs crash it in the ways that foreign code crashes.
fn decode(input: u32) -> u32 {
    match input {
        3 => panic!("input {input} is not for us"),
        5 => std::process::abort(),
        // SAFETY: none: this read is unsound on purpose, and ends its process.
        7 => unsafe { std::ptr::null::<u32>().read_volatile() },
        11 => std::process::exit(3),
        13 => recurse(0) as u32,
        _ => input * 2,
    }
}

fn recurse(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 32]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + ballast[1] }
}

fn main() {
    let pool = process::Pool::new(2);
    let tasks: Vec<_> = (0..16).map(|input| (input, pool.spawn(input, decode))).collect();
    let mut decoded = 0;
    for (input, task) in tasks {
        match task.join() {
            Ok(output) => {
                assert_eq!(output, input * 2);
                decoded += 1;
            }
            Err(error) => {
                println!("input {input}: {error}");
                match error.cause() {
                    Cause::Panicked { message, .. } => assert!(message.contains("input 3")),
                    Cause::Signaled { signal: 6, .. } => assert_eq!(input, 5),
                    Cause::Signaled { signal: 11, .. } => assert_eq!(input, 7),
                    Cause::Exited { code: 3, .. } => assert_eq!(input, 11),
                    Cause::StackOverflow => assert_eq!(input, 13),
                    other => unreachable!("{other}"),
                }
            }
        }
    }
    println!("{decoded} of 16 inputs decoded, 5 tasks lost, nothing else");
    assert_eq!(decoded, 11);
    pool.shutdown();
}
