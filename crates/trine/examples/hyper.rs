//! hyper's HTTP/1.1 server on trine: says hello, and sends back what is posted to `/echo`.
//!
//! `cargo run --release --features hyper --example hyper [ADDRESS [future|coroutine]]` listens at ADDRESS
//! (`127.0.0.1:8080`), prints where, and runs each connection as a future task, or in a coroutine that waits for its
//! future.

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
    // In a coroutine, so that its connections begin on the carrier that accepts them.
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
