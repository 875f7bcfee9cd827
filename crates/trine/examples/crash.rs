//! What happens to the others when one task crashes: nothing, if it is a process.
//!
//! `cargo run --example crash`

use trine::{Cause, process};

/// A decoder that nobody should trust: some inputs end it in the ways that foreign code ends.
fn decode(input: u32) -> u32 {
    match input {
        3 => panic!("input {input} is not for us"),
        5 => std::process::abort(),
        // SAFETY: there is none: this is the crash that the example is about.
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
