//! The pipes of a child.

use std::io::{self, Read, Write};

use trine::coroutine;
use trine::process::{self, Command, Stdio};

use super::{KINDS, everywhere, sh, spawn};

const MIB: usize = 1 << 20;

#[test]
fn both_outputs_of_many_mebibytes_are_collected_at_once() {
    everywhere(|| {
        let script = "head -c 6291456 /dev/zero | tr '\\0' e >&2 & head -c 8388608 /dev/zero; wait";
        let output = sh(script).output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout.len(), 8 * MIB);
        assert_eq!(output.stderr.len(), 6 * MIB);
        assert!(output.stderr.iter().all(|byte| *byte == b'e'));
    });
}

#[test]
fn an_output_that_ends_long_before_the_other_is_no_hindrance() {
    everywhere(|| {
        let output = sh("exec 2>&-; head -c 1000000 /dev/zero").output().unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (1_000_000, 0));
        let output = sh("exec >&-; head -c 1000000 /dev/zero >&2").output().unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (0, 1_000_000));
    });
}

#[test]
fn what_is_not_captured_elsewhere_is_collected() {
    let output = sh("echo out; echo err >&2").stderr(Stdio::null()).output().unwrap();
    assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b""[..]));
    let output = sh("echo out; echo err >&2").stdout(Stdio::null()).output().unwrap();
    assert_eq!((&*output.stdout, &*output.stderr), (&b""[..], &b"err\n"[..]));
}

#[test]
fn the_input_of_output_is_empty_unless_chosen() {
    assert_eq!(Command::new("cat").output().unwrap().stdout, b"");
    let mut converted = Command::from(std::process::Command::new("cat"));
    assert_eq!(converted.output().unwrap().stdout, b"");
}

#[test]
fn cats_give_back_what_coroutines_write_while_others_read() {
    let tasks: Vec<_> = (0..20_u8).map(|n| coroutine::spawn(move || through_cat(n))).collect();
    for task in tasks {
        task.join().unwrap();
    }
    through_cat(100);
    coroutine::spawn_local(|| through_cat(101)).join().unwrap();
}

fn through_cat(n: u8) {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let writer =
        spawn(KINDS[usize::from(n % 2)], move || stdin.write_all(&vec![n; 300_000]).unwrap());
    let mut read = Vec::new();
    stdout.read_to_end(&mut read).unwrap();
    writer.join().unwrap();
    assert!(read.len() == 300_000 && read.iter().all(|byte| *byte == n));
    assert!(cat.wait().unwrap().success());
}

#[test]
fn a_conversation_goes_back_and_forth() {
    everywhere(|| {
        let mut cat =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        for n in 0..100_u32 {
            cat.stdin.as_mut().unwrap().write_all(&n.to_ne_bytes()).unwrap();
            let mut back = [0; 4];
            cat.stdout.as_mut().unwrap().read_exact(&mut back).unwrap();
            assert_eq!(u32::from_ne_bytes(back), n);
        }
        // Closes the input, or `cat` would go on.
        assert!(cat.wait().unwrap().success());
    });
}

#[test]
fn writing_to_a_child_that_has_closed_its_input_fails() {
    everywhere(|| {
        let mut child = sh("exec <&-; echo; exec sleep 600");
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        // A child that another test starts just now may hold a copy of the pipe, until it runs its
        // program.
        let mut stdin = child.stdin.take().unwrap();
        let error = loop {
            if let Err(error) = stdin.write_all(b"hello") {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

/// Asserts that calls on the child's descriptors 0 and 1 block, by the flags that the kernel shows
/// the child.
fn assert_blocking(fdinfo: &str) {
    let flags = fdinfo.lines().filter_map(|line| line.strip_prefix("flags:"));
    let flags: Vec<_> = flags.map(|flags| u32::from_str_radix(flags.trim(), 8).unwrap()).collect();
    assert_eq!(flags.len(), 2);
    assert!(flags.iter().all(|flags| flags & 0o4000 == 0), "{fdinfo}");
}

#[test]
fn the_ends_of_children_block_also_those_that_were_ours() {
    let script = "cat /proc/self/fdinfo/0 /proc/self/fdinfo/1";
    let mut first = sh(script);
    let first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    assert_blocking(&String::from_utf8(first.wait_with_output().unwrap().stdout).unwrap());

    let mut first = sh("exec sleep 600").stdout(Stdio::piped()).spawn().unwrap();
    let second = sh(script).stdin(first.stdout.take().unwrap()).output().unwrap();
    assert_blocking(&String::from_utf8(second.stdout).unwrap());
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn the_output_of_one_is_the_input_of_the_next() {
    let mut first = sh("printf 'b\\na\\n'").stdout(Stdio::piped()).spawn().unwrap();
    let sorted = Command::new("sort").stdin(first.stdout.take().unwrap()).output().unwrap();
    assert_eq!(sorted.stdout, b"a\nb\n");
    assert!(first.wait().unwrap().success());
}

#[test]
fn arguments_environment_and_directory_arrive() {
    let mut command = sh("echo $0 $A $B $C; pwd");
    command.arg("zero").env_clear().env("A", "1").envs([("B", "2"), ("C", "3")]);
    command.env_remove("C").env("PATH", "/usr/bin:/bin").current_dir("/");
    assert_eq!(command.as_std().get_program(), "sh");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "zero 1 2\n/\n");
    let named = Command::new("sh").arg0("other").args(["-c", "cat /proc/$$/cmdline"]).output();
    assert!(named.unwrap().stdout.starts_with(b"other\0"));
    let group = sh("cut -d' ' -f1,5 /proc/$$/stat").process_group(0).output().unwrap();
    let group = String::from_utf8(group.stdout).unwrap();
    let (pid, group) = group.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[test]
fn a_process_task_starts_programs() {
    let task = process::spawn(String::from("hello"), |text| {
        Command::new("echo")
            .arg(text)
            .output()
            .map(|output| output.stdout)
            .map_err(|e| e.to_string())
    });
    assert_eq!(task.join().unwrap().unwrap(), b"hello\n");
}
