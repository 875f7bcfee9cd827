//! Bad input ends in an error or a documented panic that names the cause and the remedy. It never
//! ends in an endless wait that could be detected.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{alone, role, this_program, this_test};
use trine::sync::channel::{self, Receiver, RecvError, SendError};
use trine::sync::{Mutex, RwLock, Semaphore, select};
use trine::{
    Cause, Kind, Task, coroutine, future, join_all, process, race, scope, shield, thread, time,
};

/// The limit of a wait that is to time out.
const SHORT: Duration = Duration::from_millis(2);

fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("there was no panic"),
        Err(payload) => text(&*payload),
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).to_owned())
}

/// Runs `f` in a task with the task's own handle. Returns the message of the panic.
fn with_own_handle(kind: Kind, f: impl FnOnce(Task<()>) + Send + 'static) -> String {
    let (handle, own) = channel::bounded::<Task<()>>(1);
    let (reply, told) = channel::bounded(1);
    let work = move || {
        let own = own.recv().unwrap();
        reply.send(panic_of(|| f(own))).unwrap();
    };
    let task = if kind == Kind::Thread { thread::spawn(work) } else { coroutine::spawn(work) };
    handle.send(task).unwrap();
    told.recv().unwrap()
}

fn names_the_deadlock(text: &str) {
    assert!(text.contains("waits for its own end") && text.contains("to detach it"), "{text}");
}

#[test]
fn a_task_that_joins_itself_is_told() {
    for kind in [Kind::Coroutine, Kind::Thread] {
        names_the_deadlock(&with_own_handle(kind, |own| own.join().unwrap()));
        names_the_deadlock(&with_own_handle(kind, |own| drop(own.join_timeout(Duration::MAX))));
        names_the_deadlock(&with_own_handle(kind, |own| future::block_on(own).unwrap()));
        names_the_deadlock(&with_own_handle(kind, |mut own| {
            select! { join(own) -> _ => {} }
        }));
        names_the_deadlock(&with_own_handle(kind, |own| {
            race([own, coroutine::spawn(|| ())]).unwrap()
        }));
        names_the_deadlock(&with_own_handle(kind, |own| {
            drop(join_all([coroutine::spawn(|| ()), own]))
        }));
        names_the_deadlock(&with_own_handle(kind, |own| scope(|s| drop(s.adopt(own))).unwrap()));
    }
}

#[test]
fn a_task_that_waits_for_itself_for_a_while_gets_its_handle_back() {
    let (handle, own) = channel::bounded::<Task<()>>(1);
    let (reply, told) = channel::bounded(1);
    let task = coroutine::spawn(move || {
        let own = own.recv().unwrap();
        reply.send(own.join_timeout(Duration::from_millis(1)).unwrap_err()).unwrap();
    });
    let id = task.id();
    handle.send(task).unwrap();
    let handed_back = told.recv().unwrap();
    assert_eq!(handed_back.id(), id);
    handed_back.join().unwrap();
}

#[test]
fn a_task_that_joins_itself_times_out_where_a_deadline_is_in_force() {
    for kind in [Kind::Coroutine, Kind::Thread] {
        let joins: [fn(Task<()>) -> bool; 3] = [
            |own| own.join().unwrap_err().is_timeout(),
            |own| join_all([own]).remove(0).unwrap_err().is_timeout(),
            |own| time::timeout(SHORT, || future::block_on(own)).is_err(),
        ];
        for join in joins {
            let (handle, own) = channel::bounded::<Task<()>>(1);
            let (reply, has_timed_out) = channel::bounded(1);
            let work = move || {
                let own = own.recv().unwrap();
                reply.send(time::timeout(SHORT, || join(own)) != Ok(false)).unwrap();
            };
            let task = match kind {
                Kind::Thread => thread::spawn(work),
                _ => coroutine::spawn(work),
            };
            handle.send(task).unwrap();
            assert!(has_timed_out.recv().unwrap());
        }
    }
}

#[test]
fn a_future_that_awaits_itself_is_told() {
    let (handle, own) = channel::bounded::<Task<()>>(1);
    let (reply, told) = channel::bounded(1);
    let task = future::spawn(async move {
        // At its second turn, when the handle has arrived.
        let own = loop {
            match own.try_recv() {
                Ok(own) => break own,
                Err(_) => future::sleep(Duration::from_millis(1)).await,
            }
        };
        let mut own = Box::pin(own);
        let first = std::future::poll_fn(|context| {
            let polled = AssertUnwindSafe(|| own.as_mut().poll(context).is_ready());
            std::task::Poll::Ready(panic::catch_unwind(polled).map_err(|payload| text(&*payload)))
        });
        reply.send(first.await).unwrap();
    });
    handle.send(task).unwrap();
    names_the_deadlock(&told.recv().unwrap().unwrap_err());
}

