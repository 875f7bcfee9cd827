//! Destructors that panic in the middle of a `select!`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use trine::Task;
use trine::sync::channel::{self, __select, Receiver, Sender, TrySendError};
use trine::sync::select;

use crate::common::places::spawn_nth;
use crate::common::waiting::until_waiting;

/// Panics when it is dropped, if that is so wished.
#[derive(Debug, PartialEq)]
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if std::mem::take(&mut self.0) {
            panic!("as expected");
        }
    }
}

fn is_expected_panic(result: std::thread::Result<()>) {
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"as expected"));
}

#[test]
fn a_message_that_was_received_beside_a_value_that_panics_is_put_back() {
    let (sender, receiver) = channel::bounded(1);
    let (full, _keep) = channel::rendezvous();
    sender.send(7).unwrap();
    is_expected_panic(catch_unwind(AssertUnwindSafe(|| {
        select! {
            recv(receiver) -> _ => unreachable!(),
            send(full, Bomb(true)) -> _ => unreachable!(),
        }
    })));
    assert_eq!(receiver.try_recv(), Ok(7));
}

/// Waits at both receivers. The arm of `first` still has the outcome of an earlier choice, whose
/// destructor panics at the end of the wait. The macro makes no such arm.
fn wait_with_an_old_outcome(
    nth: usize,
    first: &Receiver<Bomb>,
    second: &Receiver<Bomb>,
    to_first: &Sender<Bomb>,
) -> Task<()> {
    let (first, second) = (first.clone(), second.clone());
    to_first.send(Bomb(true)).unwrap();
    spawn_nth(nth, move || {
        is_expected_panic(catch_unwind(AssertUnwindSafe(|| {
            let (mut arm, mut other) = (__select::recv(&first), __select::recv(&second));
            __select::choose([&mut arm], true);
            __select::choose([&mut arm, &mut other], true);
        })));
    })
}

#[test]
fn all_arms_have_left_their_channels_before_a_destructor_runs() {
    for nth in 0..2 {
        let (one, two) = (channel::bounded::<Bomb>(1), channel::bounded::<Bomb>(1));
        // The arm of the channel with the lower address is the first to be withdrawn.
        for ((to_first, first), (to_second, second)) in [(&one, &two), (&two, &one)] {
            let task = wait_with_an_old_outcome(nth, first, second, to_first);
            until_waiting(&task);
            to_first.send(Bomb(false)).unwrap();
            task.join().unwrap();
            // A waiter that was left behind would take this.
            to_second.send(Bomb(false)).unwrap();
            assert_eq!(to_second.try_send(Bomb(false)), Err(TrySendError::Full(Bomb(false))));
            assert_eq!(second.try_recv(), Ok(Bomb(false)));
            let _ = first.try_recv();
        }
    }
}
