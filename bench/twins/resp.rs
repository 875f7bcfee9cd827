//! The twin on tokio of trine's example `resp`.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

/// Most parts of a command, and most bytes of a part.
const PARTS: usize = 1024;
const BYTES: usize = 1 << 20;

#[derive(Default)]
struct Store {
    texts: HashMap<Vec<u8>, Vec<u8>>,
    lists: HashMap<Vec<u8>, VecDeque<Vec<u8>>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6379".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening at {}", listener.local_addr()?);
    let store = Arc::new(Mutex::new(Store::default()));
    loop {
        let (stream, store) = (listener.accept().await?.0, Arc::clone(&store));
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &store).await {
                eprintln!("a connection: {error}");
            }
        });
    }
}

/// Answers the commands of a connection. Those that arrive together are answered together.
async fn serve(stream: TcpStream, store: &Mutex<Store>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (input, output) = stream.into_split();
    let (mut input, mut output) = (BufReader::new(input), BufWriter::new(output));
    let mut answers = Vec::new();
    while let Some(command) = read_command(&mut input).await? {
        let parts: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        answer(&parts, &mut store.lock().unwrap(), &mut answers)?;
        output.write_all(&answers).await?;
        answers.clear();
        if input.buffer().is_empty() {
            output.flush().await?;
        }
    }
    Ok(())
}

/// Reads a command: an array of strings, or words in a line. `None` at the end of the stream.
async fn read_command(input: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<Vec<u8>>>> {
    let line = read_line(input).await?;
    if line.is_empty() {
        return Ok(None);
    }
    let Some(count) = line.strip_prefix('*') else {
        return Ok(Some(line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()));
    };
    let mut parts = Vec::new();
    for _ in 0..number(count, PARTS)? {
        let length = read_line(input).await?;
        let length = number(length.strip_prefix('$').unwrap_or_default(), BYTES)?;
        let mut part = vec![0; length + 2];
        input.read_exact(&mut part).await?;
        part.truncate(length);
        parts.push(part);
    }
    Ok(Some(parts))
}

async fn read_line(input: &mut BufReader<OwnedReadHalf>) -> io::Result<String> {
    let mut line = String::new();
    input.take(BYTES as u64).read_line(&mut line).await?;
    Ok(line)
}

fn number(text: &str, most: usize) -> io::Result<usize> {
    let number = text.trim_end().parse().ok().filter(|&number| number <= most);
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no such command"))
}

fn answer(parts: &[&[u8]], store: &mut Store, output: &mut impl Write) -> io::Result<()> {
    let name = parts.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    match (name.as_slice(), parts.get(1..).unwrap_or_default()) {
        (b"PING", []) => output.write_all(b"+PONG\r\n"),
        (b"PING" | b"ECHO", [text]) => bulk(Some(text), output),
        (b"SET", [key, value]) => {
            store.texts.insert(key.to_vec(), value.to_vec());
            output.write_all(b"+OK\r\n")
        }
        (b"GET", [key]) => bulk(store.texts.get(*key).map(Vec::as_slice), output),
        (b"DEL", keys) => {
            let gone = |key: &&&[u8]| store.texts.remove(**key).is_some();
            write!(output, ":{}\r\n", keys.iter().filter(gone).count())
        }
        (b"INCR", [key]) => {
            let value = store.texts.entry(key.to_vec()).or_insert_with(|| b"0".to_vec());
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
            let Some(next) = number.and_then(|number| number.checked_add(1)) else {
                return output.write_all(b"-ERR value is not an integer or out of range\r\n");
            };
            *value = next.to_string().into_bytes();
            write!(output, ":{next}\r\n")
        }
        (b"LPUSH", [key, values @ ..]) if !values.is_empty() => {
            let list = store.lists.entry(key.to_vec()).or_default();
            values.iter().for_each(|value| list.push_front(value.to_vec()));
            write!(output, ":{}\r\n", list.len())
        }
        (b"LPOP", [key]) => {
            let value = store.lists.get_mut(*key).and_then(VecDeque::pop_front);
            bulk(value.as_deref(), output)
        }
        _ => output.write_all(b"-ERR unknown command or wrong number of arguments\r\n"),
    }
}

fn bulk(text: Option<&[u8]>, output: &mut impl Write) -> io::Result<()> {
    let Some(text) = text else { return output.write_all(b"$-1\r\n") };
    write!(output, "${}\r\n", text.len())?;
    output.write_all(text)?;
    output.write_all(b"\r\n")
}
