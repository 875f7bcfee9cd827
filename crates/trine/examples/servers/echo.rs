//! A TCP server that sends back everything that it receives.
//!
//! One coroutine for each connection, with plain reads and writes. Run it with
//! `cargo run --release --example echo [ADDRESS]`; it listens at ADDRESS (`127.0.0.1:7777`) and
//! prints the address.

use std::error::Error;
use std::io::{self, Read, Write};

use trine::coroutine;
use trine::net::{TcpListener, TcpStream};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);
    // In a coroutine, so that each connection starts on the carrier that accepts it.
    coroutine::spawn(move || accept(&listener)).join()?;
    Ok(())
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(coroutine::spawn(move || {
                if let Err(error) = echo(stream) {
                    eprintln!("a connection: {error}");
                }
            })),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}
