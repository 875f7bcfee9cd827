//! Many kills, which leave nothing behind.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use trine::ipc::SharedMut;
use trine::supervisor::{Child, ChildInfo, ChildState, Context, Failure, Restart, Strategy};
use trine::{Cause, Kind, time};

use crate::common::processes::{die, shared_mappings};
use crate::common::seeds::variable;
use crate::common::waiting::until;
use crate::parts::HOUR;

/// Returns the resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Counts the descriptors, shared mappings and children of this process.
fn possessions() -> [usize; 3] {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    [descriptors, shared_mappings(), crate::common::processes::children()]
}

/// The argument of a process: the number of kills to survive, those that were, and whether it
/// reports to its supervisor first.
type Argument = (u64, SharedMut<AtomicU64>, bool);

/// Kills its process, unless there were enough kills.
fn die_in_turn(context: &Context, (most, kills, reports): Argument) {
    if reports {
        context.ready();
        context.alive();
    }
    if kills.fetch_add(1, Relaxed) < most {
        die();
    }
}

/// Has processes kill themselves `most` times in all, beside a coroutine and a thread.
fn kill(strategy: Strategy, most: u64) {
    let kills = SharedMut::<AtomicU64>::zero().unwrap();
    let process = |reports: bool| {
        let child = Child::process((most, kills.clone(), reports), die_in_turn);
        child.restart(Restart::Transient)
    };
    let wait = |_: &Context| time::sleep(Duration::MAX);
    let supervisor = trine::supervisor()
        .strategy(strategy)
        .intensity(usize::MAX, HOUR)
        .child("coroutine", Child::coroutine(wait))
        .child("mute", process(false))
        .child("talks", process(true).reports_ready().health(HOUR))
        .child("thread", Child::thread(wait))
        .start();
    let process = |child: &ChildInfo| child.kind == Kind::Process;
    until(|| {
        let children = supervisor.children();
        children.iter().filter(|child| process(child)).all(|child| child.state == ChildState::Ended)
    });
    let children = supervisor.children();
    for child in children.iter().filter(|child| process(child)) {
        if let Some(failure) = &child.last_failure {
            let Failure::Ended(error) = failure else { panic!("{failure}") };
            assert!(matches!(error.cause(), Cause::Signaled { signal: libc::SIGKILL, .. }));
        }
    }
    assert!(kills.load(Relaxed) >= most);
    let restarts: u64 = children.iter().map(|child| child.restarts).sum();
    match strategy {
        Strategy::OneForOne => assert_eq!(restarts, most, "{children:?}"),
        _ => assert!(restarts >= most, "{children:?}"),
    }
    supervisor.stop().unwrap();
}

const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

/// Runs alone: it counts what the whole program has.
#[test]
fn hundreds_of_kills_are_survived_and_leave_nothing() {
    if crate::common::role().is_none() {
        let seconds = variable("TRINE_STRESS_SECONDS").unwrap_or(0).to_string();
        // A carrier that starts late would count as a leak.
        let settings = [("TRINE_STRESS_SECONDS", &*seconds), ("TRINE_CARRIERS", "1")];
        let output = crate::common::alone(&settings);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stdout));
        println!("{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let time = Duration::from_secs(variable("TRINE_STRESS_SECONDS").unwrap_or(0));
    STRATEGIES.iter().for_each(|strategy| kill(*strategy, 50));
    let (before, memory, begin) = (possessions(), resident(), Instant::now());
    let mut deaths = 0;
    while deaths == 0 || begin.elapsed() < time {
        STRATEGIES.iter().for_each(|strategy| kill(*strategy, 100));
        deaths += 300;
    }
    // The last workers have answered, and may take a moment to exit.
    until(|| possessions().iter().zip(before).all(|(now, before)| *now <= before));
    let (grown, took) = (resident().saturating_sub(memory), begin.elapsed());
    println!("{deaths} kills in {took:?}: {grown} KiB more, {:?}", possessions());
    assert!(grown < 8 * 1024, "{grown} KiB more after {deaths} kills");
}
