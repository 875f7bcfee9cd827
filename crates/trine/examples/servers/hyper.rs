//! hyper's HTTP/1.1 server on trine: answers "Hello, world!", and sends back bodies posted to
//! `/echo`.
//!
//! Run it with `cargo run --release --features hyper --example hyper [ADDRESS [future|coroutine]]`.
//! It listens at ADDRESS (`127.0.0.1:8080`) and prints the address. Each connection is a future
//! task, or a coroutine that waits for its future.
//!
//! The future task is the default: it has no stack, and seems to take a little less CPU time.
//! Measured was the server's CPU time per request, with 64 kept connections and the server on one
//! core, both ways in turn, medians of seven. With epoll, the future task took 2, 8 and 10 % less
//! than the coroutine in three runs; with io_uring, 7 % more and 3 % less in two. On a shared
//! machine that is hardly more than noise. The coroutine is for services that make blocking calls.

use std::convert::Infallible;
use std::error::Error;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use trine::net::{TcpListener, TcpStream};
use trine::{coroutine, future};

type Answer = Response<Either<Full<Bytes>, Incoming>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let as_coroutines = match arguments.next().as_deref() {
        None | Some("future") => false,
        Some("coroutine") => true,
        Some(other) => return Err(format!("`{other}` is neither future nor coroutine").into()),
    };
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);
    // In a coroutine, so that each connection starts on the carrier that accepts it.
    coroutine::spawn(move || accept(&listener, as_coroutines)).join()?;
    Ok(())
}

fn accept(listener: &TcpListener, as_coroutines: bool) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) if as_coroutines => {
                drop(coroutine::spawn(|| future::block_on(serve(stream))));
            }
            Ok(stream) => drop(future::spawn(serve(stream))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

/// Serves one connection.
async fn serve(stream: TcpStream) {
    let served = async {
        stream.set_nodelay(true)?;
        http1::Builder::new()
            .timer(trine::hyper::Timer)
            .serve_connection(stream, service_fn(answer))
            .await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    if let Err(error) = served.await {
        eprintln!("{error}");
    }
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let page = |text| Either::Left(Full::from(Bytes::from_static(text)));
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, page(b"Hello, world!")),
        (&Method::POST, "/echo") => (StatusCode::OK, Either::Right(request.into_body())),
        _ => (StatusCode::NOT_FOUND, page(b"there is / and, to post to, /echo")),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    Ok(answer)
}
