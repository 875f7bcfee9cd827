//! An HTTP/1.1 server that answers "Hello, world!": one coroutine for each connection, plain reads
//! and writes.
//!
//! Run it with `cargo run --release --example http_hello [ADDRESS [IDLE]]`. It listens at ADDRESS
//! (`127.0.0.1:8080`), prints the address, and closes connections that send nothing for IDLE
//! seconds (by default, never).
//!
//! ```text
//!   read ──► input: │ request │ request │ requ…      all that has arrived, in one read
//!                        │         │
//!   write ◄─ output: │ answer  │ answer  │           the answers to whole requests, in one write
//! ```
//!
//! An incomplete head, of at most 8 KiB, stays in the buffer for the next read. Bodies are skipped.
//! Once a connection has its two buffers, a request allocates nothing: headers are parsed in place,
//! and the answer, with its `Date`, is made once a second.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime};

use httparse::{Error as Malformed, Header, Request, Status};
use trine::net::{Shutdown, TcpListener, TcpStream};
use trine::{coroutine, time};

const BODY: &str = "Hello, world!";

/// The size of the input buffer, and so of the longest head.
const MOST: usize = 8 * 1024;

/// The most header lines in a head.
const LINES: usize = 64;

const BAD: &str = "400 Bad Request";
const TOO_LONG: &str = "431 Request Header Fields Too Large";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let idle = match arguments.next() {
        Some(seconds) => Some(Duration::from_secs_f64(seconds.parse()?)),
        None => None,
    };
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);
    // In a coroutine, so that each connection starts on the carrier that accepts it.
    coroutine::spawn(move || accept(&listener, idle)).join()?;
    Ok(())
}

