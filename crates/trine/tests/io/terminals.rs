//! Terminals and other files whose reads and writes sleep hold up no others.

use std::fs::File;
use std::io::{Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::thread::available_parallelism;
use std::time::Duration;

use trine::sync::channel;
use trine::{Task, coroutine, fs, net};

use crate::common::temporary::TempPath;
use crate::common::waiting::{TIMEOUT, until, until_waiting};

/// More terminals than a pool of threads for blocking calls has threads.
fn many() -> usize {
    (4 * available_parallelism().unwrap().get()).max(16) + 1
}

/// A pseudo-terminal: the side of the user, and the terminal of the program.
struct Terminal {
    user: File,
    terminal: File,
}

impl Terminal {
    /// Opens a terminal that echoes nothing. Its input is whole lines, or a read that has got a
    /// byte sleeps on for 25 seconds while its buffer has room.
    fn open(lines: bool) -> Terminal {
        let (mut user, mut terminal) = (-1, -1);
        // SAFETY: both numbers are written to; no name, settings or size are given.
        let opened = unsafe {
            let (name, settings, size) = (ptr::null_mut(), ptr::null(), ptr::null());
            libc::openpty(&raw mut user, &raw mut terminal, name, settings, size)
        };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: plain data, for which all zeros is a value; the terminal is open.
        unsafe {
            let mut settings: libc::termios = mem::zeroed();
            assert_eq!(libc::tcgetattr(terminal, &raw mut settings), 0);
            settings.c_lflag &= !libc::ECHO;
            if !lines {
                settings.c_lflag &= !libc::ICANON;
                settings.c_cc[libc::VMIN] = 255;
                settings.c_cc[libc::VTIME] = 255;
            }
            assert_eq!(libc::tcsetattr(terminal, libc::TCSANOW, &raw const settings), 0);
        }
        // SAFETY: new descriptors, which nothing else owns.
        let own = |number| unsafe { OwnedFd::from_raw_fd(number) };
        Terminal { user: own(user).into(), terminal: own(terminal).into() }
    }

    /// Returns a file of the terminal that sleeps, as standard input does.
    fn file(&self) -> fs::File {
        fs::File::from(self.terminal.try_clone().unwrap())
    }

    /// Returns the number of bytes that a read would find.
    fn unread(&self) -> i32 {
        let mut count = 0;
        // SAFETY: the terminal is open, and the number is written to.
        let asked =
            unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::FIONREAD, &raw mut count) };
        assert_eq!(asked, 0);
        count
    }
}

/// Fails if a terminal that nobody else uses cannot be read and written.
fn another_terminal_is_quick() {
    let mut other = Terminal::open(true);
    let mut file = other.file();
    let quick = coroutine::spawn(move || {
        let mut line = [0; 16];
        let count = file.read(&mut line).unwrap();
        file.write_all(b"quick").unwrap();
        line[..count].to_vec()
    });
    until_waiting(&quick);
    other.user.write_all(b"line\n").unwrap();
    let quick = quick.join_timeout(TIMEOUT).expect("it waits for the other terminals");
    assert_eq!(quick.unwrap(), b"line\n");
}

#[test]
fn many_terminals_whose_reads_sleep_hold_up_no_other() {
    let mut terminals: Vec<_> = (0..many()).map(|_| Terminal::open(false)).collect();
    let readers: Vec<Task<[u8; 2]>> = terminals
        .iter()
        .map(|terminal| {
            let mut file = terminal.file();
            coroutine::spawn(move || {
                let mut bytes = [0; 2];
                file.read_exact(&mut bytes).unwrap();
                bytes
            })
        })
        .collect();
    readers.iter().for_each(until_waiting);
    // The last of them is not begun where there are fewer threads.
    for terminal in &mut terminals {
        terminal.user.write_all(b"a").unwrap();
    }
    until(|| terminals.iter().filter(|terminal| terminal.unread() == 0).count() >= many() - 1);
    another_terminal_is_quick();
    for (terminal, reader) in terminals.iter_mut().zip(readers) {
        terminal.user.write_all(b"b").unwrap();
        assert_eq!(reader.join().unwrap(), *b"ab");
    }
}

#[test]
fn many_readers_of_one_terminal_get_a_line_each_and_hold_up_no_other() {
    let count = 4 * many();
    let mut terminal = Terminal::open(true);
    let (sender, lines) = channel::unbounded();
    let readers: Vec<_> = (0..count)
        .map(|_| {
            let (mut file, sender) = (terminal.file(), sender.clone());
            coroutine::spawn(move || {
                let mut line = [0; 16];
                let len = file.read(&mut line).unwrap();
                sender.send(String::from_utf8(line[..len].to_vec()).unwrap()).unwrap();
            })
        })
        .collect();
    readers.iter().for_each(until_waiting);
    for n in 0..count {
        // One reader gets it; all have seen that the terminal is ready.
        writeln!(terminal.user, "{n}").unwrap();
        assert_eq!(lines.recv_timeout(TIMEOUT).unwrap(), format!("{n}\n"));
        if n == count / 2 {
            another_terminal_is_quick();
        }
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn many_terminals_that_nobody_reads_hold_up_no_other() {
    let mut terminals: Vec<_> = (0..many()).map(|_| Terminal::open(true)).collect();
    let long = vec![b'x'; 1 << 17];
    let writers: Vec<_> = terminals
        .iter()
        .map(|terminal| {
            let (mut file, long) = (terminal.file(), long.clone());
            coroutine::spawn(move || file.write_all(&long).unwrap())
        })
        .collect();
    writers.iter().for_each(until_waiting);
    another_terminal_is_quick();
    for (terminal, writer) in terminals.iter_mut().zip(writers) {
        let mut read = vec![0; long.len()];
        terminal.user.read_exact(&mut read).unwrap();
        assert_eq!(read, long);
        writer.join().unwrap();
    }
}

#[test]
fn files_of_proc_that_are_not_ready_hold_up_no_file() {
    let open = || File::open("/proc/kmsg");
    let Ok(log) = open() else { return println!("not tried: it takes the kernel's log") };
    let log = net::Readiness::new(log);
    if log.wait_readable_timeout(Duration::ZERO).is_ok() {
        return println!("not tried: somebody may still read the kernel's log");
    }
    let reads = || {
        let mut file = fs::File::from(open().unwrap());
        coroutine::spawn(move || file.read(&mut [0; 1]))
    };
    let readers: Vec<_> = (0..many()).map(|_| reads()).collect();
    readers.iter().for_each(until_waiting);
    let path = TempPath::new("beside");
    let writer = coroutine::spawn({
        let path = path.owned();
        move || fs::write(path, "quick")
    });
    writer.join_timeout(TIMEOUT).expect("it waits for the log").unwrap().unwrap();
    // A read that has begun on a thread is never cancelled.
    readers.iter().for_each(Task::cancel);
    readers.into_iter().for_each(|reader| _ = reader.join());
}
