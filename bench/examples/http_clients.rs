//! Three HTTP clients on trine: hyper's, reqwest beside tokio, ureq on a pool of threads.
//!
//! Each fetches pages from a server of this program, which takes 100 ms for an answer. The program
//! prints how long each took: `cargo run --release -p trine-bench --example http_clients`. The
//! guide's chapter on HTTP clients shows the functions.

use std::error::Error;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use trine::net::{TcpListener, TcpStream};
use trine::{coroutine, future, thread, time};

/// Fetches a page by hyper, over a connection of its own.
fn get(host: &str, path: &str) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(host)?; // host and port
    let request = Request::get(path).header("Host", host).body(Empty::<Bytes>::new())?;
    future::block_on(async {
        let (mut sender, connection) = http1::handshake(stream).await?;
        let connection = future::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        drop(sender); // the connection ends
        connection.await??;
        Ok((status, body))
    })
}

/// Fetches a page by reqwest, on the threads of `tokio`. Waits as any call of trine.
fn get_by_reqwest(
    tokio: &tokio::runtime::Handle,
    client: &reqwest::Client,
    url: &str,
) -> Result<String, Box<dyn Error + Send + Sync>> {
    let request = client.get(url);
    let page = tokio.spawn(async { request.send().await?.error_for_status()?.text().await });
    Ok(future::block_on(page)??)
}

/// Fetches pages by ureq, at most `at_once` at a time.
fn get_all_by_ureq(urls: &[String], at_once: usize) -> Vec<Result<String, ureq::Error>> {
    let agent = ureq::Agent::new_with_defaults();
    let pool = thread::Pool::new(at_once);
    let get = |url: &String| {
        let (agent, url) = (agent.clone(), url.clone());
        pool.spawn(move || agent.get(&url).call()?.body_mut().read_to_string())
    };
    let tasks: Vec<_> = urls.iter().map(get).collect();
    trine::join_all(tasks).into_iter().map(|page| page.expect("ureq does not panic")).collect()
}

/// Answers every request with `hello`, after 100 ms.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; 4096]; // each request of these clients comes in one piece
    while stream.read(&mut request)? > 0 {
        time::sleep(Duration::from_millis(100));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
    }
    Ok(())
}

/// Runs `fetch` in 200 coroutines at once, and prints how long that took.
fn measure<F>(name: &str, fetch: F) -> Result<(), Box<dyn Error>>
where
    F: Fn() -> Result<String, Box<dyn Error + Send + Sync>> + Sync,
{
    let begin = Instant::now();
    trine::scope(|s| {
        let get = || s.coroutine(|| time::timeout(Duration::from_secs(10), &fetch));
        let pages: Vec<_> = (0..200).map(|_| get()).collect();
        for page in pages {
            assert_eq!(page.join()???, "hello");
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    })?
    .map_err(|error| error.to_string())?;
    println!("{name}: 200 pages in {:?}", begin.elapsed());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = listener.local_addr()?.to_string();
    let url = format!("http://{host}/");
    let server = coroutine::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(coroutine::spawn(|| answer(stream)));
        }
    });

    measure("hyper", || {
        let (status, body) = get(&host, "/")?;
        assert_eq!(status, StatusCode::OK);
        Ok(String::from_utf8(body.into())?)
    })?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    measure("reqwest", || get_by_reqwest(runtime.handle(), &client, &url))?;

    let begin = Instant::now();
    for page in get_all_by_ureq(&vec![url; 200], 50) {
        assert_eq!(page?, "hello");
    }
    println!("ureq on 50 threads: 200 pages in {:?}", begin.elapsed());
    server.cancel();
    Ok(())
}
