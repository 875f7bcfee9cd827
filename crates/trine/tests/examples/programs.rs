//! The five programs that have a twin on tokio: thumbnails, a crawler, a picture in shared memory,
//! a proxy and a server with the protocol of Redis.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use crate::common::temporary::TempPath;
use crate::running::{Running, run};

#[test]
fn thumbnails_survive_a_file_that_takes_too_long() {
    let from = TempPath::folder("pictures");
    let to = TempPath::new("thumbnails");
    let wide = [b"P5 640 320 255\n".as_slice(), &[200; 640 * 320]].concat();
    fs::write(from.join("wide.pgm"), wide).unwrap();
    fs::write(from.join("text.txt"), "no picture").unwrap();
    // 100,000 refinements of 4,096 x 4,096 pixels that change nothing, and take minutes.
    let start = b"\xff\xd8\xff\xc2\0\x0b\x08\x10\0\x10\0\x01\x01\x11\0".as_slice();
    let scan = b"\xff\xda\0\x08\x01\x01\0\0\0\x10".repeat(100_000);
    fs::write(from.join("endless.jpg"), [start, &scan, b"\xff\xd9"].concat()).unwrap();
    let printed = run("thumbnails", &[from.0.to_str().unwrap(), to.0.to_str().unwrap()]);
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 4, "{printed}");
    assert!(lines[0].contains("endless.jpg: "), "{printed}");
    assert!(lines[0].contains("used up its processor time of 2s"), "{printed}");
    assert!(lines[1].ends_with("text.txt: not a picture"), "{printed}");
    assert!(lines[2].ends_with("wide.pgm: 64 x 32"), "{printed}");
    assert_eq!(lines[3], "1 of 3 files have a thumbnail");
    let small = fs::read(to.join("wide.ppm")).unwrap();
    assert_eq!(small, [b"P6 64 32 255\n".as_slice(), &[200; 64 * 32 * 3]].concat());
}

#[test]
fn a_picture_in_shared_memory_is_whole_in_spite_of_crashes() {
    let folder = TempPath::folder("mandelbrot");
    let draw = |name: &str, crashes: &str| {
        let file = folder.join(name);
        let printed = run("mandelbrot", &[file.to_str().unwrap(), crashes]);
        assert!(printed.contains(&format!("480 rows, {crashes} crashes")), "{printed}");
        fs::read(file).unwrap()
    };
    let calm = draw("calm.pgm", "0");
    assert_eq!(calm.len(), "P5 640 480 255\n".len() + 640 * 480);
    let inside = calm.iter().filter(|&&pixel| pixel == 255).count();
    // The set's area is 1.506 (Foerstemann, 2012); the picture shows 3 x 2.4.
    let share = inside as f64 / (640.0 * 480.0) * 3.0 * 2.4;
    assert!((1.4..1.6).contains(&share), "the area is {share}");
    assert!(calm == draw("crashes.pgm", "40"));
}

/// A site of five pages and two broken links.
pub(crate) const SITE: [(&str, &str); 5] = [
    ("index.html", "<a href=\"a.html\">a</a> <a href=\"/deep/b.html#part\">b</a>"),
    ("a.html", "<a href=\"index.html\">home</a> <a href=\"gone.html\">gone</a>"),
    ("deep/b.html", "<a href=\"c.html\">c</a> <a href=\"https://example.com/\">away</a>"),
    ("deep/c.html", "<a href=\"/a.html\">a</a> <a href=\"d.html\">d</a>"),
    ("deep/d.html", "<a href=\"/missing/\">missing</a>"),
];

/// Checks what the crawler says of the site, of which `/index.html` is the first page.
pub(crate) fn crawl(address: &str) {
    let url = format!("http://{address}/index.html");
    for at_once in ["1", "16"] {
        let printed = run("crawler", &[&url, at_once]);
        let bytes: usize = SITE.iter().map(|(_, page)| page.len()).sum();
        let expected = format!(
            "/gone.html: status 404\n/missing/: status 404\n5 pages, {bytes} bytes, 2 broken\n"
        );
        assert_eq!(printed, expected);
    }
}

