//! Wakers: only `task/wakers.rs` calls one, since a foreign waker may panic.

use std::path::Path;

use crate::sources::Sources;

/// The file whose functions survive a waker's panic.
const HOME: &str = "task/wakers.rs";

/// Ways to call a waker.
const CALLS: &[&str] = &[".wake()", ".wake_by_ref()", "Waker::wake"];

/// Receivers that are no wakers, though their methods have the same names: the implementation of a
/// waker, the state of a future task and the inbox of a carrier, which run no foreign code.
const NO_WAKERS: &[&str] = &["self", "state", "remote"];

/// The calls of wakers in other files than [`HOME`].
fn violations(sources: &Sources) -> Vec<String> {
    let mut wrong = Vec::new();
    for (_, source) in sources.iter().filter(|(_, source)| source.path != HOME) {
        for call in CALLS {
            let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let receivers = source.code.match_indices(call).map(|(at, _)| {
                let before = source.code[..at].trim_end();
                before.rsplit(|letter| !is_word(letter)).next().unwrap_or_default()
            });
            for receiver in receivers.filter(|receiver| !NO_WAKERS.contains(receiver)) {
                wrong.push(format!(
                    "{} calls a waker by `{receiver}{call}`: a foreign waker may panic, so use \
                     the functions of {HOME}, which `park` re-exports",
                    source.path
                ));
            }
        }
    }
    wrong
}

#[test]
fn only_the_functions_that_survive_a_panic_call_a_waker() {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.iter().any(|(_, source)| source.path == HOME), "{HOME} is not there");
    let wrong = violations(&sources);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_of_wakers_can_fail() {
    let count = |text: &str| {
        violations(&Sources::of([("sync/queue.rs".to_owned(), text.to_owned())])).len()
    };
    assert_eq!(count("fn f() { waker.wake(); }"), 1);
    assert_eq!(count("fn f() { self.waker.wake_by_ref(); }"), 1);
    assert_eq!(count("fn f() { wakers.into_iter().for_each(Waker::wake); }"), 1);
    assert_eq!(count("fn f() { waker\n    .wake() }"), 1);
    assert_eq!(count("fn f() { self.wake(); header.state.wake() } // waker.wake()"), 0);
    assert_eq!(count("mod a;\nmod tests { fn f() { waker.wake() } }"), 0);
}
