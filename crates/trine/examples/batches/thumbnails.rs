//! Makes a small picture of each picture in a directory, with a decoder in C that may crash.
//!
//! Run it with `cargo run --release --example thumbnails FROM TO`. Each file is decoded in a worker
//! process, so a file that crashes the decoder, needs too much memory or takes too long costs one
//! line of output. See `image_farm.rs` for a sandbox around the same decoder.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use stb_image::image::{LoadResult, load_from_memory_with_depth};
use trine::Executor;
use trine::process::Pool;

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

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: thumbnails FROM TO".into());
    };
    fs::create_dir_all(&to)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = Path::new(path.file_name().unwrap_or_default()).with_extension("ppm");
        files.push((path, to.join(name)));
    }
    files.sort();
    let pool = Pool::builder()
        .memory_limit(256 << 20)
        .cpu_limit(Duration::from_secs(2))
        .timeout(Duration::from_secs(10))
        .retries(1)
        .build();
    let mut made = 0;
    for ((path, _), result) in files.iter().zip(pool.map(files.clone(), thumbnail)) {
        match result {
            Ok(Ok((width, height))) => {
                println!("{}: {width} x {height}", path.display());
                made += 1;
            }
            Ok(Err(refusal)) => println!("{}: {refusal}", path.display()),
            Err(error) => println!("{}: {error}", path.display()),
        }
    }
    println!("{made} of {} files have a thumbnail", files.len());
    Ok(())
}
