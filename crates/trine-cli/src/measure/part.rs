//! Measurements in a program of their own, because they may crash, or because earlier measurements
//! would disturb them. The program, a *part*, is this one with the hidden subcommand `part`.
//!
//! ```text
//! trine measure ── request, JSON ──► stdin   trine part
//!               ◄─ answers, JSON lines ── stdout
//!               ◄─ error messages ── stderr
//! ```
//!
//! The part writes each answer at once and unbuffered, so a crash loses no earlier answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::request::Request;

/// The longest run of a part. One that takes longer hangs: it exits, and its measurement fails.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The exit code of a part that has exceeded [`TIMEOUT`].
const TIMED_OUT: i32 = 124;

/// The end of a part.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The last line of its standard error; empty if it wrote nothing.
    pub(crate) last_words: String,
}

impl Ended {
    /// Returns an error unless the part was successful.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.status.success() {
            return Ok(());
        }
        let how = match self.status.code() {
            Some(TIMED_OUT) => format!("took longer than {} s", TIMEOUT.as_secs()),
            _ => format!("ended with {}", self.status),
        };
        Err(io::Error::other(format!("its own program {how}: {}", self.last_words)))
    }
}

/// Runs a part, and passes each of its answers to `take`.
pub(crate) fn ask<T: DeserializeOwned>(
    request: &Request,
    mut take: impl FnMut(T),
) -> io::Result<Ended> {
    // Not the program's path: its file may have been replaced meanwhile.
    let mut child = Command::new("/proc/self/exe")
        .arg("part")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let exchange = exchange(&mut child, request, &mut take);
    if exchange.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    exchange.map(|last_words| Ended { status, last_words })
}

fn exchange<T: DeserializeOwned>(
    child: &mut Child,
    request: &Request,
    take: &mut impl FnMut(T),
) -> io::Result<String> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (stdin, stdout) = (stdin.expect("is a pipe"), stdout.expect("is a pipe"));
    let mut stderr = child.stderr.take().expect("is a pipe");
    std::thread::scope(|scope| {
        // Reads both outputs at once, so that neither can fill up and block the part.
        let stderr = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            let text = String::from_utf8_lossy(&text);
            text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
        });
        serde_json::to_writer(stdin, request)?;
        for line in BufReader::new(stdout).lines() {
            take(serde_json::from_str(&line?)?);
        }
        Ok(stderr.join().expect("only reads"))
    })
}

/// Runs `runs` parts that answer with numbers, and returns the numbers.
///
/// # Errors
///
/// A part that fails or gives no answer.
pub(crate) fn numbers(request: &Request, runs: usize) -> anyhow::Result<Vec<f64>> {
    let mut numbers = Vec::new();
    for _ in 0..runs {
        let before = numbers.len();
        ask(request, |number| numbers.push(number))?.check()?;
        anyhow::ensure!(numbers.len() > before, "its own program gave no answer");
    }
    Ok(numbers)
}

/// Makes this program a part: bounds its time, forbids core files, and reads the request from
/// standard input.
pub(crate) fn receive() -> io::Result<Request> {
    forbid_core_files();
    std::thread::spawn(|| {
        std::thread::sleep(TIMEOUT);
        std::process::exit(TIMED_OUT);
    });
    Ok(serde_json::from_reader(io::stdin().lock())?)
}

/// Sends one answer.
pub(crate) fn send(answer: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line)
}

/// Makes sure that an intended crash leaves no core file.
fn forbid_core_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Lowering a limit is always allowed. If it fails nevertheless, a core file does no harm.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
