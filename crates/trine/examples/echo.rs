//! Answers every TCP connection with what it says.

use std::io::{Read, Write};

use trine::coroutine;
use trine::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let server = coroutine::spawn(move || -> std::io::Result<()> {
        let listener = TcpListener::bind(address)?;
        println!("listening at {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept()?;
            drop(coroutine::spawn(move || serve(stream)));
        }
    });
    server.join().unwrap()
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
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
