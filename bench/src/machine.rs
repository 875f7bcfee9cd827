//! The paragraph above the table: machine, versions and date.

use std::process::Command;

const LOCK: &str = include_str!("../../Cargo.lock");
const PEERS: [&str; 14] = [
    "corosensei",
    "may",
    "tokio",
    "rayon",
    "crossbeam-channel",
    "flume",
    "kanal",
    "async-channel",
    "procspawn",
    "ipc-channel",
    "iceoryx2",
    "monoio",
    "hyper",
    "may_minihttp",
];

/// Returns the paragraph, in Markdown.
pub fn describe(quick: bool, rounds: u32) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let machine = format!("{}, {cores} cores, Linux {}", processor(), kernel());
    let peers: Vec<_> = PEERS.iter().map(|name| format!("{name} {}", version(name))).collect();
    let python = crate::foreign::python::version().unwrap_or_else(|| "—".into());
    let go = crate::foreign::go::version().unwrap_or_else(|| "—".into());
    let nginx = crate::io::nginx::version().unwrap_or_else(|| "—".into());
    let rounds = if rounds == 1 { "1 round".into() } else { format!("{rounds} rounds") };
    let size = if quick { ", quick: with less work than described below" } else { "" };
    format!(
        "Measured {} on {machine}; {}; trine {}{}, {}, Python {python}, Go {go}, nginx {nginx}. \
         Medians over {rounds} in which all peers take turns, each measurement in a fresh \
         process{size}. \
         The ratio shows how many times better the first line of a table is.",
        output_of("date", &["+%F"]).unwrap_or_else(|| "on an unknown day".into()),
        env!("BENCH_RUSTC"),
        version("trine"),
        commit().map(|commit| format!(" ({commit})")).unwrap_or_default(),
        peers.join(", "),
    )
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // On Arm, the kernel reports no model name.
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Returns the version of a crate that this program was built with, from the lock file.
fn version(name: &str) -> &'static str {
    let entry = format!("[[package]]\nname = \"{name}\"\nversion = \"");
    let after = LOCK.split_once(&entry).map(|(_, rest)| rest);
    after.and_then(|rest| rest.split('"').next()).unwrap_or("—")
}

/// Returns the commit of the working tree, if git knows one.
fn commit() -> Option<String> {
    let tree = env!("CARGO_MANIFEST_DIR");
    output_of("git", &["-C", tree, "describe", "--always", "--dirty", "--exclude=*"])
}

/// Runs a program and returns what it prints, if it succeeds and prints anything.
fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_in_the_lock_file() {
        for name in PEERS {
            assert_ne!(version(name), "—", "{name}");
        }
    }
}
