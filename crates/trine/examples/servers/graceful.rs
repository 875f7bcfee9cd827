//! A TCP server that drains: it ends its clients' work before it ends itself.
//!
//! Run it with `cargo run --example graceful [ADDRESS [MILLISECONDS]]`. It listens at ADDRESS
//! (`127.0.0.1:7777`) and answers each line with the number of its bytes. At Ctrl-C or SIGTERM it
//! closes its listener at once, so that new clients are refused and go elsewhere. Connections have
//! MILLISECONDS (5000) to end; then the rest is cancelled, and their sockets are closed.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use trine::net::{TcpListener, TcpStream};
use trine::signal::{Signal, Signals};

/// Answers lines until the client has no more. Counts the clients that were served to their end.
fn serve(stream: &TcpStream, served: &AtomicUsize) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        let answer = format!("{}\n", line?.len());
        (&mut &*stream).write_all(answer.as_bytes())?;
    }
    served.fetch_add(1, Relaxed);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7777".into());
    let limit = arguments.next().map_or(Ok(5000), |number| number.parse())?;
    // Before the address is known, so that no signal comes too early.
    let signals = Signals::new([Signal::INT, Signal::TERM])?;
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);

    let served = AtomicUsize::new(0);
    // Under `supervise`, a connection that panics ends no other.
    let ended = trine::supervise(|s| {
        let served = &served;
        // The listener moves into the task that accepts, and is closed by its end.
        let accepting = s.coroutine(move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => drop(s.coroutine(move || {
                        if let Err(error) = serve(&stream, served) {
                            eprintln!("a connection: {error}");
                        }
                    })),
                    Err(error) => eprintln!("accept: {error}"),
                }
            }
        });
        let signal = signals.recv();
        accepting.cancel();
        let in_time = s.join_all_timeout(Duration::from_millis(limit));
        s.cancel_because("the time to drain is up");
        signal.map(|_| in_time)
    });
    let in_time = ended.value??;
    let how = if in_time { "all connections have ended" } else { "the rest was cancelled" };
    println!("{} clients served; {how}", served.into_inner());
    Ok(())
}
