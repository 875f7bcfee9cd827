//! A service that heals itself: three children, one of each kind, and two of them fail.
//!
//! The decoder is a process, as some inputs crash it. The input that has killed a process is lost
//! with it, and the next process goes on with the rest. The audit is a thread that panics once. At
//! the end the program prints how often each child was restarted, and why. Run it with
//! `cargo run --release --example supervisor`.

use std::error::Error;
use std::time::Duration;

use trine::ipc;
use trine::ipc::channel::{Receiver, Sender};
use trine::supervisor::{Child, Context, Restart};
use trine::{sync, time};

const INPUTS: [&str; 8] = ["a", "bb", "broken", "ccc", "dddd", "broken", "eeeee", "ffffff"];

/// Decodes inputs in a process of its own, until one of them crashes it.
fn decode(context: &Context, (inputs, results): (Receiver<String>, Sender<usize>)) {
    context.ready();
    while let Ok(input) = inputs.recv() {
        if input == "broken" {
            std::process::abort();
        }
        if results.send(input.len()).is_err() {
            break;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (inputs, queue) = ipc::channel::<String>(4)?;
    let (answers, results) = ipc::channel::<usize>(4)?;
    let (log, lines) = sync::channel::bounded::<String>(16);
    let (audited, audits) = sync::channel::bounded::<()>(1);

    let print = move |_: &Context| {
        while let Ok(line) = lines.recv() {
            println!("{line}");
        }
    };
    let audit = move |context: &Context| {
        assert!(context.restarts() > 0, "the books do not balance");
        let _ = audited.send(());
        time::sleep(Duration::MAX);
    };
    // The log starts first and ends last, so it is there for the others.
    let supervisor = trine::supervisor()
        .intensity(5, Duration::from_secs(60))
        .backoff(Duration::from_millis(1), Duration::from_secs(1))
        .child("log", Child::coroutine(print))
        .child(
            "decoder",
            Child::process((queue, answers), decode)
                .restart(Restart::Transient) // it is done when there are no more inputs
                .reports_ready(),
        )
        .child("audit", Child::thread(audit))
        .start();

    let feed = trine::coroutine::spawn(move || {
        for input in INPUTS {
            inputs.send(input.to_owned()).expect("a decoder listens, or will");
        }
    });
    let sound = INPUTS.iter().filter(|input| **input != "broken").count();
    let mut total = 0;
    for _ in 0..sound {
        total += results.recv()?;
    }
    feed.join()?;
    audits.recv()?;

    log.send(format!("{sound} of {} inputs decoded, {total} letters", INPUTS.len()))?;
    for child in supervisor.children() {
        let failure = child.last_failure.map_or("no failure".into(), |last| last.to_string());
        let (name, kind, restarts) = (child.name, child.kind, child.restarts);
        log.send(format!("{name}, a {kind}, restarted {restarts} times: {failure}"))?;
    }
    // The log prints all lines, and returns: then it is restarted, unless the supervisor ends.
    while !log.is_empty() {
        trine::coroutine::yield_now();
    }
    supervisor.stop()?;
    println!("all children have ended");
    Ok(())
}
