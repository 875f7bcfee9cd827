//! Fetches many pages at once, with a coroutine for each, and prints a summary.
//!
//! Run it with `cargo run --release --example fetch_all [--at-once N] URL…`. It takes `http` only,
//! and reads the URLs from standard input if there are none on the command line. With
//! `--self-test N` it fetches N pages from a server of its own, which answers no request before
//! all connections that may be open at once are open.
//!
//! ```text
//!   urls ──► a permit of N ──► connect ──► send ──► read to the end ──► outcome, permit back
//! ```
//!
//! Each coroutine starts only after its permit is taken, so there are never more coroutines than
//! connections. A page may take 30 seconds. The limit on descriptors is raised as far as allowed.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Uri;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trine::net::{TcpListener, TcpStream};
use trine::sync::{Event, Mutex, Semaphore};
use trine::{scope, time};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Descriptors for other purposes than connections.
const SPARE: usize = 64;

/// Connections at once by default; fewer if there are not enough descriptors.
const AT_ONCE: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut at_once, mut self_test, mut urls) = (AT_ONCE, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .ok_or("a number is missing")?
                .parse::<usize>()
                .map_err(|e| e.to_string())
        };
        match argument.as_str() {
            "--at-once" => at_once = number()?.max(1),
            "--self-test" => self_test = Some(number()?),
            url => urls.push(url.to_owned()),
        }
    }
    // The self-test has both ends of each connection.
    let each = if self_test.is_some() { 2 } else { 1 };
    let room = descriptors()?.saturating_sub(SPARE) / each;
    if room < at_once.min(self_test.unwrap_or(at_once)) {
        println!("the limit of descriptors allows {room} connections at once");
    }
    let at_once = at_once.min(room).max(1);
    let summary = match self_test {
        Some(pages) => test(pages, at_once)?,
        None if urls.is_empty() => fetch_all(io::stdin().lines().map_while(Result::ok), at_once)?,
        None => fetch_all(urls.into_iter(), at_once)?,
    };
    summary.print();
    if summary.failed.is_empty() { Ok(()) } else { Err("not all could be fetched".into()) }
}

/// Raises the limit on descriptors, and returns it.
fn descriptors() -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.map_or(usize::MAX, |most| most.try_into().unwrap_or(usize::MAX)))
}

#[derive(Default)]
struct Summary {
    took: Vec<Duration>,
    bytes: usize,
    failed: BTreeMap<String, usize>,
    whole: Duration,
}

fn fetch_all(
    urls: impl Iterator<Item = String>,
    at_once: usize,
) -> Result<Summary, Box<dyn Error>> {
    let begin = Instant::now();
    let (permits, summary) = (Semaphore::new(at_once), Mutex::new(Summary::default()));
    scope(|s| {
        for url in urls {
            let permit = permits.acquire();
            let summary = &summary;
            s.coroutine(move || {
                let begin = Instant::now();
                let fetched = time::timeout(TIMEOUT, || fetch(&url));
                drop(permit);
                let mut summary = summary.lock();
                match fetched {
                    Ok(Ok(bytes)) => {
                        summary.took.push(begin.elapsed());
                        summary.bytes += bytes;
                    }
                    Ok(Err(failure)) => *summary.failed.entry(failure).or_default() += 1,
                    Err(_) => *summary.failed.entry("took too long".into()).or_default() += 1,
                }
            });
        }
    })?;
    let mut summary = summary.into_inner();
    summary.took.sort_unstable();
    summary.whole = begin.elapsed();
    Ok(summary)
}

/// Fetches a page. Returns the number of its bytes, or the kind of the failure.
fn fetch(url: &str) -> Result<usize, String> {
    let kind = |error: io::Error| error.kind().to_string();
    let url: Uri = url.trim().parse().map_err(|_| "no URL")?;
    if url.scheme_str() != Some("http") {
        return Err("not http".into());
    }
    let authority = url.authority().ok_or("no URL")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut stream =
        TcpStream::connect((host, authority.port_u16().unwrap_or(80))).map_err(kind)?;
    // HTTP/1.0, so that the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(kind)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(kind)?;

    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = parsed.parse(&answer) else {
        return Err("no answer of HTTP".into());
    };
    let got = answer.len() - head;
    let length = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let promised = length.and_then(|h| std::str::from_utf8(h.value).ok()?.parse::<usize>().ok());
    match parsed.code {
        Some(200..=299) if promised.is_some_and(|promised| got < promised) => {
            Err("cut short".into())
        }
        Some(200..=299) => Ok(got),
        code => Err(format!("status {}", code.unwrap_or(0))),
    }
}

impl Summary {
    fn print(&self) {
        let part = |percent: usize| {
            let last = self.took.len().saturating_sub(1);
            self.took.get(last * percent / 100).copied().unwrap_or_default()
        };
        let rate = self.took.len() as f64 / self.whole.as_secs_f64();
        println!(
            "{} pages, {} bytes in {:.1?}: {rate:.0} a second; half took {:.1?}, 99 of 100 {:.1?}",
            self.took.len(),
            self.bytes,
            self.whole,
            part(50),
            part(99)
        );
        for (kind, count) in &self.failed {
            println!("{count} failed: {kind}");
        }
    }
}

/// Fetches `pages` pages from a server in this process.
fn test(pages: usize, at_once: usize) -> Result<Summary, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (connected, all) = (AtomicUsize::new(0), Event::new());
    let crowd = at_once.min(pages);
    let serve = |mut stream: TcpStream| {
        if connected.fetch_add(1, Ordering::Relaxed) + 1 == crowd {
            println!("{crowd} connections at once");
            all.set();
        }
        all.wait();
        let mut request = [0; 1024];
        let mut filled = 0;
        while !request[..filled].ends_with(b"\r\n\r\n") {
            match stream.read(&mut request[filled..])? {
                0 => return Ok(()),
                count => filled += count,
            }
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!")
    };
    let fetched = scope(|s| {
        let (listener, serve) = (&listener, &serve);
        s.coroutine(move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => drop(s.coroutine(move || -> io::Result<()> { serve(stream) })),
                    Err(error) => eprintln!("accept: {error}"),
                }
            }
        });
        let urls = (0..pages).map(|page| format!("http://{address}/{page}"));
        let fetched = fetch_all(urls, at_once).map_err(|error| error.to_string());
        s.cancel_because("all is fetched");
        fetched
    })?;
    Ok(fetched?)
}