#[test]
fn a_task_of_a_scope_that_joins_itself_fails_and_the_scope_with_it() {
    for kind in [Kind::Coroutine, Kind::Thread] {
        let error = scope(|s| {
            let (handle, own) = channel::bounded::<trine::ScopedTask<'_, ()>>(1);
            let work = move || own.recv().unwrap().join().unwrap();
            let task = if kind == Kind::Thread { s.thread(work) } else { s.coroutine(work) };
            handle.send(task).unwrap_or_else(|_| panic!("its task has ended"));
        });
        let error = error.unwrap_err();
        assert!(error.is_panic());
        names_the_deadlock(&error.to_string());
    }
}

#[test]
fn a_local_coroutine_that_joins_itself_is_told() {
    let (handle, own) = channel::bounded::<coroutine::LocalTask<()>>(1);
    let (reply, told) = channel::bounded(1);
    let task = coroutine::spawn_local(move || {
        let own = own.recv().unwrap();
        reply.send(panic_of(|| own.join())).unwrap();
    });
    handle.send(task).unwrap();
    names_the_deadlock(&told.recv().unwrap());
}

#[test]
fn a_pool_that_its_own_task_shuts_down_is_told() {
    let pool = Arc::new(Mutex::new(Some(thread::Pool::new(1))));
    let own = Arc::clone(&pool);
    let task = pool.lock().as_ref().unwrap().spawn(move || {
        let pool = own.lock().take().unwrap();
        pool.shutdown();
    });
    let error = task.join().unwrap_err();
    assert!(error.to_string().contains("a task of a pool waits for the pool's end"), "{error}");
    // A task may shut another pool down.
    let other = thread::Pool::new(1);
    thread::Pool::new(1).spawn(move || other.shutdown()).join().unwrap();
}

#[test]
fn a_mutex_locked_twice_by_one_coroutine_is_told() {
    let error = coroutine::spawn(|| {
        let mutex = Mutex::new(());
        let _first = mutex.lock();
        drop(mutex.lock());
    });
    let error = error.join().unwrap_err();
    assert!(error.to_string().contains("drop the first guard"), "{error}");
    let error = coroutine::spawn(|| {
        let lock = RwLock::new(());
        let _first = lock.write();
        drop(lock.write());
    });
    let error = error.join().unwrap_err();
    assert!(error.to_string().contains("drop the first guard"), "{error}");
}

#[test]
fn a_semaphore_without_permits_waits_for_some_and_can_be_asked_for_a_while() {
    let none = Arc::new(Semaphore::new(0));
    assert!(none.try_acquire().is_none());
    assert!(none.acquire_timeout(Duration::ZERO).is_none());
    assert!(none.acquire_timeout(Duration::from_millis(1)).is_none());
    let theirs = Arc::clone(&none);
    let waits = coroutine::spawn(move || theirs.acquire().forget());
    none.add_permits(1);
    waits.join().unwrap();
    let message = panic_of(|| none.acquire_many(Semaphore::MAX_PERMITS + 1).permits());
    assert!(message.contains("ask for at most Semaphore::MAX_PERMITS"), "{message}");
}

#[test]
fn a_receive_without_a_sender_and_a_send_without_a_receiver_are_errors() {
    for make in [channel::unbounded::<u32>, channel::rendezvous, || channel::bounded(1)] {
        let (sender, receiver) = make();
        let task = coroutine::spawn(move || {
            drop(sender);
            let told: RecvError = receiver.recv().unwrap_err();
            (told, receiver.recv_timeout(Duration::MAX).unwrap_err().is_disconnected())
        });
        let (told, later) = task.join().unwrap();
        assert!(told.is_disconnected() && later);
        assert!(told.to_string().contains("no sender"), "{told}");
        let (sender, _): (_, Receiver<u32>) = make();
        let told: SendError<u32> = sender.send(1).unwrap_err();
        assert!(told.is_disconnected() && told.to_string().contains("no receiver"), "{told}");
    }
}

