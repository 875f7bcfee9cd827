//! A TCP proxy that drains: it passes each connection on to another server.
//!
//! Run it with `cargo run --release --example proxy [ADDRESS [UPSTREAM]]`; it listens at ADDRESS
//! (`127.0.0.1:7777`) and connects to UPSTREAM (`127.0.0.1:80`). At Ctrl-C or SIGTERM it accepts no
//! more, gives the open connections ten seconds, and ends the rest.

use std::error::Error;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use trine::net::{TcpListener, TcpStream};
use trine::signal::{Signal, Signals};
use trine::sync::Semaphore;

/// Connections at once. Further ones wait in the listener's queue.
const AT_ONCE: usize = 1000;
const CONNECT: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7777".into());
    let upstream = arguments.next().unwrap_or_else(|| "127.0.0.1:80".into()).parse()?;
    let signals = Signals::new([Signal::INT, Signal::TERM])?;
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);
    let permits = Semaphore::new(AT_ONCE);
    let served = trine::supervise(|s| {
        let permits = &permits;
        // The listener moves into the task that accepts, and is closed by its end.
        let accepting = s.coroutine(move || {
            for client in listener.incoming() {
                let permit = permits.acquire();
                match client {
                    Ok(client) => drop(s.coroutine(move || {
                        let _permit = permit;
                        if let Err(error) = relay(&client, &upstream) {
                            eprintln!("a connection: {error}");
                        }
                    })),
                    Err(error) => eprintln!("accept: {error}"),
                }
            }
        });
        let signal = signals.recv();
        accepting.cancel();
        if !s.join_all_timeout(DRAIN) {
            s.cancel_because("the time to drain is up");
        }
        signal
    });
    served.value??;
    println!("drained");
    Ok(())
}

/// Passes bytes both ways until both sides have ended, or one fails.
fn relay(client: &TcpStream, upstream: &SocketAddr) -> io::Result<()> {
    let server = &TcpStream::connect_timeout(upstream, CONNECT)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    trine::try_scope(|s| {
        s.try_coroutine(|| pass(client, server));
        pass(server, client)
    })
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
