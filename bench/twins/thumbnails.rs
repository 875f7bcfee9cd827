//! The twin on tokio of trine's example `thumbnails`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io, thread};

use anyhow::bail;
use rustix::process::{Resource, Rlimit, setrlimit};
use stb_image::image::{LoadResult, load_from_memory_with_depth};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Pixels along the longer side of a thumbnail.
const SIDE: usize = 64;

/// Writes the thumbnail of `from` as `to`; returns its width and height.
fn thumbnail((from, to): (PathBuf, PathBuf)) -> Result<(usize, usize), String> {
    let bytes = fs::read(from).map_err(|error| error.to_string())?;
    let LoadResult::ImageU8(image) = load_from_memory_with_depth(&bytes, 3, true) else {
        return Err("not a picture".into());
    };
    let scale = image.width.max(image.height).div_ceil(SIDE).max(1);
    let (width, height) = ((image.width / scale).max(1), (image.height / scale).max(1));
    let mut small = format!("P6 {width} {height} 255\n").into_bytes();
    for y in 0..height {
        for x in 0..width {
            let first = (y * image.width + x) * scale * 3;
            small.extend_from_slice(&image.data[first..first + 3]);
        }
    }
    fs::write(to, small).map_err(|error| error.to_string())?;
    Ok((width, height))
}

/// Makes a thumbnail in a process of its own, which is this program again; tries twice if it
/// crashes.
async fn make(from: PathBuf, to: PathBuf) -> Result<String, String> {
    let mut attempt = 1;
    loop {
        let mut command = Command::new("/proc/self/exe");
        command.arg("--worker").arg(&from).arg(&to).kill_on_drop(true).stdin(Stdio::null());
        let limits = [(Resource::As, 256 << 20), (Resource::Cpu, 2)];
        // SAFETY: setrlimit may be called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                limits.into_iter().try_for_each(|(resource, most)| {
                    let limit = Rlimit { current: Some(most), maximum: Some(most) };
                    setrlimit(resource, limit).map_err(io::Error::from)
                })
            });
        }
        let failure = match timeout(Duration::from_secs(10), command.output()).await {
            Ok(Ok(Output { status, stdout, .. })) => match status.code() {
                Some(0) => return Ok(String::from_utf8_lossy(&stdout).into_owned()),
                Some(1) => return Err(String::from_utf8_lossy(&stdout).into_owned()),
                Some(code) => format!("exited with code {code}"),
                None => format!("killed by signal {}", status.signal().unwrap_or_default()),
            },
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("took longer than 10 s".into()),
        };
        if attempt == 2 {
            return Err(format!("{failure}; attempt 2 of 2"));
        }
        attempt += 1;
    }
}

fn work(from: OsString, to: OsString) -> ExitCode {
    match thumbnail((from.into(), to.into())) {
        Ok((width, height)) => {
            print!("{width} x {height}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            print!("{refusal}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match <[OsString; 3]>::try_from(arguments) {
        Ok([mode, from, to]) if mode == "--worker" => Ok(work(from, to)),
        Err(arguments) if arguments.len() == 2 => master(&arguments[0], Path::new(&arguments[1])),
        _ => bail!("usage: thumbnails FROM TO"),
    }
}

#[tokio::main]
async fn master(from: &OsString, to: &Path) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(to)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = Path::new(path.file_name().unwrap_or_default()).with_extension("ppm");
        files.push((path, to.join(name)));
    }
    files.sort();
    let permits = Arc::new(Semaphore::new(thread::available_parallelism()?.get()));
    let mut results = Vec::new();
    for (path, small) in files.clone() {
        let permits = Arc::clone(&permits);
        results.push(tokio::spawn(async move {
            let _permit = permits.acquire().await;
            make(path, small).await
        }));
    }
    let mut made = 0;
    for ((path, _), result) in files.iter().zip(results) {
        match result.await? {
            Ok(size) => {
                println!("{}: {size}", path.display());
                made += 1;
            }
            Err(failure) => println!("{}: {failure}", path.display()),
        }
    }
    println!("{made} of {} files have a thumbnail", files.len());
    Ok(ExitCode::SUCCESS)
}
