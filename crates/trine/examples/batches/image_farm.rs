//! Decodes every image of a directory with a decoder in C, which some of the files crash.
//!
//! Each file is decoded in a sandboxed process that may read only this directory, with little
//! memory and little time. The program prints the picture's size, or the file's effect on the
//! decoder, beside its name. After Ctrl-C it begins no more files, waits for those that are being
//! decoded, and reports; a second Ctrl-C ends it at once. Run it with
//! `cargo run --release --example image_farm [DIRECTORY]`; without a directory, it makes one with
//! five sound pictures and four broken ones.

use std::error::Error;
use std::fs::{self, DirEntry};
use std::io::{self, IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process, ptr, slice};

use serde::{Deserialize, Serialize};
use stb_image::image::{LoadResult, load_from_memory_with_depth};
use stb_image::stb_image::{stbi_image_free, stbi_load_gif_from_memory};
use trine::process::{Pool, Sandbox};
use trine::signal::{Signal, Signals};
use trine::sync::Event;
use trine::{Executor, TaskError};

#[derive(Serialize, Deserialize)]
struct Picture {
    width: usize,
    height: usize,
    frames: usize,
    /// The mean of all pixels, from 0 to 255.
    brightness: u64,
}

/// Decodes a file, in a process of the pool, because neither the library nor the file is trusted.
fn decode(path: PathBuf) -> Result<Picture, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if bytes.starts_with(b"GIF") {
        return animation(&bytes);
    }
    match load_from_memory_with_depth(&bytes, 1, true) {
        LoadResult::ImageU8(image) => Ok(picture(image.width, image.height, 1, &image.data)),
        LoadResult::ImageF32(_) => Err("it was to be converted to bytes".into()),
        LoadResult::Error(_) => Err("the decoder refuses it".into()),
    }
}

fn animation(bytes: &[u8]) -> Result<Picture, String> {
    let (mut width, mut height, mut frames, mut channels) = (0, 0, 0, 0);
    let len = bytes.len().try_into().map_err(|_| "too long for the decoder")?;
    // SAFETY: the buffer has the length that is passed. If the library exceeds it nevertheless,
    // only this process is corrupted.
    let pixels = unsafe {
        stbi_load_gif_from_memory(
            bytes.as_ptr(),
            len,
            ptr::null_mut(),
            &mut width,
            &mut height,
            &mut frames,
            &mut channels,
            1,
        )
    };
    if pixels.is_null() {
        return Err("the decoder refuses it".into());
    }
    let [width, height, frames] = [width, height, frames].map(|n| n as usize);
    // SAFETY: the library has allocated that many pixels of one byte each, and they stay valid
    // until they are freed.
    let copy = unsafe { slice::from_raw_parts(pixels, width * height * frames) }.to_vec();
    // SAFETY: the library has allocated them, and they are no longer used.
    unsafe { stbi_image_free(pixels.cast()) };
    Ok(picture(width, height, frames, &copy))
}

fn picture(width: usize, height: usize, frames: usize, pixels: &[u8]) -> Picture {
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(pixel)).sum();
    Picture { width, height, frames, brightness: sum / pixels.len().max(1) as u64 }
}

fn farm(directory: &Path) -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder()
        .sandbox(Sandbox::new().no_network().no_exec().no_new_processes().read_only([directory]))
        .memory_limit(256 << 20)
        .cpu_limit(Duration::from_secs(1))
        .timeout(Duration::from_secs(60)) // for tasks that wait and use no processor time
        .retries(1) // the crash may have another cause than the file
        .capture_output()
        .build();
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let paths: Vec<_> = entries.iter().map(DirEntry::path).filter(|path| path.is_file()).collect();
    // From here on, Ctrl-C does not end the program; it never ends workers.
    let signals = Signals::new([Signal::INT])?;
    let stop = Event::new();
    let (mut done, mut sound) = (0, 0);
    trine::scope(|s| {
        s.coroutine(|| {
            let signals = signals; // dropped after the first signal: the second one is deadly again
            if signals.recv().is_ok() {
                eprintln!("Ctrl-C: no more files are begun");
                stop.set();
            }
        });
        // A map takes an argument only when it starts a task, so their end is the end of the work.
        let to_decode = paths.iter().cloned().take_while(|_| !stop.is_set());
        for (decoded, path) in pool.map(to_decode, decode).zip(&paths) {
            sound += usize::from(matches!(decoded, Ok(Ok(_))));
            done += 1;
            report(path, decoded);
            if stderr().is_terminal() {
                eprint!("{done} of {}\r", paths.len());
            }
        }
        s.cancel(); // the listener
    })?;
    if done < paths.len() {
        println!("interrupted: {} files not begun", paths.len() - done);
    }
    println!("{sound} of {} files decoded", paths.len());
    pool.shutdown();
    Ok(())
}

fn report(path: &Path, decoded: Result<Result<Picture, String>, TaskError>) {
    let name = path.file_name().unwrap_or_default().display();
    match decoded {
        Ok(Ok(Picture { width, height, frames, brightness })) => {
            println!("{name}: {width} x {height}, {frames} frames, brightness {brightness}");
        }
        Ok(Err(refusal)) => println!("{name}: {refusal}"),
        Err(error) => println!("{name}: {error}"), // it ends with "attempt 2 of 2"
    }
}

fn make_samples(directory: &Path) -> io::Result<()> {
    let file = |name: &str, parts: &[&[u8]]| fs::write(directory.join(name), parts.concat());
    fs::create_dir(directory)?;
    for n in [1, 2, 3, 4, 5_u8] {
        file(&format!("sound-{n}.ppm"), &[b"P5 640 480 255\n", &vec![40 * n; 640 * 480]])?;
    }
    // Half of its pixels are missing.
    file("truncated.ppm", &[b"P5 640 480 255\n", &[9; 640 * 240]])?;
    // 18 bytes that announce 14,000 x 14,000 pixels, for which the decoder allocates memory.
    file("bomb.tga", &[&[0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb0, 0x36, 0xb0, 0x36, 8, 0]])?;
    // Two frames of no width: the decoder frees their pixels twice (CVE-2023-45664).
    let frame = b",\0\0\0\0\0\0\x01\0\0\x02\0";
    file("crash.gif", &[b"GIF89a\0\0\x01\0\x80\0\0\0\0\0\xff\xff\xff", frame, frame, b";"])?;
    // 100,000 refinements of 4,096 x 4,096 pixels that change nothing, and take minutes.
    let start = b"\xff\xd8\xff\xc2\0\x0b\x08\x10\0\x10\0\x01\x01\x11\0";
    let scan = b"\xff\xda\0\x08\x01\x01\0\0\0\x10";
    file("endless.jpg", &[start, &scan.repeat(100_000), b"\xff\xd9"])
}

fn main() -> Result<(), Box<dyn Error>> {
    let samples = env::temp_dir().join(format!("image-farm-{}", process::id()));
    let directory = env::args_os().nth(1).map(PathBuf::from);
    if directory.is_none() {
        make_samples(&samples)?;
    }
    let farmed = farm(directory.as_deref().unwrap_or(&samples));
    if directory.is_none() {
        fs::remove_dir_all(&samples)?;
    }
    farmed
}
