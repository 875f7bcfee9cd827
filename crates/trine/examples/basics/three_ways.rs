//! The README's program: one function, run as a coroutine, on a thread and in a process.
//!
//! It counts the words of a directory's files, first with one task of each kind, then with a batch
//! of each kind. Run it with `cargo run --example three_ways [DIRECTORY]`.

use std::fs;
use std::io;
use std::path::PathBuf;

use trine::{Executor, Kind, coroutine, process, thread};

/// An ordinary function. It knows nothing of trine.
fn words(path: PathBuf) -> Result<usize, String> {
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count())
}

fn files(directory: PathBuf) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/servers"));
    let paths = files(std::env::args_os().nth(1).map_or(here, PathBuf::from))?;
    let Some(first) = paths.first().cloned() else {
        return Err("the directory holds no files".into());
    };

    // One task of each kind. The handle, the error and `join` are the same.
    let (p, q) = (first.clone(), first.clone());
    let a = coroutine::spawn(move || words(p));
    let b = thread::spawn(move || words(q));
    let c = process::spawn(first.clone(), words);
    println!("{}: {} words", first.display(), a.join()??);
    assert_eq!(b.join()??, c.join()??);

    // A batch of each kind. One word decides.
    for kind in Kind::ALL {
        let mut sum = 0;
        for count in kind.map(paths.clone(), words) {
            sum += count??;
        }
        println!("{kind:>9}: {} files, {sum} words", paths.len());
    }
    Ok(())
}
