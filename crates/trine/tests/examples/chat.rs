//! The chat server.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::running::Running;

/// A client in the room.
struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn enter(server: &Running, name: &str) -> Client {
        let mut client = Client { lines: BufReader::new(server.connect()) };
        client.expects("* your name?");
        client.sends(name);
        client
    }

    fn sends(&mut self, line: &str) {
        self.lines.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Reads the next line; `None` when the server has closed the connection.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| line.trim_end().to_owned())
    }

    #[track_caller]
    fn expects(&mut self, line: &str) {
        assert_eq!(self.next().as_deref(), Some(line));
    }
}

#[test]
fn three_chat_and_the_room_closes() {
    let mut server = Running::start("chat", &[]);
    let mut ann = Client::enter(&server, "ann");
    ann.expects("* ann is here");
    let mut bob = Client::enter(&server, "ann");
    bob.expects("* that is taken, or no name; another?");
    bob.sends("bob");
    bob.expects("* bob is here");
    ann.expects("* bob is here");
    let mut cyd = Client::enter(&server, "cyd");
    for client in [&mut ann, &mut bob, &mut cyd] {
        client.expects("* cyd is here");
    }

    ann.sends("hello\x1b[2J");
    for client in [&mut ann, &mut bob, &mut cyd] {
        client.expects("ann: hello[2J");
    }
    bob.sends("/who");
    bob.expects("* here are ann, bob, cyd");

    cyd.sends("/quit");
    assert_eq!(cyd.next(), None);
    for client in [&mut ann, &mut bob] {
        client.expects("* cyd has left");
    }
    // One client disconnects, one sends too long a line, and one never sends a name.
    let mut dan = Client::enter(&server, "dan");
    let mut eve = Client::enter(&server, "eve");
    let silent = server.connect();
    dan.expects("* dan is here");
    while eve.next().unwrap() != "* eve is here" {}
    dan.lines.get_mut().shutdown(Shutdown::Both).unwrap();
    while ann.next().unwrap() != "* dan has left" {}
    eve.sends(&"e".repeat(2000));
    ann.expects("* eve has left");

    server.tell("good night\n");
    ann.expects("* good night");
    let printed = server.end();
    assert_eq!(printed, "the room has closed\n");
    ann.expects("* the room closes");
    assert_eq!(ann.next(), None);
    drop(silent);
    let mut last = Vec::new();
    while let Some(line) = bob.next() {
        last.push(line);
    }
    assert_eq!(last.last().unwrap(), "* the room closes");
}

#[test]
fn who_does_not_read_holds_up_nobody() {
    let server = Running::start("chat", &[]);
    let mut slow = Client::enter(&server, "slow").lines;
    let mut quick = Client::enter(&server, "quick");
    let mut talk = |text: &str| {
        quick.sends(text);
        while quick.next().unwrap().strip_prefix("quick: ") != Some(text) {}
    };
    // More than the sockets and the queue of the slow client hold. Each line is received before the
    // next is sent, so the quick client's own queue holds them all.
    let much = "x".repeat(1000);
    for _ in 0..12_000 {
        talk(&much);
    }
    // When it reads again, it gets a notice. If all this took long, the server has disconnected it.
    let reader = thread::spawn(move || {
        let mut line = String::new();
        while slow.read_line(&mut line).is_ok_and(|count| count > 0) {
            if line.starts_with("* ") && line.contains("lines were left out") {
                return;
            }
            line.clear();
        }
    });
    while !reader.is_finished() {
        talk("?");
    }
    reader.join().unwrap();
}
