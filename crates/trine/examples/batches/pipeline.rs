//! A pipeline with back-pressure: finds the files of a directory tree, reads them, digests them.
//!
//! Run it with `cargo run --example pipeline [DIRECTORY [FILES]]`. It digests the whole tree, or
//! FILES files of it, and then cancels the tasks that still run.
//!
//! ```text
//!   walk (1 coroutine) ──► paths, at most 64 ──► read (8 coroutines) ──► texts, at most 16 ──┐
//!   sum (body of the scope) ◄── digests, at most 16 ◄── digest (2 threads) ◄─────────────────┘
//! ```
//!
//! A stage that is too fast waits for the next one, so at most 64 paths and 16 files are queued,
//! however large the tree is. A file that cannot be read is reported and skipped. The whole may
//! take a minute. A panic in any task ends all of them, and is the error of the scope.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trine::sync::channel::{self, Receiver, Sender};
use trine::{scope, time};

const TIMEOUT: Duration = Duration::from_secs(60);

struct Digest {
    path: PathBuf,
    bytes: usize,
    sum: u64,
}

/// Sends the paths of all files below `directory`; ends early once the receivers are dropped.
fn walk(directory: &Path, paths: &Sender<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), paths)?;
        } else if entry.file_type()?.is_file() && paths.send(entry.path()).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads each file and passes its text on; reports and skips a file that cannot be read.
fn read(paths: Receiver<PathBuf>, texts: Sender<(PathBuf, Vec<u8>)>) {
    for path in paths {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                continue;
            }
        };
        if texts.send((path, text)).is_err() {
            return;
        }
    }
}

/// Digests each text and passes the digest on.
fn digest(texts: Receiver<(PathBuf, Vec<u8>)>, digests: Sender<Digest>) {
    for (path, text) in texts {
        let done = Digest { path, bytes: text.len(), sum: fnv1a(&text) };
        if digests.send(done).is_err() {
            return;
        }
    }
}

/// The hash FNV-1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = &arguments.next().map_or(here, PathBuf::from);
    let most: usize = match arguments.next() {
        Some(files) => files.to_str().ok_or("FILES has to be a number")?.parse()?,
        None => usize::MAX,
    };

    let (mut files, mut bytes, mut sum) = (0, 0, 0_u64);
    let pipeline = || {
        scope(|s| {
            let (to_read, paths) = channel::bounded::<PathBuf>(64);
            let (to_digest, texts) = channel::bounded::<(PathBuf, Vec<u8>)>(16);
            let (to_sum, digests) = channel::bounded::<Digest>(16);

            let walker = s.coroutine(move || walk(root, &to_read));
            for _ in 0..8 {
                let (paths, to_digest) = (paths.clone(), to_digest.clone());
                s.coroutine(move || read(paths, to_digest));
            }
            for _ in 0..2 {
                let (texts, to_sum) = (texts.clone(), to_sum.clone());
                s.thread(move || digest(texts, to_sum));
            }
            // From here on only the tasks hold senders, so each stage sees the end of its input.
            drop((paths, texts, to_digest, to_sum));

            for done in digests.iter().take(most) {
                files += 1;
                bytes += done.bytes;
                sum = sum.wrapping_add(done.sum);
                if most < 10 {
                    println!("{:016x} {}", done.sum, done.path.display());
                }
            }
            if files == most {
                s.cancel_because("enough files are digested");
            }
            drop(digests);
            walker.join()
        })
    };

    // Each failure has its own type: the time limit, a task, the walker's cancellation, the walk.
    match time::timeout(TIMEOUT, pipeline)?? {
        Ok(walked) => walked?,
        Err(error) if error.is_cancelled() => println!("{error}"),
        Err(error) => return Err(error.into()),
    }
    println!("{files} files, {bytes} bytes, sum {sum:016x}");
    Ok(())
}