#[test]
fn absurd_durations_mean_at_once_or_for_good() {
    let begin = Instant::now();
    time::sleep(Duration::ZERO);
    time::sleep_until(begin.checked_sub(Duration::from_secs(1)).unwrap_or(begin));
    // A deadline in the past acts as a negative duration: nothing waits, and nothing underflows.
    assert!(time::timeout(Duration::ZERO, || time::sleep(Duration::MAX)).is_err());
    assert_eq!(time::timeout(Duration::MAX, || 7), Ok(7));
    assert_eq!(shield(Duration::ZERO, || shield(Duration::MAX, || 7)), 7);
    let (_sender, receiver) = channel::bounded::<u32>(1);
    assert!(receiver.recv_timeout(Duration::ZERO).unwrap_err().is_timeout());
    let waits = coroutine::spawn(|| time::sleep(Duration::MAX));
    let Err(waits) = waits.join_timeout(Duration::ZERO) else { panic!("it has not ended") };
    assert!(time::timeout(Duration::ZERO, || waits.join()).unwrap().unwrap_err().is_timeout());
    let quick = thread::spawn(|| 7);
    assert_eq!(quick.join_timeout(Duration::MAX).unwrap().unwrap(), 7);
    let message = panic_of(|| time::interval(Duration::ZERO).period());
    assert!(message.contains("a period above zero"), "{message}");
    let pool = process::Pool::new(1).grace(Duration::MAX);
    assert_eq!(pool.spawn(1, |n: u32| n + 1).join().unwrap(), 2);
}

#[test]
fn a_stack_below_the_minimum_is_rounded_up() {
    for bytes in [0, 1, 4096] {
        let task = coroutine::Builder::new().stack_size(bytes).spawn(|| format!("{}", 1.5));
        assert_eq!(task.join().unwrap(), "1.5");
        let task = thread::Builder::new().stack_size(bytes).spawn(|| format!("{}", 1.5));
        assert_eq!(task.join().unwrap(), "1.5");
    }
}

#[test]
fn a_stack_beyond_the_address_space_is_told() {
    for bytes in [(1 << 40) + 1, usize::MAX] {
        let message = panic_of(|| coroutine::Builder::new().stack_size(bytes));
        assert!(message.contains(&bytes.to_string()) && message.contains("1 TiB"), "{message}");
    }
    for bytes in [1 << 47, 1 << 62, usize::MAX - 4095, usize::MAX] {
        let error = thread::Builder::new().stack_size(bytes).spawn(|| ()).join().unwrap_err();
        assert!(error.is_not_spawned(), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("stack of {bytes} bytes: choose a smaller")), "{text}");
    }
    // The program goes on.
    assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
}

#[test]
fn a_stack_that_ulimit_has_no_room_for_is_an_error_that_names_it() {
    if role().is_some() {
        for task in [
            coroutine::Builder::new().stack_size(1 << 36).spawn(|| ()),
            thread::Builder::new().stack_size(1 << 36).spawn(|| ()),
        ] {
            let error = task.join().unwrap_err();
            assert!(matches!(error.cause(), Cause::NotSpawned { .. }), "{error:?}");
            assert!(error.to_string().contains("ulimit -v"), "{error}");
        }
        assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
        return;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 8388608 && exec \"$0\" --exact \"$1\" --nocapture"]);
    shell.arg(this_program()).arg(this_test()).env("TRINE_CARRIERS", "1");
    let output = shell.env("TRINE_TEST_ROLE", "alone").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn an_absurd_stack_size_in_the_environment_is_reported_and_passed_over() {
    if role().is_some() {
        return assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
    }
    for nonsense in ["-1", "2000000M", "18446744073709551615", ""] {
        let output = alone(&[("TRINE_STACK_SIZE", nonsense)]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("trine: TRINE_STACK_SIZE="), "{text}");
    }
}

#[test]
fn names_and_settings_that_the_system_cannot_take_are_told() {
    assert!(coroutine::Builder::new().name("a\0b").spawn(|| ()).join().is_ok());
    panic_of(|| thread::Builder::new().name("a\0b").spawn(|| ()));
    for builder in [
        process::Builder::new().current_dir("/there/is/no/such/directory"),
        process::Builder::new().current_dir("/tmp/\0"),
        process::Builder::new().env("KEY\0", "value"),
        process::Builder::new().env("", "value"),
        process::Builder::new().env("A=B", "value"),
    ] {
        let error = builder.spawn((), |()| ()).join().unwrap_err();
        assert!(error.is_not_spawned(), "{error}");
    }
    assert!(panic_of(|| thread::Pool::new(0)).contains("a pool without threads"));
    assert!(panic_of(|| process::Pool::new(0)).contains("at least one worker"));
    let message = panic_of(|| race(Vec::<Task<()>>::new()));
    assert!(message.contains("give it at least one"), "{message}");
}
