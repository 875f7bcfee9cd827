//! A master and its workers on one picture in shared memory; some of the workers crash.
//!
//! Run it with `cargo run --release --example mandelbrot [FILE [CRASHES]]`. Worker processes draw
//! the rows of the Mandelbrot set into memory that all of them share. CRASHES of them die in the
//! middle of a row, which is drawn again. The picture goes to FILE, as PGM.

use std::error::Error;
use std::io::Write;
use std::process;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use trine::Executor;
use trine::ipc::SharedMut;
use trine::process::Pool;

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

type Work = (usize, SharedMut<[AtomicU8]>, SharedMut<[AtomicU8]>);

/// Draws one row. To draw it twice does no harm, so it may be tried again after a crash.
fn draw((row, picture, crashes): Work) {
    for x in 0..WIDTH {
        picture[row * WIDTH + x].store(steps(x, row), Relaxed);
        if x == WIDTH / 2 && crashes[row].swap(0, Relaxed) == 1 {
            process::abort();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next();
    let crashes = arguments.next().map_or(Ok(0), |number| number.parse::<usize>())?.min(HEIGHT);
    let picture = SharedMut::<[AtomicU8]>::zeroed(WIDTH * HEIGHT)?;
    let doomed = SharedMut::<[AtomicU8]>::zeroed(HEIGHT)?;
    doomed.iter().take(crashes).for_each(|row| row.store(1, Relaxed));

    let pool = Pool::builder().retries(2).build();
    let rows = (0..HEIGHT).map(|row| (row, picture.clone(), doomed.clone()));
    pool.map(rows, draw).collect::<Result<(), _>>()?;

    let pixels: Vec<u8> = picture.iter().map(|pixel| pixel.load(Relaxed)).collect();
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(pixel)).sum();
    println!("{HEIGHT} rows, {crashes} crashes, sum of the pixels {sum}");
    if let Some(file) = file {
        let mut file = std::fs::File::create(file)?;
        writeln!(file, "P5 {WIDTH} {HEIGHT} 255")?;
        file.write_all(&pixels)?;
    }
    Ok(())
}
