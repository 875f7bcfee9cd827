//! The twin on tokio of trine's example `mandelbrot`.

use std::io::{self, BufRead, Write};
use std::os::fd::AsRawFd;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::{env, fs, process, ptr, slice, thread};

use anyhow::{Context, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::fcntl_setfd;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

const WIDTH: usize = 640;
const HEIGHT: usize = 480;

/// The number of steps after which the point escapes; 255 if it does not.
fn steps(x: usize, y: usize) -> u8 {
    let re = x as f64 * 3.0 / WIDTH as f64 - 2.0;
    let im = y as f64 * 2.4 / HEIGHT as f64 - 1.2;
    let (mut a, mut b) = (0.0, 0.0);
    let escapes = |_: &u8| {
        (a, b) = (a * a - b * b + re, 2.0 * a * b + im);
        a * a + b * b > 4.0
    };
    (0..255).find(escapes).unwrap_or(255)
}

/// Maps the pixels, and after them a byte for each row that is to crash.
fn attach(file: &fs::File) -> io::Result<(&'static [AtomicU8], &'static [AtomicU8])> {
    let len = WIDTH * HEIGHT + HEIGHT;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping of a file that has this length and keeps it; it is never unmapped.
    let bytes = unsafe {
        let start = mmap(ptr::null_mut(), len, access, MapFlags::SHARED, file, 0)?;
        slice::from_raw_parts(start.cast::<AtomicU8>(), len)
    };
    Ok(bytes.split_at(WIDTH * HEIGHT))
}

/// Draws the rows whose numbers come in, one in a line, and answers each with its number.
fn work() -> anyhow::Result<ExitCode> {
    let file = fs::File::options().read(true).write(true).open(env::var("PICTURE")?)?;
    let (picture, crashes) = attach(&file)?;
    for line in io::stdin().lock().lines() {
        let row: usize = line?.parse()?;
        for x in 0..WIDTH {
            picture[row * WIDTH + x].store(steps(x, row), Relaxed);
            if x == WIDTH / 2 && crashes[row].swap(0, Relaxed) == 1 {
                process::abort();
            }
        }
        println!("{row}");
    }
    Ok(ExitCode::SUCCESS)
}

fn start(file: &fs::File) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg("--worker")
        .env("PICTURE", format!("/proc/self/fd/{}", file.as_raw_fd()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Keeps one worker busy until no row is left; a worker that dies is replaced.
async fn drive(file: Arc<fs::File>, rows: Arc<Mutex<Vec<(usize, u32)>>>) -> anyhow::Result<()> {
    'worker: loop {
        let mut worker = start(&file)?;
        let mut orders = worker.stdin.take().context("no pipe")?;
        let mut answers = BufReader::new(worker.stdout.take().context("no pipe")?).lines();
        loop {
            let next = rows.lock().unwrap().pop();
            let Some((row, attempt)) = next else { return Ok(()) };
            let sent = orders.write_all(format!("{row}\n").as_bytes()).await.is_ok();
            let answer = if sent { answers.next_line().await? } else { None };
            if answer.is_none_or(|line| line != row.to_string()) {
                let status = worker.wait().await?;
                ensure!(attempt < 3, "row {row}: {status}; attempt 3 of 3");
                rows.lock().unwrap().push((row, attempt + 1));
                continue 'worker;
            }
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    if env::args().nth(1).is_some_and(|mode| mode == "--worker") { work() } else { master() }
}

#[tokio::main]
async fn master() -> anyhow::Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let file = arguments.next();
    let crashes = arguments.next().map_or(Ok(0), |number| number.parse::<usize>())?.min(HEIGHT);
    let memory = memfd_create("picture", MemfdFlags::empty())?;
    ftruncate(&memory, (WIDTH * HEIGHT + HEIGHT) as u64)?;
    fcntl_setfd(&memory, rustix::io::FdFlags::empty())?;
    let memory = Arc::new(fs::File::from(memory));
    let (picture, doomed) = attach(&memory)?;
    doomed.iter().take(crashes).for_each(|row| row.store(1, Relaxed));

    let rows = Arc::new(Mutex::new((0..HEIGHT).map(|row| (row, 1)).collect()));
    let mut drivers = Vec::new();
    for _ in 0..thread::available_parallelism()?.get() {
        drivers.push(tokio::spawn(drive(Arc::clone(&memory), Arc::clone(&rows))));
    }
    for driver in drivers {
        driver.await??;
    }

    let pixels: Vec<u8> = picture.iter().map(|pixel| pixel.load(Relaxed)).collect();
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(pixel)).sum();
    println!("{HEIGHT} rows, {crashes} crashes, sum of the pixels {sum}");
    if let Some(file) = file {
        let mut file = fs::File::create(file)?;
        writeln!(file, "P5 {WIDTH} {HEIGHT} 255")?;
        file.write_all(&pixels)?;
    }
    Ok(ExitCode::SUCCESS)
}
