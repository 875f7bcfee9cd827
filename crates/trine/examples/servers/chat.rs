//! A chat room over TCP, a line at a time; use `telnet` or `nc` as the client.
//!
//! Run it with `cargo run --example chat [ADDRESS]`. It listens at ADDRESS (`127.0.0.1:7000`) and
//! prints the address. Lines on its standard input go to all clients; at the end of standard input
//! the room closes.
//!
//! ```text
//!   client ──► reader ──► room ──┬─► queue of 64 lines ──► writer ──► client
//!                                └─► queue of 64 lines ──► writer ──► client
//! ```
//!
//! Two coroutines for each client share its stream. A slow client delays no other: lines that its
//! queue has no room for are left out, and a line reports their number. The room disconnects a
//! client that takes nothing for 10 seconds. The client's first line is its name; after that,
//! `/who` and `/quit` are commands, and every other line goes to all clients.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use trine::net::{Shutdown, TcpListener, TcpStream};
use trine::sync::channel::{self, Receiver, RecvTimeoutError, Sender};
use trine::{Scope, supervise};

/// Lines that may wait for one client.
const QUEUE: usize = 64;

/// Bytes in a line, its end included.
const LINE: u64 = 1024;

/// A client that takes nothing for this long is disconnected. A room that closes waits as long for
/// its clients.
const TIMEOUT: Duration = Duration::from_secs(10);

type Line = Arc<str>;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".into());
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);
    let room = Room { members: Mutex::new(Some(BTreeMap::new())) };
    // Carries no message: each writer holds a sender, and the last writer's end closes the channel.
    let (writing, written) = channel::bounded::<()>(1);
    let ended = supervise(|writers| {
        let ended = supervise(|readers| {
            let (listener, room) = (&listener, &room);
            readers.coroutine(move || {
                for stream in listener.incoming() {
                    let writing = writing.clone();
                    match stream {
                        Ok(stream) => drop(readers.coroutine(move || {
                            let _ = attend(&Arc::new(stream), room, writers, writing);
                        })),
                        Err(error) => eprintln!("accept: {error}"),
                    }
                }
            });
            for line in io::stdin().lines().map_while(Result::ok) {
                room.broadcast(&format!("* {line}"));
            }
            room.close();
            readers.cancel_because("the room has closed");
        });
        if written.recv_timeout(TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            writers.cancel_because("the room has closed");
        }
        ended
    });
    for failure in ended.value?.failures.iter().chain(&ended.failures) {
        eprintln!("{failure}");
    }
    println!("the room has closed");
    Ok(())
}

/// Asks for a client's name, and passes its lines on until it leaves.
fn attend<'scope>(
    stream: &Arc<TcpStream>,
    room: &Room,
    writers: &'scope Scope<'scope, '_>,
    writing: Sender<()>,
) -> io::Result<()> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut client = &**stream;
    let mut input = BufReader::new(client);
    client.write_all(b"* your name?\n")?;
    let (seat, lines) = loop {
        let Some(name) = read_line(&mut input)? else { return Ok(()) };
        match room.enter(&name) {
            Some(entered) => break entered,
            None => client.write_all(b"* that is taken, or no name; another?\n")?,
        }
    };
    let stream = Arc::clone(stream);
    writers.coroutine(move || {
        let _writing = writing;
        // An error means that the client has disconnected.
        let _ = write_lines(&stream, &lines);
        // Ends the reader too.
        let _ = stream.shutdown(Shutdown::Both);
    });
    while let Some(line) = read_line(&mut input)? {
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/who" => seat.who(),
            text => room.broadcast(&format!("{}: {text}", seat.name)),
        }
    }
    Ok(())
}

/// Reads a line, without its end and without control characters, which could harm a terminal.
/// Returns `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    input.take(LINE).read_until(b'\n', &mut line)?;
    if line.len() as u64 == LINE && !line.ends_with(b"\n") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let text = String::from_utf8_lossy(&line);
    Ok((!line.is_empty()).then(|| text.chars().filter(|c| !c.is_control()).collect()))
}

/// Writes lines as they come; all that are queued go out in one write.
fn write_lines(stream: &TcpStream, lines: &Receiver<Line>) -> io::Result<()> {
    let mut output = BufWriter::new(stream);
    while let Ok(line) = lines.recv() {
        output.write_all(line.as_bytes())?;
        while let Ok(line) = lines.try_recv() {
            output.write_all(line.as_bytes())?;
        }
        output.flush()?;
    }
    Ok(())
}

struct Room {
    /// The members by name; `None` once the room has closed. No coroutine waits while it holds the
    /// lock, so std's lock is fine, and a cancelled reader can still take it to leave.
    members: Mutex<Option<BTreeMap<String, Member>>>,
}

struct Member {
    queue: Sender<Line>,
    /// Lines left out since the last line that was queued.
    missed: u64,
}

impl Member {
    fn send(&mut self, line: &Line) {
        let notice = |missed| format!("* {missed} lines were left out, you are slow\n").into();
        if self.missed > 0 && self.queue.try_send(notice(self.missed)).is_ok() {
            self.missed = 0;
        }
        // Fails too if the writer has ended; then the reader is about to leave.
        if self.missed > 0 || self.queue.try_send(Arc::clone(line)).is_err() {
            self.missed += 1;
        }
    }
}

impl Room {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Member>) -> T) -> Option<T> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(f)
    }

    /// Sends a line to all members.
    fn broadcast(&self, text: &str) {
        let line: Line = format!("{text}\n").into();
        self.with(|members| members.values_mut().for_each(|member| member.send(&line)));
    }

    /// Adds a member, and returns its seat and its queue; `None` if the name is taken or invalid.
    fn enter(&self, name: &str) -> Option<(Seat<'_>, Receiver<Line>)> {
        let name = name.trim();
        if name.is_empty() || name.starts_with(['/', '*']) || name.len() > 32 {
            return None;
        }
        let (queue, lines) = channel::bounded(QUEUE);
        self.with(|members| {
            if members.contains_key(name) {
                return false;
            }
            members.insert(name.to_owned(), Member { queue, missed: 0 });
            true
        })
        .filter(|&entered| entered)?;
        self.broadcast(&format!("* {name} is here"));
        Some((Seat { room: self, name: name.to_owned() }, lines))
    }

    /// Removes all members. Their queues end with a last line.
    fn close(&self) {
        self.broadcast("* the room closes");
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A client's place in the room, until it is dropped.
struct Seat<'a> {
    room: &'a Room,
    name: String,
}

impl Seat<'_> {
    /// Sends the client the names of all members.
    fn who(&self) {
        self.room.with(|members| {
            let names: Vec<&str> = members.keys().map(String::as_str).collect();
            let line = format!("* here are {}\n", names.join(", ")).into();
            members.get_mut(&self.name).into_iter().for_each(|member| member.send(&line));
        });
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let left = self.room.with(|members| members.remove(&self.name).is_some());
        if left == Some(true) {
            self.room.broadcast(&format!("* {} has left", self.name));
        }
    }
}
