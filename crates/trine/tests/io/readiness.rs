//! Waiting for descriptors of every kind.

use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use crate::common::is_cancelled;
use crate::common::places::{PLACES, ends_from_outside, everywhere};
use crate::common::waiting::{TIMEOUT, until, until_waiting};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use trine::coroutine::LocalTask;
use trine::net::{self, Readiness};
use trine::{State, coroutine, future};

fn event() -> Readiness<OwnedFd> {
    Readiness::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
}

fn add(event: impl AsFd, n: u64) {
    assert_eq!(rustix::io::write(event, &n.to_ne_bytes()).unwrap(), 8);
}

fn take(event: impl AsFd) -> io::Result<u64> {
    let mut number = [0; 8];
    rustix::io::read(event, &mut number)?;
    Ok(u64::from_ne_bytes(number))
}

#[test]
fn an_eventfd_is_waited_for_and_taken() {
    for place in PLACES {
        let (here, there) = (Arc::new(event()), Arc::new(event()));
        let (a, b) = (Arc::clone(&here), Arc::clone(&there));
        let echo = place.spawn(move || {
            for n in 1..=300 {
                assert_eq!(a.read_with(|event| take(event)).unwrap(), n);
                add(b.get_ref(), n + 1);
            }
        });
        for n in 1..=300 {
            here.wait_writable().unwrap();
            add(here.get_ref(), n);
            there.wait_readable().unwrap();
            assert_eq!(take(there.get_ref()).unwrap(), n + 1);
        }
        echo.join().unwrap();
    }
}

