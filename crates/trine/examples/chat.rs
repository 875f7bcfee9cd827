//! A room to chat in, over TCP, a line at a time: `telnet` or `nc` is the client.
//!
//! `cargo run --example chat [ADDRESS]` listens at ADDRESS (`127.0.0.1:7000`), prints where, and says what is typed at
//! its standard input to everybody in the room. At the end of that the room closes.
//!
//! ```text
//!   client ──► reader ──► room ──┬─► queue of 64 lines ──► writer ──► client
//!                                └─► queue of 64 lines ──► writer ──► client
//! ```
//!
//! Two coroutines for each client share its stream. Nobody waits for a client that is slow: what its queue has no
//! room for is left out, it is told how much that was, and one that takes nothing for 10 seconds is hung up on. The
//! first line is the client's name; then `/who` and `/quit` are commands, all else is said.

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

/// Who takes nothing for so long is hung up on; so long does a room that closes wait for its clients.
const PATIENCE: Duration = Duration::from_secs(10);

type Line = Arc<str>;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".into());
    let listener = TcpListener::bind(address)?;
    println!("listening at {}", listener.local_addr()?);
    let room = Room { members: Mutex::new(Some(BTreeMap::new())) };
    // Nothing is sent here: each writer holds the sender, and the last one closes the channel.
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
                room.say(&format!("* {line}"));
            }
            room.close();
            readers.cancel_because("the room has closed");
        });
        if written.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
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

/// Reads what a client says until it leaves.
fn attend<'scope>(
    stream: &Arc<TcpStream>,
    room: &Room,
    writers: &'scope Scope<'scope, '_>,
    writing: Sender<()>,
) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
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
        // An error is that of a client which is gone.
        let _ = write_lines(&stream, &lines);
        // Ends the reader too.
        let _ = stream.shutdown(Shutdown::Both);
    });
    while let Some(line) = read_line(&mut input)? {
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/who" => seat.who(),
            said => room.say(&format!("{}: {said}", seat.name)),
        }
    }
    Ok(())
}

/// A line without its end, nor anything that would do something to a terminal; `None` at the end of all.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    input.take(LINE).read_until(b'\n', &mut line)?;
    if line.len() as u64 == LINE && !line.ends_with(b"\n") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let text = String::from_utf8_lossy(&line);
    Ok((!line.is_empty()).then(|| text.chars().filter(|c| !c.is_control()).collect()))
}

/// Writes what comes, as much as there is at once.
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
    /// By name; `None` once the room has closed. Nobody waits while it is locked, so std's lock will do, and a
    /// cancelled reader can still leave.
    members: Mutex<Option<BTreeMap<String, Member>>>,
}

struct Member {
    queue: Sender<Line>,
    /// Lines left out since the last one that it was sent.
    missed: u64,
}

impl Member {
    fn send(&mut self, line: &Line) {
        let told = |missed| format!("* {missed} lines were left out, you are slow\n").into();
        if self.missed > 0 && self.queue.try_send(told(self.missed)).is_ok() {
            self.missed = 0;
        }
        // Also where the writer has gone: then the reader is about to leave.
        if self.missed > 0 || self.queue.try_send(Arc::clone(line)).is_err() {
            self.missed += 1;
        }
    }
}

impl Room {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Member>) -> T) -> Option<T> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(f)
    }

    /// Says a line to all.
    fn say(&self, text: &str) {
        let line: Line = format!("{text}\n").into();
        self.with(|members| members.values_mut().for_each(|member| member.send(&line)));
    }

    /// A seat, and what is said from now on; `None` if the name will not do.
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
        self.say(&format!("* {name} is here"));
        Some((Seat { room: self, name: name.to_owned() }, lines))
    }

    /// Sends all away. Their queues end with a last line.
    fn close(&self) {
        self.say("* the room closes");
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A client's place in the room, until it is dropped.
struct Seat<'a> {
    room: &'a Room,
    name: String,
}

impl Seat<'_> {
    /// Tells the client who is here.
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
            self.room.say(&format!("* {} has left", self.name));
        }
    }
}
