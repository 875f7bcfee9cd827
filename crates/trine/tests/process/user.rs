//! Programs and workers that change their user. Only root can; other users skip these tests.

use std::process::Child;
use std::sync::mpsc;
use std::time::Duration;

use trine::process::Pool;
use trine::{Cause, time};

use crate::common::processes::{spin_for_ever, stay_for_ever};
use crate::common::{again, role};
use crate::master::{Handle, handle, print_line, wait_for_line};

/// Longer than anything here takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root can change its user");
    }
    is_root
}

/// Gives up root's rights, in all threads.
fn become_nobody() {
    // SAFETY: no memory involved.
    unsafe { assert!(libc::setgid(65534) == 0 && libc::setuid(65534) == 0) };
}

/// A pool with one worker whose tasks may take 0.1 s, and 0.1 s more to end.
fn strict_pool() -> Pool {
    let limit = Duration::from_millis(100);
    Pool::builder().workers(1).timeout(limit).grace(limit).build()
}

/// Stops a pool and waits for that.
fn stop(pool: Pool) {
    let (done, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        pool.stop(Duration::from_millis(100));
        done.send(()).unwrap();
    });
    stopped.recv_timeout(PATIENCE).expect("`stop` does not return");
}

/// A process that ends with the test, however that goes.
struct Ends(Handle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Waits until the child has printed the id of a worker.
fn worker_of(child: &mut Child) -> Ends {
    Ends(handle(wait_for_line(child, "WORKER").parse().unwrap()))
}

fn print_worker() {
    print_line("WORKER", &std::process::id().to_string());
}

/// Runs the running test as a program of root, and asserts its success. Ends the worker that it
/// prints.
fn run_as_root() {
    if !is_root() {
        return;
    }
    let mut child = again("alone").spawn().unwrap();
    let worker = worker_of(&mut child);
    child.wait().unwrap();
    // A worker that lives on has the program's output open.
    drop(worker);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_program_that_has_given_up_its_user_still_ends_its_tasks() {
    if role().is_some() {
        let pool = strict_pool();
        pool.spawn((), |()| print_worker()).join().unwrap();
        become_nobody();
        let error = pool.spawn((), |()| -> () { spin_for_ever() }).join_timeout(PATIENCE);
        let error = error.expect("the task is not ended").err().unwrap();
        assert!(matches!(error.cause(), Cause::TimedOut), "{error}");
        let task = pool.spawn((), |()| time::sleep(PATIENCE));
        task.cancel();
        let error = task.join_timeout(PATIENCE).expect("the task is not ended").unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        stop(pool);
        return;
    }
    run_as_root();
}

#[test]
fn a_worker_that_cannot_be_killed_is_an_error_that_names_it() {
    if role().is_some() {
        let pool = strict_pool();
        pool.spawn((), |()| ()).join().unwrap();
        become_nobody();
        let task = pool.spawn((), |()| -> () {
            // Without its lifeline. Descriptors that are not open are an error.
            (3..1024).for_each(|number| {
                // SAFETY: no memory involved.
                let _ = unsafe { libc::fcntl(number, libc::F_SETFL, 0) };
            });
            print_worker();
            spin_for_ever()
        });
        let error = task.join_timeout(PATIENCE).expect("the join does not return");
        let text = error.unwrap_err().to_string();
        assert!(text.contains("user 0) cannot be killed: ") && text.contains("changed"), "{text}");
        stop(pool);
        return;
    }
    run_as_root();
}

#[test]
fn workers_die_with_their_program_whoever_has_changed_the_user() {
    match role().as_deref() {
        Some("program") => {
            let task = Pool::new(1).spawn((), |()| -> () {
                // The program changes its user when it sees this line.
                print_worker();
                spin_for_ever()
            });
            std::io::stdin().read_line(&mut String::new()).unwrap();
            become_nobody();
            print_line("CHANGED", "");
            task.join().unwrap();
        }
        Some("initializer") => {
            let pool = Pool::builder().workers(1).initializer(become_nobody).build();
            let task = pool.spawn((), |()| -> () {
                print_worker();
                print_line("CHANGED", "");
                spin_for_ever()
            });
            task.join().unwrap();
        }
        Some(_) => {
            let task = Pool::new(1).spawn((), |()| -> () {
                become_nobody();
                print_worker();
                print_line("CHANGED", "");
                stay_for_ever()
            });
            task.join().unwrap();
        }
        None => {
            for who in ["program", "initializer", "task"].into_iter().filter(|_| is_root()) {
                let mut child = again(who).spawn().unwrap();
                let worker = worker_of(&mut child);
                std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
                wait_for_line(&mut child, "CHANGED");
                child.kill().unwrap();
                child.wait().unwrap();
                println!("{who}");
                worker.0.wait();
            }
        }
    }
}