#[test]
fn the_crawler_finds_all_pages_and_the_broken_links() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It serves until the test's process ends.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut lines = BufReader::new(&stream);
            while !request.ends_with("\r\n\r\n") {
                assert_ne!(lines.read_line(&mut request).unwrap(), 0);
            }
            let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let page = SITE.iter().find(|(name, _)| *name == path);
            let (status, text) = page.map_or(("404 Not Found", ""), |(_, text)| ("200 OK", *text));
            write!(stream, "HTTP/1.0 {status}\r\n\r\n{text}").unwrap();
        }
    });
    crawl(&address);
}

#[test]
fn the_proxy_passes_bytes_both_ways_and_drains() {
    let upstream = Running::start("echo", &[]);
    let proxy = Running::start("proxy", &[upstream.address()]);
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let ask = |mut stream: TcpStream| {
        thread::scope(|s| {
            let mut writer = stream.try_clone().unwrap();
            let much = &much;
            s.spawn(move || {
                writer.write_all(much).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert!(back == *much);
        });
    };
    thread::scope(|s| (0..20).for_each(|_| drop(s.spawn(|| ask(proxy.connect())))));

    // One connection is under way when the signal comes. It is served to its end; a new one is
    // refused.
    let mut open = proxy.connect();
    open.write_all(b"before").unwrap();
    let mut back = [0; 6];
    open.read_exact(&mut back).unwrap();
    let address = proxy.address().to_owned();
    proxy.terminate();
    while TcpStream::connect(&address).is_ok() {
        thread::yield_now();
    }
    open.write_all(b" after").unwrap();
    open.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    open.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " after");
    assert_eq!(proxy.end(), "drained\n");
}

#[test]
fn a_server_of_resp_answers_like_redis() {
    let server = Running::start("resp", &[]);
    let ask = |commands: &str, answers: &str| {
        let mut stream = server.connect();
        stream.write_all(commands.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, answers, "{commands}");
    };
    ask("PING\r\n", "+PONG\r\n");
    ask("*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", "$2\r\nhi\r\n");
    ask(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na\r\n\r\nGET k\r\nGET x\r\n",
        "+OK\r\n$3\r\na\r\n\r\n$-1\r\n",
    );
    ask(
        "INCR n\r\nINCR n\r\nINCR k\r\nGET n\r\n",
        ":1\r\n:2\r\n-ERR value is not an integer or out of range\r\n$1\r\n2\r\n",
    );
    ask("LPUSH l 1 2\r\nLPOP l\r\nLPOP l\r\nLPOP l\r\n", ":2\r\n$1\r\n2\r\n$1\r\n1\r\n$-1\r\n");
    ask("DEL k n x\r\nGET k\r\n", ":2\r\n$-1\r\n");
    ask("NONSENSE\r\n", "-ERR unknown command or wrong number of arguments\r\n");
    // What is no command ends its connection, and no other.
    for bad in ["*x\r\n", "*1\r\n$99999999999\r\n", "*1\r\nPING\r\n", "*-5\r\n", "*2\r\n$4\r\nPI"] {
        ask(bad, "");
    }
    // 100 clients count together.
    thread::scope(|s| {
        (0..100).for_each(|_| {
            s.spawn(|| {
                let mut stream = server.connect();
                stream.write_all("INCR total\r\n".repeat(100).as_bytes()).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            });
        });
    });
    ask("GET total\r\n", "$5\r\n10000\r\n");
}

#[test]
fn each_program_is_shorter_than_its_twin_on_tokio() {
    // Lines of code, without comments and blank ones.
    let lines = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        text.lines().filter(is_code).count()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for program in [
        "batches/thumbnails",
        "batches/crawler",
        "batches/mandelbrot",
        "servers/proxy",
        "servers/resp",
    ] {
        let own = root.join(format!("examples/{program}.rs"));
        let name = own.file_name().unwrap();
        let (own, twin) = (lines(&own), lines(&root.join("../../bench/twins").join(name)));
        assert!(own > 0 && own < twin, "{program}: {own} lines, {twin} in its twin");
    }
}
