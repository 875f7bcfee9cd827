//! Threads and the thread pool.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use trine::{Cause, Kind, State, coroutine, task, thread};

#[test]
fn a_builder_names_the_thread_and_sizes_its_stack() {
    fn depth(n: u64) -> u64 {
        let ballast = std::hint::black_box([n; 64]);
        if n == 0 { 0 } else { 1 + depth(n - 1) + ballast[1] - n }
    }
    let task = thread::Builder::new().name("deep").stack_size(64 << 20).spawn(|| {
        let name = std::thread::current().name().map(String::from);
        (name, depth(20_000))
    });
    assert_eq!((task.kind(), task.name().as_deref()), (Kind::Thread, Some("deep")));
    assert_eq!(task.join().unwrap(), (Some("deep".into()), 20_000));
}

#[test]
fn a_panic_is_captured_and_can_be_carried_on() {
    fn falls_over() {
        let nothing: Option<u32> = std::hint::black_box(None);
        nothing.expect("something");
    }
    let error = thread::spawn(falls_over).join().unwrap_err();
    let Cause::Panicked { message, location, backtrace, .. } = error.cause() else { panic!() };
    assert_eq!(message, "something");
    assert!(location.as_ref().unwrap().file.ends_with("thread.rs"));
    assert!(backtrace.to_string().contains("falls_over"), "{backtrace}");
    let carried =
        std::panic::catch_unwind(|| std::panic::resume_unwind(error.into_panic().unwrap()));
    assert_eq!(*carried.unwrap_err().downcast::<String>().unwrap(), "something");
}

#[test]
fn states_of_a_thread_are_the_kernel_s() {
    let (open, gate) = mpsc::channel::<()>();
    let waits = thread::spawn(move || gate.recv());
    while waits.state() != State::Waiting {
        std::thread::yield_now();
    }
    drop(open);
    waits.join().unwrap().unwrap_err();

    let stop = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&stop);
    let runs = thread::spawn(move || while seen.load(Ordering::Relaxed) == 0 {});
    while runs.state() != State::Running {
        std::thread::yield_now();
    }
    stop.store(1, Ordering::Relaxed);
    while runs.state() != State::Terminated {
        std::thread::yield_now();
    }
    assert!(runs.is_finished() && !task::list().iter().any(|info| info.id == runs.id()));
    runs.join().unwrap();
}

#[test]
fn a_pool_runs_everything_on_its_own_threads() {
    let pool = thread::Pool::new(3);
    let together = Arc::new(Barrier::new(3));
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let together = Arc::clone(&together);
            pool.spawn(move || {
                if n < 3 {
                    together.wait();
                }
                (n, std::thread::current().id())
            })
        })
        .collect();
    let results: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    assert!(results.iter().map(|result| result.0).eq(0..300));
    let threads: HashSet<_> = results.iter().map(|result| result.1).collect();
    assert_eq!(threads.len(), 3, "three waited for each other, and no more may be");
}

#[test]
fn a_panic_in_a_pool_leaves_the_pool_whole() {
    let pool = thread::Pool::new(1);
    for _ in 0..20 {
        assert!(pool.spawn(|| panic!("one of many")).join().unwrap_err().is_panic());
    }
    assert_eq!(pool.spawn(|| 7).join().unwrap(), 7);
}

#[test]
fn a_dropped_pool_finishes_and_a_shut_down_one_has_finished() {
    let count = Arc::new(AtomicUsize::new(0));
    let pool = thread::Pool::new(2);
    let spawn = |pool: &thread::Pool| {
        let count = Arc::clone(&count);
        pool.spawn(move || count.fetch_add(1, Ordering::SeqCst))
    };
    for _ in 0..100 {
        drop(spawn(&pool));
    }
    pool.shutdown();
    assert_eq!(count.load(Ordering::SeqCst), 100);

    let pool = thread::Pool::new(2);
    let tasks: Vec<_> = (0..100).map(|_| spawn(&pool)).collect();
    drop(pool);
    assert!(tasks.into_iter().all(|task| task.join().is_ok()));
    assert_eq!(count.load(Ordering::SeqCst), 200);
}

#[test]
fn a_coroutine_joins_a_pool_s_task_without_holding_its_carrier() {
    let pool = Arc::new(thread::Pool::new(1));
    let (open, gate) = mpsc::channel::<u32>();
    let behind_the_gate = pool.spawn(move || gate.recv().unwrap());
    let waits = coroutine::spawn(move || behind_the_gate.join().unwrap());
    // If the wait held its carrier, these would have to run on the others. With one carrier
    // (`taskset -c 0`) they would not run at all.
    let others: Vec<_> = (0..100).map(|n| coroutine::spawn(move || n)).collect();
    assert_eq!(others.into_iter().map(|task| task.join().unwrap()).sum::<u32>(), 4950);
    open.send(5).unwrap();
    assert_eq!(waits.join().unwrap(), 5);
}

#[test]
#[should_panic(expected = "a pool without threads")]
fn a_pool_of_nothing_is_refused() {
    drop(thread::Pool::new(0));
}

#[test]
fn a_refused_thread_is_an_error_that_names_the_limit() {
    // No system has the address space for this stack.
    let task = thread::Builder::new().stack_size(1 << 62).spawn(|| 1);
    let error = task.join().unwrap_err();
    assert!(error.is_not_spawned(), "{error:?}");
    assert!(error.to_string().contains("the system refused another thread"), "{error}");
    assert_eq!(thread::spawn(|| 2).join().unwrap(), 2);
}

#[test]
fn a_thread_local_s_destructor_may_spawn_join_and_sleep() {
    struct Late(mpsc::Sender<u32>);
    impl Drop for Late {
        fn drop(&mut self) {
            // The thread's other thread-locals, among them the runtime's, are destroyed already.
            let sum = coroutine::spawn(|| 1).join().unwrap() + thread::spawn(|| 2).join().unwrap();
            trine::time::sleep(Duration::from_millis(1));
            let slow = thread::spawn(|| trine::time::sleep(Duration::from_millis(2)));
            slow.join().unwrap();
            self.0.send(sum).unwrap();
        }
    }
    thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
    let (send, receive) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        LATE.set(Some(Late(send)));
        trine::time::sleep(Duration::from_millis(1));
        coroutine::spawn(|| ()).join().unwrap();
    });
    thread.join().unwrap();
    assert_eq!(receive.recv().unwrap(), 3);
}

#[test]
fn a_task_is_known_by_the_kernel_s_number_of_what_runs_it() {
    let (open, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let task = thread::spawn(move || {
        // SAFETY: only a query.
        tell.send(unsafe { libc::gettid() }.cast_unsigned()).unwrap();
        _ = gate.recv();
        task::current().unwrap().thread_id
    });
    let id = told.recv().unwrap();
    assert_eq!((task.info().thread_id, task.info().pid), (Some(id), None));
    drop(open);
    assert_eq!(task.join().unwrap(), Some(id));

    // A coroutine has neither: its carrier runs others too.
    let inside = coroutine::spawn(|| task::current().unwrap()).join().unwrap();
    assert_eq!((inside.thread_id, inside.pid), (None, None));

    let (sender, receiver) = trine::ipc::channel::<()>(1).unwrap();
    let task = trine::process::spawn(receiver, |receiver| {
        _ = receiver.recv();
        (std::process::id(), task::current().unwrap().pid)
    });
    let pid = loop {
        match task.info().pid {
            Some(pid) => break pid,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(task.info().thread_id, None);
    drop(sender);
    assert_eq!(task.join().unwrap(), (pid, Some(pid)));
}
