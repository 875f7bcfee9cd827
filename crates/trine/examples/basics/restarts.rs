//! How soon is a killed process back? A supervisor restarts it, and the program kills it again.
//!
//! Prints the median, the 99th percentile and the maximum of two times, in microseconds:
//!
//! - from the moment at which the supervisor has reaped the dead process to the first line of the
//!   function in the new one;
//! - from the kill to that line: with the end of the old process, which frees its memory.
//!
//! Run it with `cargo run --release --example restarts -- 3000`.

use std::error::Error;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use trine::ipc::{Semaphore, SharedMut};
use trine::supervisor::{Child, Context};
use trine::time;

/// Returns the time of the clock that all processes share.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

/// Notes the time at which it begins, and waits for its end.
fn live(_: &Context, (began, begins): (SharedMut<AtomicU64>, Semaphore)) {
    began.store(now().as_nanos() as u64, Relaxed);
    begins.release(1).expect("one permit for each kill");
    time::sleep(Duration::MAX);
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let [half, most, last] = [times.len() / 2, times.len() * 99 / 100, times.len() - 1]
        .map(|at| times[at].as_secs_f64() * 1e6);
    println!("{what}: median {half:.0} µs, 99 % {most:.0} µs, maximum {last:.0} µs");
}

fn main() -> Result<(), Box<dyn Error>> {
    let kills = std::env::args().nth(1).map_or(Ok(200), |kills| kills.parse())?.max(1);
    let (began, begins) = (SharedMut::<AtomicU64>::zero()?, Semaphore::new(0)?);
    let supervisor = trine::supervisor()
        .intensity(usize::MAX, Duration::MAX)
        .child("victim", Child::process((began.clone(), begins.clone()), live))
        .start();
    begins.acquire()?;
    let (mut from_death, mut from_kill) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for kill in 1..=kills {
        let pid = loop {
            if let Some(pid) = supervisor.children()[0].pid {
                break pid;
            }
            std::thread::yield_now();
        };
        let killed = now();
        kill_process(Pid::from_raw(pid.cast_signed()).expect("no process is 0"), Signal::KILL)?;
        begins.acquire()?;
        let began = Duration::from_nanos(began.load(Relaxed));
        let victim = &supervisor.children()[0];
        assert_eq!(victim.restarts, kill, "each kill is one restart");
        // Both clocks are read in a row, to turn an `Instant` into a time that processes share.
        let (instant, time) = (Instant::now(), now());
        let reaped = time - (instant - victim.running_since.expect("it runs"));
        from_death.push(began.saturating_sub(reaped));
        from_kill.push(began - killed);
    }
    let took = begin.elapsed();
    supervisor.stop()?;
    println!("{kills} kills survived in {took:.1?}");
    print("from the death seen to the new one running", &mut from_death);
    print("from the kill to the new one running", &mut from_kill);
    Ok(())
}
