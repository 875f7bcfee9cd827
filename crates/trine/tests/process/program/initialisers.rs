//! Functions that run before `main`, in the program and once more in its templates.

use std::io::Write;
use std::sync::Mutex;

use trine::process::{self, Pool};

use crate::common::processes::stay_for_ever;
use crate::common::{again, reason_of, role, run};

/// The variable that makes the initialiser of this program do something.
const VARIABLE: &str = "TRINE_TEST_INITIALISER";

static LOCK: Mutex<u64> = Mutex::new(0);

/// The initialiser of this program. The number puts it behind trine's with some linkers, and before
/// it with others.
#[used]
#[unsafe(link_section = ".init_array.99999")]
static INITIALISER: extern "C" fn() = {
    extern "C" fn initialise() {
        match std::env::var(VARIABLE).as_deref() {
            Ok("thread") => {
                let lingers = std::thread::Builder::new().name("sampler".into());
                let (holds, held) = std::sync::mpsc::channel();
                lingers
                    .spawn(move || {
                        let _held = LOCK.lock().unwrap();
                        holds.send(()).unwrap();
                        if std::env::var_os("TRINE_TEST_ROLE").is_some() {
                            stay_for_ever();
                        }
                    })
                    .unwrap();
                held.recv().unwrap();
            }
            Ok("spawn") => {
                let text = match process::spawn(1, |n: u8| n + 1).join() {
                    Ok(n) => n.to_string(),
                    Err(error) => error.to_string(),
                };
                let _ = writeln!(std::io::stderr(), "before main: {text}");
            }
            _ => {}
        }
    }
    initialise
};

#[test]
fn a_thread_from_before_main_is_an_error_that_names_it() {
    if role().is_none() {
        let mut command = again("thread");
        command.env(VARIABLE, "thread");
        run(command);
        return;
    }
    let pool = Pool::new(2);
    for round in 0..2 {
        let reason = reason_of(pool.spawn((), |()| *LOCK.lock().unwrap()));
        for part in ["before `main`", "sampler", "2 threads", "`initializer`"] {
            assert!(reason.contains(part), "round {round}: {reason}");
        }
    }
}

#[test]
fn an_initialiser_that_spawns_starts_no_templates_without_end() {
    if role().is_some() {
        assert_eq!(process::spawn(1, |n: u8| n).join().unwrap(), 1);
        return;
    }
    let mut command = again("spawn");
    command.env(VARIABLE, "spawn");
    let text = run(command);
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("before main:")).collect();
    // The program's, and that of its one template.
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines.iter().any(|line| line.contains("spawn it in `main`")), "{text}");
}

fn nested() {
    let pool = Pool::builder().workers(1).preload(nested).build();
    if let Err(error) = pool.spawn(1, |n: u8| n).join() {
        panic!("{error}");
    }
}

#[test]
fn a_preload_that_makes_a_pool_with_it_ends() {
    let pool = Pool::builder().workers(1).preload(nested).build();
    let reason = reason_of(pool.spawn(1, |n: u8| n));
    assert!(reason.contains("preload made a pool with a preload"), "{reason}");
}
