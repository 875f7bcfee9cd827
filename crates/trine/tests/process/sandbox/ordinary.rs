//! Ordinary tasks find what they need.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use trine::process::{Builder, Sandbox};
use trine::{Cause, coroutine, net, process, thread, time};

use super::{error_of, run_in, tight};

#[test]
fn a_process_has_what_it_needs_without_any_file() {
    let (exe, random, null) = run_in(tight(), (), |()| {
        let mut null = fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let program = fs::read("/proc/self/exe").unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains("[stack]"));
        let mut random = [0; 16];
        fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        (program.starts_with(b"\x7fELF"), random != [0; 16], null.write_all(b"x").is_ok())
    })
    .unwrap();
    assert!(exe && random && null);
}

#[test]
fn trine_and_std_work_in_the_tightest_sandbox() {
    let reactor = run_in(tight(), (), |()| {
        let threads: u32 = std::thread::available_parallelism().unwrap().get().try_into().unwrap();
        assert!(threads > 0);
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        assert_eq!(HashMap::from([(1, 2)])[&1], 2);
        time::sleep(Duration::from_millis(1));
        let scope = trine::scope(|s| {
            for _ in 0..100 {
                s.coroutine(|| time::sleep(Duration::from_millis(1)));
            }
        });
        scope.unwrap();
        // Waits of carriers, for sockets, pipes and files.
        let (mut one, mut other) = net::UnixStream::pair().unwrap();
        let echo = coroutine::spawn(move || {
            let mut buffer = [0; 5];
            other.read_exact(&mut buffer).unwrap();
            other.write_all(&buffer).unwrap();
        });
        let (mut receiver, mut sender) = trine::ipc::pipe().unwrap();
        let answer = coroutine::spawn(move || {
            one.write_all(b"hello").unwrap();
            let mut buffer = [0; 5];
            one.read_exact(&mut buffer).unwrap();
            sender.write_all(&buffer).unwrap();
            trine::fs::read("/proc/self/exe").unwrap().len()
        });
        let mut text = String::new();
        receiver.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        echo.join().unwrap();
        assert!(answer.join().unwrap() > 1000);
        let blocked = time::timeout(Duration::from_millis(1), || {
            let (mut one, _other) = net::UnixStream::pair().unwrap();
            one.read(&mut [0])
        });
        assert!(!matches!(blocked, Ok(Ok(_))));
        (trine::reactor().kind() == trine::Reactor::Epoll, trine::reactor().to_string())
    });
    let (is_epoll, text) = reactor.unwrap();
    assert!(is_epoll, "{text}");
    assert!(text.contains("refused") || std::env::var_os("TRINE_REACTOR").is_some(), "{text}");
}

#[test]
fn a_sandboxed_task_ends_as_any_other() {
    let panic = run_in(tight(), (), |()| -> () { panic!("in the sandbox") }).unwrap_err();
    match panic.cause() {
        Cause::Panicked { message, location, .. } => {
            assert_eq!(message, "in the sandbox");
            assert!(location.as_ref().is_some_and(|at| at.to_string().contains(file!())));
        }
        other => panic!("{other:?}"),
    }
    let abort = run_in(tight(), (), |()| -> () { std::process::abort() }).unwrap_err();
    assert!(
        matches!(abort.cause(), Cause::Signaled { signal, .. } if *signal == libc::SIGABRT),
        "{abort}"
    );
    fn deeper(n: u64) -> u64 {
        if n == u64::MAX { 0 } else { std::hint::black_box(deeper(n + 1)) + n }
    }
    let overflow = run_in(tight(), 0, deeper).unwrap_err();
    assert!(matches!(overflow.cause(), Cause::StackOverflow), "{overflow}");
    let exit = run_in(tight(), (), |()| -> () { std::process::exit(3) }).unwrap_err();
    assert!(matches!(exit.cause(), Cause::Exited { code: 3 }), "{exit}");
    let sleeper = Builder::new().sandbox(tight()).spawn((), |()| time::sleep(Duration::MAX));
    sleeper.cancel();
    assert!(sleeper.join().unwrap_err().is_cancelled());
    let late = time::timeout(Duration::from_millis(200), || {
        run_in(tight(), (), |()| time::sleep(Duration::MAX))
    });
    assert!(late.is_err() || late.is_ok_and(|task| task.is_err()));
}

#[test]
fn process_tasks_of_a_task_are_in_its_sandbox() {
    let network = run_in(Sandbox::new().no_network(), (), |()| {
        let pool = process::Pool::new(2);
        assert_eq!(pool.spawn(1, |n: u8| n + 1).join().unwrap(), 2);
        let inner = Builder::new().sandbox(Sandbox::new().no_exec());
        let inner = inner.spawn((), |()| {
            let network = error_of(std::net::TcpListener::bind("127.0.0.1:0"));
            (network, error_of(std::process::Command::new("/bin/true").status()))
        });
        inner.join().unwrap()
    });
    assert_eq!(network.unwrap(), (libc::EPERM, libc::EPERM));
}
