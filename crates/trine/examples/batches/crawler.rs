//! Crawls a site and reports its broken links, with a bounded number of connections.
//!
//! Run it with `cargo run --release --example crawler http://HOST[:PORT]/PATH [AT_ONCE]`. It takes
//! `http` only, stays on the host, and fetches all pages that are one link further at once.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{Read, Write};
use std::time::Duration;

use http::Uri;
use trine::net::TcpStream;
use trine::{TaskError, time};

/// For one page.
const LIMIT: Duration = Duration::from_secs(10);

/// Fetches a page; returns its text, or why there is none.
fn fetch(site: &str, path: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(site).map_err(text)?;
    // HTTP/1.0, so that the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {site}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(text)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer of HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => Err(format!("status {}", status.unwrap_or("none"))),
    }
}

/// The paths on the same host that a page at `path` links to.
fn links(path: &str, page: &str) -> BTreeSet<String> {
    let directory = &path[..=path.rfind('/').unwrap_or(0)];
    let targets = page.split("href=\"").skip(1).filter_map(|rest| rest.split(['"', '#']).next());
    let here = targets.filter(|target| !target.is_empty() && !target.contains(':'));
    here.map(|target| match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("{directory}{target}"),
    })
    .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let start: Uri = arguments.next().ok_or("usage: crawler URL [AT_ONCE]")?.parse()?;
    let at_once = arguments.next().map_or(Ok(16), |number| number.parse())?;
    let host = start.host().ok_or("the URL has no host")?;
    let site = &format!("{host}:{}", start.port_u16().unwrap_or(80));
    let mut level = BTreeSet::from([start.path().to_owned()]);
    let (mut seen, mut bytes, mut broken) = (level.clone(), 0, 0);
    while !level.is_empty() {
        let mut next = BTreeSet::new();
        trine::scope(|s| {
            let fetch = |path: &String| time::timeout(LIMIT, || fetch(site, path));
            for (path, page) in level.iter().zip(s.map(&level, at_once, fetch)) {
                match page?.unwrap_or_else(|late| Err(late.to_string())) {
                    Ok(page) => {
                        bytes += page.len();
                        next.extend(links(path, &page));
                    }
                    Err(failure) => {
                        println!("{path}: {failure}");
                        broken += 1;
                    }
                }
            }
            Ok::<(), TaskError>(())
        })??;
        level = next.difference(&seen).cloned().collect();
        seen.extend(level.iter().cloned());
    }
    println!("{} pages, {bytes} bytes, {broken} broken", seen.len() - broken);
    Ok(())
}