#[test]
fn what_is_left_unread_is_still_there() {
    everywhere(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        let one = Readiness::new(one);
        // Registered with a back end from here on.
        one.wait_readable_timeout(Duration::from_millis(1)).unwrap_err();
        other.write_all(b"abc").unwrap();
        for rest in (0..3).rev() {
            one.wait_readable().unwrap();
            one.wait_readable_timeout(Duration::ZERO).unwrap();
            let mut byte = [0];
            one.get_ref().read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], b"cba"[rest]);
        }
        let error = one.wait_readable_timeout(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // An operation that takes a part, and asks for more.
        other.write_all(b"defg").unwrap();
        let mut buffer = Vec::new();
        one.read_with(|mut stream| {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            buffer.push(byte[0]);
            if buffer.len() < 4 { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(buffer, b"defg");
        drop(other);
        one.wait_readable().unwrap();
        one.wait_writable().unwrap();
        let mut stream = one.into_inner();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn writing_waits_for_room() {
    for place in PLACES {
        let (one, mut other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        let writer = place.spawn(move || {
            let one = Readiness::new(one);
            let mut left = 2 << 20;
            while left > 0 {
                left -= one.write_with(|mut one| one.write(&vec![1; left.min(100_000)])).unwrap();
            }
        });
        until_waiting(&writer);
        let mut bytes = Vec::new();
        other.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 2 << 20);
        writer.join().unwrap();
    }
}

#[test]
fn a_file_is_always_ready() {
    everywhere(|| {
        let file = Readiness::new(File::open("/proc/self/exe").unwrap());
        let limit = Duration::ZERO;
        file.wait_readable().unwrap();
        file.wait_writable().unwrap();
        file.wait_readable_timeout(limit).unwrap();
        file.wait_writable_timeout(limit).unwrap();
        assert_eq!(file.read_with(|mut file| file.read(&mut [0; 4])).unwrap(), 4);
        future::block_on(async {
            file.readable().await.unwrap();
            file.writable().await.unwrap();
        });
    });
}

#[test]
fn inotify_tells_of_a_file() {
    everywhere(|| {
        let name =
            format!("trine-inotify-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        let mut file = File::create(&path).unwrap();
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let watcher = Readiness::new(inotify::init(flags).unwrap());
        inotify::add_watch(watcher.get_ref(), &path, inotify::WatchFlags::MODIFY).unwrap();
        let writer = coroutine::spawn(move || file.write_all(b"x").unwrap());
        watcher.wait_readable().unwrap();
        writer.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn one_descriptor_may_be_waited_for_by_several() {
    for place in PLACES {
        let (mut one, other) = net::UnixStream::pair().unwrap();
        let shared = Arc::new(other);
        let event = event().into_inner();
        let done = Arc::new(event);
        let tasks: Vec<_> = (0..10)
            .map(|n| {
                let (shared, done) = (Arc::clone(&shared), Arc::clone(&done));
                place.spawn(move || match n % 3 {
                    // Each has a `Readiness` of its own, and the stream waits by itself too.
                    0 => Readiness::new(shared.as_fd()).wait_readable().unwrap(),
                    1 => future::block_on(Readiness::new(&*done).readable()).unwrap(),
                    _ => Readiness::new(&*done).wait_readable().unwrap(),
                })
            })
            .collect();
        tasks.iter().for_each(until_waiting);
        let reader = Arc::clone(&shared);
        one.write_all(b"x").unwrap();
        add(&*done, 1);
        tasks.into_iter().for_each(|task| task.join().unwrap());
        let reader = place.spawn(move || {
            let mut bytes = [0; 2];
            (&*reader).read_exact(&mut bytes).unwrap();
        });
        until_waiting(&reader);
        one.write_all(b"y").unwrap();
        reader.join().unwrap();
    }
}

#[test]
fn any_number_of_futures_wait_and_any_may_be_dropped() {
    let event = Arc::new(event());
    let waits = || {
        let event = Arc::clone(&event);
        async move { event.readable().await.unwrap() }
    };
    // Polled and dropped by another executor.
    {
        let mut dropped = pin!(waits());
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let tasks: Vec<_> = (0..50).map(|_| future::spawn(waits())).collect();
    let cancelled: Vec<_> = (0..50).map(|_| future::spawn(waits())).collect();
    let thread = std::thread::spawn({
        let waits = waits();
        || futures::executor::block_on(waits)
    });
    tasks.iter().chain(&cancelled).for_each(until_waiting);
    for task in cancelled {
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    let late = future::block_on(future::timeout(Duration::from_millis(2), waits()));
    assert!(late.unwrap_err().is_timeout());
    add(event.get_ref(), 1);
    tasks.into_iter().for_each(|task| task.join().unwrap());
    thread.join().unwrap();
    future::block_on(async { event.writable().await.unwrap() });
}

#[test]
fn futures_take_turns_at_a_pipe_of_another() {
    let (reader, mut writer) = io::pipe().unwrap();
    let reader = Readiness::new(reader);
    let task = future::spawn(async move {
        let mut sum = 0;
        loop {
            reader.readable().await.unwrap();
            // Ready, so this does not sleep.
            let mut bytes = [0; 10];
            match reader.get_ref().read(&mut bytes).unwrap() {
                0 => return sum,
                count => sum += bytes[..count].iter().map(|&byte| u64::from(byte)).sum::<u64>(),
            }
        }
    });
    for byte in 0..=255_u8 {
        writer.write_all(&[byte]).unwrap();
        coroutine::yield_now();
    }
    drop(writer);
    assert_eq!(task.join().unwrap(), 255 * 128);
}

#[test]
fn waiting_ends_from_outside() {
    ends_from_outside(|| event().wait_readable());
    ends_from_outside(|| {
        let full = event();
        add(full.get_ref(), u64::MAX - 1);
        full.wait_writable()
    });
    ends_from_outside(|| event().read_with(|event| take(event)).map(drop));
    ends_from_outside(|| event().wait_readable_timeout(Duration::MAX));
}

#[test]
fn the_descriptor_stays_as_it_was() {
    everywhere(|| {
        let (one, _other) = UnixStream::pair().unwrap();
        let number = one.as_raw_fd();
        let one = Readiness::new(one);
        let error = one.wait_readable_timeout(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(one.as_fd().as_raw_fd(), number);
        let one = one.into_inner();
        let flags = rustix::fs::fcntl_getfl(&one).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    });
}

/// A C library's descriptor: closed while a task waits for it, and its number is used again.
#[test]
fn a_number_that_is_used_again_under_a_waiter_has_its_own_wake_ups() {
    let wait = |number| {
        coroutine::spawn_local(move || {
            // SAFETY: the test keeps a descriptor of this number open, but for one moment.
            Readiness::new(unsafe { BorrowedFd::borrow_raw(number) }).wait_readable()
        })
    };
    for first_ends_before in [true, false] {
        everywhere(move || {
            let (reader, _writer) = io::pipe().unwrap();
            let (next, mut next_writer) = io::pipe().unwrap();
            let next = OwnedFd::from(next);
            let mut number = OwnedFd::from(reader);
            let first = wait(number.as_raw_fd());
            until(|| first.state() == State::Waiting);
            // Closes the first pipe, and gives its number to the second.
            rustix::io::dup2(&next, &mut number).unwrap();
            let end = |first: LocalTask<io::Result<()>>| {
                first.cancel();
                assert!(is_cancelled(&first.join().unwrap().unwrap_err()));
            };
            let mut first = Some(first);
            if first_ends_before {
                first.take().map(end);
            }
            let second = wait(number.as_raw_fd());
            until(|| second.state() == State::Waiting);
            first.map(end);
            next_writer.write_all(b"x").unwrap();
            second.join_timeout(TIMEOUT).expect("a wake-up").unwrap().unwrap();
        });
    }
}

/// The descriptor that the waker of a foreign executor waits for while it is cloned.
static BELL: OnceLock<Readiness<OwnedFd>> = OnceLock::new();

/// Makes a waker that waits for [`BELL`] itself when it is cloned, as a logging executor might.
fn curious() -> RawWaker {
    fn clone(_: *const ()) -> RawWaker {
        let mut also = pin!(BELL.get().unwrap().readable());
        let _ = also.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        curious()
    }
    static CALLS: RawWakerVTable = RawWakerVTable::new(clone, |_| (), |_| (), |_| ());
    RawWaker::new(std::ptr::null(), &CALLS)
}

#[test]
fn no_lock_is_held_while_a_foreign_waker_is_cloned() {
    let bell = BELL.get_or_init(event);
    // SAFETY: the calls use no data and may be made from any thread.
    let waker = unsafe { Waker::from_raw(curious()) };
    let mut first = pin!(bell.readable());
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    add(bell, 1);
    future::block_on(first).unwrap();
}
