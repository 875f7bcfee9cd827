//! The twin on tokio of trine's example `crawler`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// For one page.
const LIMIT: Duration = Duration::from_secs(10);

/// Fetches a page; returns its text, or why there is none.
async fn fetch(site: &str, path: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(site).await.map_err(text)?;
    // HTTP/1.0, so that the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {site}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(text)?;
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let start: Uri = arguments.next().context("usage: crawler URL [AT_ONCE]")?.parse()?;
    let at_once = arguments.next().map_or(Ok(16), |number| number.parse())?;
    let host = start.host().context("the URL has no host")?;
    let site: Arc<str> = format!("{host}:{}", start.port_u16().unwrap_or(80)).into();
    let permits = Arc::new(Semaphore::new(at_once));
    let mut level = BTreeSet::from([start.path().to_owned()]);
    let (mut seen, mut bytes, mut broken) = (level.clone(), 0, 0);
    while !level.is_empty() {
        let mut next = BTreeSet::new();
        let mut fetched = JoinSet::new();
        for path in level {
            let (site, permits) = (Arc::clone(&site), Arc::clone(&permits));
            fetched.spawn(async move {
                let _permit = permits.acquire().await;
                let page = match timeout(LIMIT, fetch(&site, &path)).await {
                    Ok(page) => page,
                    Err(elapsed) => Err(elapsed.to_string()),
                };
                (path, page)
            });
        }
        let mut pages = Vec::new();
        while let Some(page) = fetched.join_next().await {
            pages.push(page?);
        }
        pages.sort();
        for (path, page) in pages {
            match page {
                Ok(page) => {
                    bytes += page.len();
                    next.extend(links(&path, &page));
                }
                Err(failure) => {
                    println!("{path}: {failure}");
                    broken += 1;
                }
            }
        }
        level = next.difference(&seen).cloned().collect();
        seen.extend(level.iter().cloned());
    }
    println!("{} pages, {bytes} bytes, {broken} broken", seen.len() - broken);
    Ok(())
}