fn accept(listener: &TcpListener, idle: Option<Duration>) {
    for stream in listener.incoming() {
        match stream {
            // The result is dropped: a connection that fails concerns its client alone.
            Ok(stream) => drop(coroutine::spawn(move || serve(stream, idle))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, idle: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = [0; MOST];
    let mut output = Vec::new();
    // Bytes in `input`; bytes of the last request's body that have not arrived yet.
    let (mut filled, mut body) = (0, 0_u64);
    loop {
        let room = &mut input[filled..];
        let count = match idle {
            None => stream.read(room)?,
            Some(idle) => time::timeout(idle, || stream.read(room))??,
        };
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let (used, mut end) = PREPARED.with_borrow_mut(|prepared| {
            prepared.refresh();
            answer_all(&input[..filled], &mut body, prepared, &mut output)
        });
        if end.is_none() && used == 0 && filled == MOST {
            // The head fills the buffer and is still incomplete.
            end = Some(End::Refused(TOO_LONG));
        }
        if let Some(End::Refused(status)) = end {
            write!(output, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
        }
        if !output.is_empty() {
            stream.write_all(&output)?;
            output.clear();
        }
        match end {
            Some(End::Requested) if used == filled && body == 0 => return Ok(()),
            Some(_) => return linger(stream, &mut input),
            None => {}
        }
        input.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Ends a connection whose client may still be sending. It reads on for a second, because closing a
/// socket with unread input can destroy the answer on its way.
fn linger(mut stream: TcpStream, input: &mut [u8]) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    time::timeout(Duration::from_secs(1), || while stream.read(input).is_ok_and(|n| n > 0) {})?;
    Ok(())
}

/// The reason why a connection ends.
enum End {
    /// The client has requested it.
    Requested,
    /// The client has sent an invalid request; the text is the status of the answer.
    Refused(&'static str),
}

/// Answers all whole requests in `input`. Returns the number of bytes that they took, and the
/// reason why the connection ends, if it does. `body` counts the bytes of the last request's body
/// that have not arrived yet.
fn answer_all(
    input: &[u8],
    body: &mut u64,
    prepared: &Prepared,
    output: &mut Vec<u8>,
) -> (usize, Option<End>) {
    let mut used = 0;
    loop {
        let here = (*body).min((input.len() - used) as u64);
        *body -= here;
        used += here as usize;
        if used == input.len() {
            return (used, None);
        }
        match parse(&input[used..]) {
            Ok(Some((length, head))) => {
                used += length;
                *body = head.body;
                if head.expects && used == input.len() && head.body > 0 {
                    output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                prepared.answer(&head, output);
                if !head.keep_alive {
                    return (used, Some(End::Requested));
                }
            }
            Ok(None) => return (used, None),
            Err(status) => return (used, Some(End::Refused(status))),
        }
    }
}

/// Parses the head at the beginning of `input`, and returns its length; `None` if it is incomplete.
fn parse(input: &[u8]) -> Result<Option<(usize, Head)>, &'static str> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(input, &mut lines) {
        Ok(Status::Complete(length)) => Ok(Some((length, Head::of(&request)?))),
        Ok(Status::Partial) => Ok(None),
        Err(Malformed::TooManyHeaders) => Err(TOO_LONG),
        Err(Malformed::Version) => Err("505 HTTP Version Not Supported"),
        Err(_) => Err(BAD),
    }
}

/// The head of a request, as far as the answer depends on it.
struct Head {
    /// The minor version of HTTP/1.
    version: u8,
    /// True for the method HEAD, whose answer has no body.
    is_head: bool,
    keep_alive: bool,
    /// True if the client waits for "100 Continue" before it sends the body.
    expects: bool,
    /// The length of the body.
    body: u64,
}

impl Head {
    fn of(request: &Request<'_, '_>) -> Result<Head, &'static str> {
        let version = request.version.ok_or(BAD)?;
        let is_head = request.method == Some("HEAD");
        let mut head = Head { version, is_head, keep_alive: version == 1, expects: false, body: 0 };
        let (mut hosts, mut length) = (0, None);
        for Header { name, value } in request.headers.iter() {
            // Most names have another length, and cost one comparison.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => hosts += 1,
                6 if name.eq_ignore_ascii_case("expect") => {
                    head.expects = value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        if option.eq_ignore_ascii_case(b"close") {
                            head.keep_alive = false;
                        } else if version == 0 && option.eq_ignore_ascii_case(b"keep-alive") {
                            head.keep_alive = true;
                        }
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                    let text = std::str::from_utf8(value).ok().filter(|_| digits).ok_or(BAD)?;
                    let this = text.parse::<u64>().map_err(|_| BAD)?;
                    // Two lengths that differ are an attempt to smuggle a request.
                    if length.is_some_and(|length| length != this) {
                        return Err(BAD);
                    }
                    length = Some(this);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    return Err("411 Length Required");
                }
                _ => {}
            }
        }
        if hosts > 1 || (hosts == 0 && version == 1) {
            return Err(BAD);
        }
        head.body = length.unwrap_or(0);
        Ok(head)
    }
}

/// The answer of this second, for open and for closing connections of HTTP/1.1.
struct Prepared {
    second: u64,
    open: String,
    close: String,
}

impl Prepared {
    const NONE: Prepared = Prepared { second: 0, open: String::new(), close: String::new() };

    fn refresh(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
        if second == self.second {
            return;
        }
        self.second = second;
        let date = httpdate::HttpDate::from(now);
        for (text, connection) in [(&mut self.open, ""), (&mut self.close, "Connection: close\r\n")]
        {
            text.clear();
            let _ = write!(
                text,
                "HTTP/1.1 200 OK\r\nServer: trine\r\nDate: {date}\r\n{connection}\
                 Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{BODY}",
                BODY.len()
            );
        }
    }

    fn answer(&self, head: &Head, output: &mut Vec<u8>) {
        let text = if head.keep_alive { &self.open } else { &self.close };
        let text = if head.is_head { &text[..text.len() - BODY.len()] } else { text };
        if head.version == 0 && head.keep_alive {
            // HTTP/1.0 needs a header to keep the connection open; such clients are rare.
            let (status, rest) = text.split_once("\r\n").unwrap_or_default();
            let _ = write!(output, "{status}\r\nConnection: keep-alive\r\n{rest}");
        } else {
            output.extend_from_slice(text.as_bytes());
        }
    }
}

thread_local! {
    /// One for each carrier. The coroutine does not wait while it borrows it, so no other coroutine
    /// of the carrier can find it borrowed.
    static PREPARED: RefCell<Prepared> = const { RefCell::new(Prepared::NONE) };
}
