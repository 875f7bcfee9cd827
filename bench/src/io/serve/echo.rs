//! Echo by the runtimes: a task for each connection, written as a user of each runtime would.

use std::io::{Read, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use super::socket::{BUFFER, announce, listener};

pub fn trine() -> anyhow::Result<()> {
    let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    announce(&listener.local_addr()?.to_string())?;
    let accept = move || -> std::io::Result<()> {
        loop {
            let (stream, _) = listener.accept()?;
            drop(trine::coroutine::spawn(move || echo(stream)));
        }
    };
    Ok(trine::coroutine::spawn(accept).join()??)
}

fn echo(mut stream: trine::net::TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

pub fn tokio(runtime: Runtime) -> anyhow::Result<()> {
    let listener = listener()?;
    listener.set_nonblocking(true)?;
    let accept = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = [0; BUFFER];
                loop {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) if stream.write_all(&buffer[..count]).await.is_err() => return,
                        Ok(_) => {}
                    }
                }
            });
        }
    };
    // In a task, so that a runtime with workers accepts on one of them.
    runtime.block_on(async { tokio::spawn(accept).await? })
}

/// Builds tokio's multi-thread runtime with one worker.
pub fn one_worker() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

pub fn monoio() -> anyhow::Result<()> {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};

    let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(4_096);
    builder.build()?.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            monoio::spawn(async move {
                let mut buffer = Vec::with_capacity(BUFFER);
                loop {
                    let (read, filled) = stream.read(buffer).await;
                    if !read.is_ok_and(|count| count > 0) {
                        return;
                    }
                    let (written, used) = stream.write_all(filled).await;
                    if written.is_err() {
                        return;
                    }
                    buffer = used;
                    buffer.clear();
                }
            });
        }
    })
}

pub fn may() -> anyhow::Result<()> {
    may::config().set_workers(1);
    let listener = may::net::TcpListener::bind("127.0.0.1:0")?;
    announce(&listener.local_addr()?.to_string())?;
    let accept = move || -> std::io::Result<()> {
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let echo = move || {
                let mut buffer = [0; BUFFER];
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(count) if stream.write_all(&buffer[..count]).is_err() => return,
                        Ok(_) => {}
                    }
                }
            };
            // SAFETY: the coroutine touches no thread-local storage and needs little stack.
            drop(unsafe { may::coroutine::spawn(echo) });
        }
    };
    // SAFETY: the coroutine touches no thread-local storage and needs little stack.
    let accepting = unsafe { may::coroutine::spawn(accept) };
    Ok(accepting.join().map_err(|_| anyhow::anyhow!("accepting panicked"))??)
}
