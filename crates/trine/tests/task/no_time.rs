//! Waits with a limit of zero only look: they do not give the turn away. A caller that holds a lock
//! of std would otherwise hang.

use std::io::{self, ErrorKind, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::common::temporary;
use crate::common::waiting::keeps_its_turn;
use trine::coroutine::spawn_local;
use trine::ipc::{self, Fifo, MessageQueue};
use trine::net::UnixStream;
use trine::process::Command;
use trine::signal::{Signal, Signals};
use trine::sync::{Condvar, Event, Mutex, RwLock, Semaphore, channel, select};
use trine::time::timeout;
use trine::{coroutine, future, process, thread, time};

const NO_TIME: Duration = Duration::ZERO;

/// Calls `f` on a thread of its own and in a coroutine: there, other coroutines of the same thread
/// could have a turn.
fn beside_coroutines(f: fn()) {
    thread::spawn(f).join().unwrap();
    coroutine::spawn(f).join().unwrap();
}

#[track_caller]
fn timed_out<T>(result: io::Result<T>) {
    assert_eq!(result.map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn locks_without_time_only_look() {
    beside_coroutines(|| {
        let lock = Arc::new(Mutex::new(1));
        let (same, guard) = (Arc::clone(&lock), lock.lock());
        keeps_its_turn("lock_timeout", move || assert!(same.lock_timeout(NO_TIME).is_none()));
        drop(guard);
        assert_eq!(lock.lock_timeout(NO_TIME).as_deref(), Some(&1));

        let lock = Arc::new(RwLock::new(1));
        let (same, guard) = (Arc::clone(&lock), lock.write());
        keeps_its_turn("a lock for reading and writing", move || {
            assert!(same.read_timeout(NO_TIME).is_none());
            assert!(same.write_timeout(NO_TIME).is_none());
        });
        drop(guard);
        assert_eq!(lock.read_timeout(NO_TIME).as_deref(), Some(&1));

        keeps_its_turn("acquire_timeout", || {
            let semaphore = Semaphore::new(1);
            assert!(semaphore.acquire_many_timeout(2, NO_TIME).is_none());
            let permit = semaphore.acquire_timeout(NO_TIME).unwrap();
            assert!(semaphore.acquire_timeout(NO_TIME).is_none());
            drop(permit);
        });
        keeps_its_turn("an event", || assert!(!Event::new().wait_timeout(NO_TIME)));
        keeps_its_turn("a condition", || {
            let (mutex, changed) = (Mutex::new(0), Condvar::new());
            let (guard, result) = changed.wait_timeout(mutex.lock(), NO_TIME);
            assert!(result.timed_out());
            let (_, result) = changed.wait_timeout_while(guard, NO_TIME, |value| *value == 0);
            assert!(result.timed_out());
        });
    });
}

#[test]
fn channels_without_time_only_look() {
    beside_coroutines(|| {
        let (sender, receiver) = channel::bounded(1);
        keeps_its_turn("a channel", move || {
            assert!(receiver.recv_timeout(NO_TIME).unwrap_err().is_timeout());
            sender.send_timeout(1, NO_TIME).unwrap();
            assert!(sender.send_timeout(2, NO_TIME).unwrap_err().is_timeout());
            assert_eq!(receiver.recv_timeout(NO_TIME), Ok(1));
            drop(sender);
            assert!(!receiver.recv_timeout(NO_TIME).unwrap_err().is_timeout());
        });
        let (sender, receiver) = channel::rendezvous::<u8>();
        keeps_its_turn("a rendezvous", move || {
            assert!(receiver.recv_timeout(NO_TIME).unwrap_err().is_timeout());
            assert!(sender.send_timeout(1, NO_TIME).unwrap_err().is_timeout());
            drop(receiver);
            assert!(!sender.send_timeout(1, NO_TIME).unwrap_err().is_timeout());
        });
        let (sender, receiver) = channel::bounded(1);
        keeps_its_turn("a select", move || {
            for expected in [None, Some(7), None] {
                if expected.is_some() {
                    sender.try_send(7).unwrap();
                }
                let received = select! {
                    timeout(NO_TIME) => None,
                    recv(receiver) -> message => Some(message.unwrap()),
                };
                assert_eq!(received, expected);
            }
            select! {
                recv(receiver) -> _ => unreachable!(),
                timeout(Duration::MAX) => unreachable!(),
                timeout(NO_TIME) => {}
            }
            select! { timeout(NO_TIME) => {} }
        });
    });
}

#[test]
fn joins_without_time_only_look() {
    beside_coroutines(|| {
        let forever = || time::sleep(Duration::MAX);
        let tasks = [
            coroutine::spawn(forever),
            thread::spawn(forever),
            process::spawn((), |()| time::sleep(Duration::MAX)),
            future::spawn(std::future::pending()),
        ];
        for task in tasks {
            let cancel = task.canceller();
            keeps_its_turn("a task", move || {
                let task = task.join_timeout(NO_TIME).unwrap_err();
                assert!(timeout(NO_TIME, || task.join()).unwrap().unwrap_err().is_timeout());
            });
            cancel.cancel();
        }
        let local = spawn_local(forever);
        coroutine::yield_now();
        keeps_its_turn("a local task", move || {
            local.join_timeout(NO_TIME).unwrap_err().cancel();
        });
        let quick = coroutine::spawn(|| 7);
        while !quick.is_finished() {
            coroutine::yield_now();
        }
        assert_eq!(quick.join_timeout(NO_TIME).unwrap().unwrap(), 7);
    });
}

#[test]
fn an_ipc_call_without_time_only_looks() {
    beside_coroutines(|| {
        keeps_its_turn("a channel", || {
            let (sender, receiver) = ipc::channel(1).unwrap();
            assert!(receiver.recv_timeout(NO_TIME).unwrap_err().is_timeout());
            sender.send_timeout(1, NO_TIME).unwrap();
            assert!(sender.send_timeout(2, NO_TIME).unwrap_err().is_timeout());
            assert_eq!(receiver.recv_timeout(NO_TIME).unwrap(), 1);
        });
        keeps_its_turn("a semaphore", || {
            let semaphore = ipc::Semaphore::new(1).unwrap();
            semaphore.acquire_timeout(NO_TIME).unwrap();
            timed_out(semaphore.acquire_timeout(NO_TIME));
        });
        let mutex = ipc::Mutex::new(0_u8).unwrap();
        let (same, guard) = (mutex.clone(), mutex.lock().unwrap());
        keeps_its_turn("a mutex", move || assert!(same.lock_timeout(NO_TIME).is_none()));
        drop(guard);
        keeps_its_turn("a message queue", || {
            let name = temporary::unique("no-time");
            let queue = MessageQueue::options().max_messages(1).create_new(true).open(&name);
            let queue = queue.unwrap();
            MessageQueue::unlink(&name).unwrap();
            timed_out(queue.receive_timeout(NO_TIME));
            queue.send_timeout(b"one", 0, NO_TIME).unwrap();
            timed_out(queue.send_timeout(b"two", 0, NO_TIME));
            assert_eq!(queue.receive_timeout(NO_TIME).unwrap().0, b"one");
        });
        let path = temporary::TempPath::new("no-time");
        let fifo = Fifo::create_new(&path.0, 0o600).unwrap();
        keeps_its_turn("a FIFO", move || {
            timed_out(fifo.open_writer_timeout(NO_TIME));
            timed_out(fifo.open_reader_timeout(NO_TIME));
            let reader = fifo.try_open_reader().unwrap();
            let _writer = fifo.open_writer_timeout(NO_TIME).unwrap();
            drop(reader);
            let _reader = fifo.open_reader_timeout(NO_TIME).unwrap();
        });
    });
}

#[test]
fn a_signal_or_a_child_without_time_is_only_looked_for() {
    beside_coroutines(|| {
        keeps_its_turn("signals", || {
            let signals = Signals::new([Signal::WINCH]).unwrap();
            assert_eq!(signals.recv_timeout(NO_TIME).unwrap(), None);
        });
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = child.process();
        keeps_its_turn("a child", move || {
            assert!(child.wait_timeout(NO_TIME).unwrap().is_none());
            assert!(child.process().wait_timeout(NO_TIME).unwrap().is_none());
        });
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(process.wait_timeout(NO_TIME).unwrap().is_some());
    });
}

#[test]
fn a_wait_within_no_time_gives_no_turn_away() {
    beside_coroutines(|| {
        let (sender, receiver) = channel::bounded(1);
        keeps_its_turn("a receive", move || {
            assert!(timeout(NO_TIME, || receiver.recv()).unwrap().is_err());
            sender.try_send(1).unwrap();
            assert!(timeout(NO_TIME, || sender.send(1)).unwrap().is_err());
            assert!(timeout(NO_TIME, || receiver.iter().take(2).count()).is_err());
        });
        keeps_its_turn("a select", || {
            let (_sender, receiver) = channel::bounded::<u8>(1);
            assert!(timeout(NO_TIME, || select! { recv(receiver) -> _ => {} }).is_err());
        });
        let lock = Rc::new(Mutex::new(()));
        let (same, guard) = (Rc::clone(&lock), lock.lock());
        keeps_its_turn("a lock", move || assert!(timeout(NO_TIME, || drop(same.lock())).is_err()));
        drop(guard);
        keeps_its_turn("an event", || assert!(timeout(NO_TIME, || Event::new().wait()).is_err()));
        keeps_its_turn("a sleep", || {
            assert!(timeout(NO_TIME, || time::sleep(Duration::MAX)).is_err());
        });
        let (mut one, _other) = UnixStream::pair().unwrap();
        keeps_its_turn("a read", move || {
            let read = timeout(NO_TIME, || one.read(&mut [0])).unwrap();
            assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        });
        keeps_its_turn("a channel between processes", || {
            let (_sender, receiver) = ipc::channel::<u8>(1).unwrap();
            assert!(timeout(NO_TIME, || receiver.recv()).unwrap().is_err());
        });
        keeps_its_turn("a future", || {
            let never = future::timeout(NO_TIME, std::future::pending::<()>());
            assert!(future::block_on(never).unwrap_err().is_timeout());
        });
    });
}
