//! "Hello, world!" by the runtimes' HTTP servers.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use may_minihttp::{HttpServer, HttpService};
use tokio::runtime::{Builder, Runtime};

use super::socket::{announce, free_address, listener};

const BODY: &str = "Hello, world!";

/// Builds tokio's current-thread runtime, with sockets.
pub fn current() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Serves with hyper on tokio, set up like trine's example `hyper`.
pub fn tokio() -> anyhow::Result<()> {
    let listener = listener()?;
    listener.set_nonblocking(true)?;
    current()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new());
                // A connection that fails concerns its client alone.
                let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    })
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(Bytes::from_static(BODY.as_bytes()))))
}

pub fn may() -> anyhow::Result<()> {
    may::config().set_workers(1);
    let address = free_address()?;
    let server = HttpServer(Hello).start(&address)?;
    announce(&address)?;
    server.join().map_err(|_| anyhow::anyhow!("the server panicked"))
}

#[derive(Clone)]
struct Hello;

impl HttpService for Hello {
    fn call(
        &mut self,
        _: may_minihttp::Request<'_, '_, '_>,
        answer: &mut may_minihttp::Response<'_>,
    ) -> std::io::Result<()> {
        answer.header("Content-Type: text/plain").body(BODY);
        Ok(())
    }
}
