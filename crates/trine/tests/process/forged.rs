//! Variables, descriptors and handshakes that were not meant for this program. The program starts
//! normally, and reports them.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use trine::process;

use crate::common::{again, beside, child, children_of_all_threads, role, run, this_program};

/// Runs a program with a variable that was not meant for it. It works normally, and reports the
/// variable.
fn stale(
    variable: &str,
    prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) -> String {
    let mut command = again("normal");
    command.env("TRINE_TEMPLATE", variable);
    // SAFETY: `prepare` makes only calls that are allowed between fork and exec.
    unsafe { command.pre_exec(prepare) };
    let text = run(command);
    let lines: Vec<_> =
        text.lines().filter(|line| line.contains("ignoring a stale TRINE_TEMPLATE")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].ends_with("the program starts normally"), "{text}");
    lines[0].to_owned()
}

/// Makes `from` available as `to` in a child, which keeps it.
fn duplicate(from: i32, to: i32) -> std::io::Result<()> {
    // SAFETY: no memory involved. `dup2` to the same number would leave `FD_CLOEXEC` set.
    let done = unsafe {
        match from == to {
            true => libc::fcntl(from, libc::F_SETFD, 0),
            false => libc::dup2(from, to),
        }
    };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
fn a_forged_or_stale_variable_is_ignored_aloud() {
    if role().is_some() {
        assert!(std::env::var_os("TRINE_TEMPLATE").is_none(), "the variable is gone");
        // The descriptor, if there is one, is untouched: its byte can still be read.
        if let Ok(number) = std::env::var("TRINE_TEST_DESCRIPTOR") {
            let mut byte = [0_u8; 1];
            let number: i32 = number.parse().unwrap();
            // SAFETY: a valid buffer of one byte.
            assert_eq!(unsafe { libc::read(number, byte.as_mut_ptr().cast(), 1) }, 1);
            assert_eq!(byte, *b"!");
        }
        // Process tasks work as well.
        assert_eq!(process::spawn(1, |n: u8| n).join().unwrap(), 1);
        return;
    }
    let token = token_for_this_program();
    for garbage in ["", "nonsense", "3", "3:", "-1:0", "2:0123456789abcdef0123456789abcdef"] {
        assert!(stale(garbage, || Ok(())).contains("form"), "{garbage}");
    }
    // A closed descriptor.
    stale(&format!("77:{token}"), || Ok(()));

    // A pipe, on which a read would block forever.
    let (reader, _writer) = std::io::pipe().unwrap();
    let from = reader.as_raw_fd();
    stale(&format!("77:{token}"), move || duplicate(from, 77));

    // Sockets of other kinds.
    let (stream, _other) = UnixStream::pair().unwrap();
    let from = stream.as_raw_fd();
    stale(&format!("77:{token}"), move || duplicate(from, 77));
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    let from = datagram.as_raw_fd();
    stale(&format!("77:{token}"), move || duplicate(from, 77));

    // The right kind: empty, with an older message of another program, with a wrong token.
    let pair = packet_pair();
    let from = pair[0];
    let text = stale(&format!("77:{token}"), move || duplicate(from, 77));
    assert!(text.contains("no handshake waits"), "{text}");
    for message in [&b"!"[..], &[b'!'; 100], &[1; 24]] {
        let pair = packet_pair();
        // SAFETY: a valid buffer.
        let sent = unsafe { libc::send(pair[1], message.as_ptr().cast(), message.len(), 0) };
        assert_eq!(sent, message.len() as isize);
        let from = pair[0];
        stale(&format!("77:{token}"), move || duplicate(from, 77));
    }
}

/// Encodes a handshake as a master does, with a wrong fingerprint of the program.
fn handshake(token: u128) -> Vec<u8> {
    postcard::to_stdvec(&(token, 0_u64, std::process::id())).unwrap()
}

#[test]
fn a_process_that_was_started_as_a_template_never_runs_main() {
    assert!(role().is_none(), "main runs a second time");
    let token = token_for_this_program();
    let number = u128::from_str_radix(token.split(':').next().unwrap(), 16).unwrap();
    let send = |bytes: &[u8], close: bool| {
        let pair = packet_pair();
        // SAFETY: a valid buffer; a closed second end is not used again.
        unsafe {
            assert!(libc::send(pair[1], bytes.as_ptr().cast(), bytes.len(), 0) > 0);
            if close {
                libc::close(pair[1]);
            }
        }
        pair[0]
    };
    let started = |through: Option<&str>, from: i32| {
        let mut command = again("main");
        if let Some(script) = through {
            let direct = command;
            command = Command::new("sh");
            command.args(["-c", script]).arg(this_program()).args(direct.get_args());
            command.env("TRINE_TEST_ROLE", "main").stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        command.env("TRINE_TEMPLATE", format!("77:{token}"));
        // SAFETY: dup2 may be called between fork and exec.
        unsafe { command.pre_exec(move || duplicate(from, 77)) };
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // By a master of another build.
    let (code, text) = started(None, send(&handshake(number), false));
    assert!(code == Some(1) && text.contains("another build"), "{code:?} {text}");
    // By a process that is not its parent: a shell is between them.
    let (code, text) = started(Some(r#""$0" "$@"; exit $?"#), send(&handshake(number), false));
    assert!(code == Some(1) && text.contains("not of this process's parent"), "{code:?} {text}");
    // By a master that has died since: it ends without output.
    let (code, text) = started(Some(r#""$0" "$@"; exit $?"#), send(&handshake(number), true));
    assert_eq!((code, &*text), (Some(0), ""));
}

#[test]
fn a_descriptor_that_was_not_meant_for_it_is_left_alone() {
    let pair = packet_pair();
    // SAFETY: a valid buffer.
    assert_eq!(unsafe { libc::send(pair[1], b"!".as_ptr().cast(), 1, 0) }, 1);
    let from = pair[0];
    let name = beside("a_forged_or_stale_variable_is_ignored_aloud");
    let mut command = child(&this_program(), &name, "normal");
    command.env("TRINE_TEMPLATE", format!("77:{}", token_for_this_program()));
    command.env("TRINE_TEST_DESCRIPTOR", "77");
    // SAFETY: dup2 may be called between fork and exec.
    unsafe { command.pre_exec(move || duplicate(from, 77)) };
    run(command);
}

/// Returns the second and third part of a variable that this program would accept: a meaningless
/// token, and the entry's offset, as a template gets it.
fn token_for_this_program() -> String {
    process::spawn((), |()| ()).join().unwrap();
    // The kernel's list of children may lack some while others end, so it is read again.
    let variable = loop {
        let variable = children_of_all_threads(std::process::id()).into_iter().find_map(|pid| {
            // Not a child of another test with a forged variable.
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let environment = fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
            let mut variables = environment.split('\0');
            let variable = variables.find_map(|v| v.strip_prefix("TRINE_TEMPLATE="))?;
            (comm.trim() == "trine-template").then(|| variable.to_owned())
        });
        if let Some(variable) = variable {
            break variable;
        }
    };
    let (_, entry) = variable.rsplit_once(':').unwrap();
    format!("0123456789abcdef0123456789abcdef:{entry}")
}

fn packet_pair() -> [i32; 2] {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) }, 0);
    pair
}
