//! The servers among the examples, with clients of std.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::running::Running;

#[test]
fn echo_answers_a_hundred_at_once() {
    let server = Running::start("echo", &[]);
    let mut streams: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for round in 0..3 {
        for (n, stream) in streams.iter_mut().enumerate() {
            write!(stream, "{round} {n:7}").unwrap();
        }
        for (n, stream) in streams.iter_mut().enumerate() {
            let mut back = [0; 9];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, format!("{round} {n:7}").as_bytes());
        }
    }
    for mut stream in streams {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it ends when its client does");
    }
    // More than the sockets' buffers hold.
    let mut stream = server.connect();
    let much: Vec<u8> = (0..20_000_000_u32).map(|n| (n / 7) as u8).collect();
    std::thread::scope(|s| {
        let mut half = stream.try_clone().unwrap();
        s.spawn(|| stream.write_all(&much).unwrap());
        let mut back = vec![0; much.len()];
        half.read_exact(&mut back).unwrap();
        assert!(back == much);
    });
}

/// An HTTP response.
struct Answer {
    /// The status line and the headers, in lower case.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// Reads one response; `None` at the end of the stream.
    fn read(stream: &mut BufReader<TcpStream>) -> Option<Answer> {
        let mut line = || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.to_ascii_lowercase()
        };
        let mut head = line();
        if head.is_empty() {
            return None;
        }
        while !head.ends_with("\r\n\r\n") {
            let next = line();
            assert!(!next.is_empty(), "cut short: {head}");
            head += &next;
        }
        let mut body = Vec::new();
        let mut take = |count: usize, body: &mut Vec<u8>| {
            let before = body.len();
            body.resize(before + count, 0);
            stream.read_exact(&mut body[before..]).unwrap();
        };
        if head.contains("\r\ntransfer-encoding: chunked\r\n") {
            loop {
                let mut size = Vec::new();
                while !size.ends_with(b"\r\n") {
                    take(1, &mut size);
                }
                let size = std::str::from_utf8(&size).unwrap().trim();
                let size = usize::from_str_radix(size, 16).unwrap();
                take(size, &mut body);
                take(2, &mut Vec::new());
                if size == 0 {
                    break;
                }
            }
        } else if let Some((_, rest)) = head.split_once("\r\ncontent-length: ") {
            take(rest.split("\r\n").next().unwrap().parse().unwrap(), &mut body);
        }
        Some(Answer { head, body })
    }

    #[track_caller]
    fn is_hello(&self) {
        assert!(self.head.starts_with("http/1.1 200 ok\r\n"), "{}", self.head);
        assert!(self.head.contains("\r\ndate: "), "{}", self.head);
        assert_eq!(self.body, b"Hello, world!");
    }
}

