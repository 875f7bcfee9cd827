//! An HTTP/1.1 server that says hello: one coroutine for each connection, plain reads and writes.
//!
//! `cargo run --release --example http_hello [ADDRESS [IDLE]]` listens at ADDRESS (`127.0.0.1:8080`), prints
//! where, and hangs up on connections that send nothing for IDLE seconds (never).
//!
//! ```text
//!   read ──► input: │ request │ request │ requ…      whatever has come, in one read
//!                        │         │
//!   write ◄─ output: │ answer  │ answer  │           an answer to each whole request, in one write
//! ```
//!
//! What is not whole yet waits for the next read, and may have 8 KiB; bodies are read past. Once a connection has its
//! two buffers, a request allocates nothing: headers are parsed in place, and the answer, `Date` included, is
//! made once a second.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime};

use httparse::{Error as Malformed, Header, Request, Status};
use trine::net::{Shutdown, TcpListener, TcpStream};
use trine::{coroutine, time};

const BODY: &str = "Hello, world!";

/// The room for a request's head.
const MOST: usize = 8 * 1024;

/// Header lines in one head.
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
    // In a coroutine, so that its connections begin on the carrier that accepts them.
    coroutine::spawn(move || accept(&listener, idle)).join()?;
    Ok(())
}

fn accept(listener: &TcpListener, idle: Option<Duration>) {
    for stream in listener.incoming() {
        match stream {
            // How a connection ends is the client's business.
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
    // Of the input, what has come; of the last request's body, what has not.
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
            // A head that has no room to become whole.
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
            Some(End::Asked) if used == filled && body == 0 => return Ok(()),
            Some(_) => return linger(stream, &mut input),
            None => {}
        }
        input.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Ends a connection whose client may still be sending: if it were closed with something unread, the client
/// might lose the answer too.
fn linger(mut stream: TcpStream, input: &mut [u8]) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    time::timeout(Duration::from_secs(1), || while stream.read(input).is_ok_and(|n| n > 0) {})?;
    Ok(())
}

/// Why a connection ends.
enum End {
    /// The client wants it so.
    Asked,
    /// It has sent what is no request to us.
    Refused(&'static str),
}

/// Answers all whole requests in `input`. Says how much of it is done with, and whether that is the end.
/// `body` is what is still to come of the last request.
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
            Ok(Some((head, wish))) => {
                used += head;
                *body = wish.body;
                if wish.expects && used == input.len() && wish.body > 0 {
                    output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                prepared.answer(&wish, output);
                if !wish.keep_alive {
                    return (used, Some(End::Asked));
                }
            }
            Ok(None) => return (used, None),
            Err(status) => return (used, Some(End::Refused(status))),
        }
    }
}

/// The length of the head that `input` begins with, if it is whole, and what it asks for.
fn parse(input: &[u8]) -> Result<Option<(usize, Wish)>, &'static str> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(input, &mut lines) {
        Ok(Status::Complete(head)) => Ok(Some((head, Wish::of(&request)?))),
        Ok(Status::Partial) => Ok(None),
        Err(Malformed::TooManyHeaders) => Err(TOO_LONG),
        Err(Malformed::Version) => Err("505 HTTP Version Not Supported"),
        Err(_) => Err(BAD),
    }
}

/// What a request wants to be done beside its answer.
struct Wish {
    version: u8,
    is_head: bool,
    keep_alive: bool,
    expects: bool,
    body: u64,
}

impl Wish {
    fn of(request: &Request<'_, '_>) -> Result<Wish, &'static str> {
        let version = request.version.ok_or(BAD)?;
        let is_head = request.method == Some("HEAD");
        let mut wish = Wish { version, is_head, keep_alive: version == 1, expects: false, body: 0 };
        let (mut hosts, mut length) = (0, None);
        for Header { name, value } in request.headers.iter() {
            // Most lines are of other lengths, and cost one comparison.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => hosts += 1,
                6 if name.eq_ignore_ascii_case("expect") => {
                    wish.expects = value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        if option.eq_ignore_ascii_case(b"close") {
                            wish.keep_alive = false;
                        } else if version == 0 && option.eq_ignore_ascii_case(b"keep-alive") {
                            wish.keep_alive = true;
                        }
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                    let text = std::str::from_utf8(value).ok().filter(|_| digits).ok_or(BAD)?;
                    let this = text.parse::<u64>().map_err(|_| BAD)?;
                    // Two that differ are how requests are smuggled.
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
        wish.body = length.unwrap_or(0);
        Ok(wish)
    }
}

/// The answer of this second, in the two ways that most are given.
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

    fn answer(&self, wish: &Wish, output: &mut Vec<u8>) {
        let text = if wish.keep_alive { &self.open } else { &self.close };
        let text = if wish.is_head { &text[..text.len() - BODY.len()] } else { text };
        if wish.version == 0 && wish.keep_alive {
            // A client of 1.0 has to be told; it is rare.
            let (status, rest) = text.split_once("\r\n").unwrap_or_default();
            let _ = write!(output, "{status}\r\nConnection: keep-alive\r\n{rest}");
        } else {
            output.extend_from_slice(text.as_bytes());
        }
    }
}

thread_local! {
    /// One for each carrier: a coroutine stays on its own, and does not wait while it looks.
    static PREPARED: RefCell<Prepared> = const { RefCell::new(Prepared::NONE) };
}
