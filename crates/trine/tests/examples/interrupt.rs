//! Ctrl-C at an example with a pool, as a terminal sends it: to the program and all its workers.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, process};

use crate::running::cargo;

/// Many more files than their lines fit into a pipe, so the farm cannot finish unread.
const FILES: usize = 5000;

fn make_pictures(directory: &Path) {
    fs::create_dir(directory).unwrap();
    for n in 0..FILES {
        fs::write(directory.join(format!("{n:04}.pgm")), b"P5 1 1 255\n\x09").unwrap();
    }
}

#[test]
fn image_farm_finishes_what_runs_at_ctrl_c() {
    let directory = env::temp_dir().join(format!("trine-interrupt-{}", process::id()));
    make_pictures(&directory);
    let mut command = cargo(Command::new(env!("CARGO")), "image_farm", &[]);
    command.arg(&directory).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut farm = command.spawn().unwrap();

    let mut output = BufReader::new(farm.stdout.take().unwrap());
    let mut printed = String::new();
    output.read_line(&mut printed).unwrap(); // the listener was there before the first result
    let group = rustix::process::Pid::from_child(&farm);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let mut errors = BufReader::new(farm.stderr.take().unwrap());
    let mut notice = String::new();
    errors.read_line(&mut notice).unwrap();
    assert_eq!(notice, "Ctrl-C: no more files are begun\n");

    output.read_to_string(&mut printed).unwrap();
    let status = farm.wait().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert!(status.success(), "{status}\n{printed}");
    let lines: Vec<_> = printed.lines().collect();
    let [files @ .., left, last] = lines.as_slice() else { panic!("{printed}") };
    let sound = |line: &&&str| line.ends_with(": 1 x 1, 1 frames, brightness 9");
    assert_eq!(files.iter().find(|line| !sound(line)), None, "no worker was interrupted");
    assert_eq!(*left, format!("interrupted: {} files not begun", FILES - files.len()));
    assert_eq!(*last, format!("{} of {FILES} files decoded", files.len()));
}