/// Sends `request`, and returns all responses up to the server's close.
#[track_caller]
fn ask(server: &Running, request: &[u8]) -> Vec<Answer> {
    let mut stream = server.connect();
    stream.write_all(request).unwrap();
    let mut stream = BufReader::new(stream);
    std::iter::from_fn(|| Answer::read(&mut stream)).collect()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n";

#[test]
fn http_hello_keeps_connections_and_answers_batches() {
    let server = Running::start("http_hello", &[]);
    let mut writer = server.connect();
    let mut reader = BufReader::new(writer.try_clone().unwrap());
    let mut hello = || Answer::read(&mut reader).unwrap().is_hello();
    // One by one; many in one write, which is more than its buffer holds; byte by byte; one and a
    // half.
    for _ in 0..10 {
        writer.write_all(GET).unwrap();
        hello();
    }
    writer.write_all(&GET.repeat(1000)).unwrap();
    (0..1000).for_each(|_| hello());
    for byte in GET.chunks(1) {
        writer.write_all(byte).unwrap();
    }
    hello();
    let (first, second) = GET.split_at(20);
    writer.write_all(&[GET, first].concat()).unwrap();
    hello();
    writer.write_all(second).unwrap();
    hello();
    // The server skips bodies: within a batch, and one that is larger than all buffers.
    let post = |length: usize| {
        let head = format!("POST / HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; length], GET.to_vec()].concat()
    };
    for length in [0, 1, 100, 1_000_000] {
        writer.write_all(&post(length)).unwrap();
        hello();
        hello();
    }
    writer.write_all(b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0);
    }
    assert!(head.contains("Content-Length: 13\r\n"), "{head}");
    // A body that waits for `100 Continue`.
    let expects =
        "POST / HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    writer.write_all(expects.as_bytes()).unwrap();
    assert!(Answer::read(&mut reader).unwrap().head.starts_with("http/1.1 100 continue\r\n"));
    writer.write_all(b"12345").unwrap();
    writer.write_all(GET).unwrap();
    Answer::read(&mut reader).unwrap().is_hello();
    Answer::read(&mut reader).unwrap().is_hello();
    writer.shutdown(Shutdown::Write).unwrap();
    assert!(Answer::read(&mut reader).is_none());
}

#[test]
fn http_hello_hangs_up_when_it_is_asked_to() {
    let server = Running::start("http_hello", &[]);
    let closes = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: TE, Close\r\n\r\n";
    for request in [&closes[..], &[GET, GET, closes, GET, GET].concat()] {
        let answers = ask(&server, request);
        assert_eq!(answers.len(), if request.len() > GET.len() * 2 { 3 } else { 1 });
        answers.iter().for_each(Answer::is_hello);
        assert!(answers.last().unwrap().head.contains("\r\nconnection: close\r\n"));
    }
    // HTTP/1.0 closes the connection unless the client asks it not to.
    let answers = ask(&server, b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answers.len(), 1);
    answers[0].is_hello();
    let keeps = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answers = ask(&server, [keeps, keeps, "GET / HTTP/1.0\r\n\r\n"].concat().as_bytes());
    assert_eq!(answers.len(), 3);
    answers.iter().for_each(Answer::is_hello);
    assert!(answers[0].head.contains("\r\nconnection: keep-alive\r\n"), "{}", answers[0].head);
}

#[test]
fn http_hello_refuses_what_is_no_request() {
    let server = Running::start("http_hello", &[]);
    let long = format!("GET / HTTP/1.1\r\nHost: here\r\nCookie: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: here\r\n{}\r\n", "A: b\r\n".repeat(65));
    for (request, status) in [
        ("hello?\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost here\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "411"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        (&long, "431"),
        (&many, "431"),
    ] {
        // Requests before it are still answered.
        let answers = ask(&server, &[GET, request.as_bytes()].concat());
        assert_eq!(answers.len(), 2, "{request}");
        answers[0].is_hello();
        let refused = &answers[1].head;
        assert!(refused.starts_with(&format!("http/1.1 {status} ")), "{request}{refused}");
        assert!(refused.contains("\r\nconnection: close\r\n"), "{refused}");
    }
    // A request that is cut short gets no response, and is no error.
    let mut stream = server.connect();
    stream.write_all(&GET[..GET.len() - 1]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(Answer::read(&mut BufReader::new(stream)).is_none());
    ask(&server, b"GET / HTTP/1.0\r\n\r\n")[0].is_hello();
}

#[test]
fn http_hello_hangs_up_on_the_idle() {
    let server = Running::start("http_hello", &["0.05"]);
    let mut stream = server.connect();
    stream.write_all(GET).unwrap();
    let mut reader = BufReader::new(stream);
    Answer::read(&mut reader).unwrap().is_hello();
    assert!(Answer::read(&mut reader).is_none());
}

#[test]
fn hyper_serves_either_way() {
    for way in ["future", "coroutine"] {
        let server = Running::start("hyper", &[way]);
        let mut writer = server.connect();
        let mut reader = BufReader::new(writer.try_clone().unwrap());
        for _ in 0..10 {
            writer.write_all(GET).unwrap();
            Answer::read(&mut reader).unwrap().is_hello();
        }
        writer.write_all(&GET.repeat(100)).unwrap();
        (0..100).for_each(|_| Answer::read(&mut reader).unwrap().is_hello());
        for byte in GET.chunks(1) {
            writer.write_all(byte).unwrap();
        }
        Answer::read(&mut reader).unwrap().is_hello();

        chunks_come_back(writer, reader);

        let mut many: Vec<_> = (0..100).map(|_| BufReader::new(server.connect())).collect();
        for _ in 0..3 {
            for stream in &mut many {
                stream.get_mut().write_all(GET).unwrap();
            }
            many.iter_mut().for_each(|stream| Answer::read(stream).unwrap().is_hello());
        }
        let closes = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(&server, closes).len(), 1);
        assert!(ask(&server, b"hello?\r\n\r\n")[0].head.starts_with("http/1.1 400 "));
    }
}

/// A body in chunks, larger than all buffers, comes back while it is sent.
fn chunks_come_back(mut writer: TcpStream, mut reader: BufReader<TcpStream>) {
    const CHUNKS: usize = 2000;
    let chunk: Vec<u8> = (0..4096_u32).map(|n| (n / 3) as u8).collect();
    let expected = chunk.repeat(CHUNKS);
    std::thread::scope(|s| {
        s.spawn(|| {
            let head = b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n";
            writer.write_all(head).unwrap();
            for _ in 0..CHUNKS {
                writer.write_all(b"1000\r\n").unwrap();
                writer.write_all(&chunk).unwrap();
                writer.write_all(b"\r\n").unwrap();
            }
            writer.write_all(b"0\r\n\r\n").unwrap();
            writer.write_all(GET).unwrap();
        });
        let answer = Answer::read(&mut reader).unwrap();
        assert!(answer.head.starts_with("http/1.1 200 ok\r\n"), "{}", answer.head);
        assert!(answer.body == expected, "{} bytes", answer.body.len());
        Answer::read(&mut reader).unwrap().is_hello();
    });
}

/// Connects to a server that drains, and has it answer once.
fn served(server: &Running) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(server.connect());
    asked(&mut stream, "four", "4");
    stream
}

#[track_caller]
fn asked(stream: &mut BufReader<TcpStream>, line: &str, answer: &str) {
    writeln!(stream.get_mut(), "{line}").unwrap();
    let mut back = String::new();
    stream.read_line(&mut back).unwrap();
    assert_eq!(back.trim_end(), answer);
}

#[test]
fn graceful_serves_its_clients_to_the_end_and_refuses_new_ones() {
    let server = Running::start("graceful", &["60000"]);
    let address = server.address().to_owned();
    let mut early = served(&server);
    let mut late = served(&server);
    server.terminate();
    // The listener is closed while both connections are open.
    while TcpStream::connect(&address).is_ok() {
        std::thread::yield_now();
    }
    for stream in [&mut late, &mut early] {
        asked(stream, "after", "5");
        stream.get_mut().shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read_line(&mut String::new()).unwrap(), 0);
    }
    // The probes above may have been accepted, too.
    let printed = server.end();
    assert!(printed.ends_with(" clients served; all connections have ended\n"), "{printed}");
}

#[test]
fn graceful_cancels_the_connections_that_are_left_after_its_limit() {
    let server = Running::start("graceful", &["50"]);
    let mut stuck = served(&server);
    server.terminate();
    assert_eq!(stuck.read_line(&mut String::new()).unwrap(), 0, "its socket is closed");
    assert_eq!(server.end(), "0 clients served; the rest was cancelled\n");
}
