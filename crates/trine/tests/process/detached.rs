//! Tasks that a process task has detached: they end with the process that has spawned them.

use trine::ipc::channel::{Receiver, Sender};
use trine::process::Pool;
use trine::{Executor, Kind, ipc, process};

use crate::common::processes::stay_for_ever;

type Ends = (usize, Sender<u32>, Receiver<u32>);

/// Sends what it receives, and never ends.
fn answer((sender, receiver, begun): (Sender<u32>, Receiver<u32>, Sender<()>)) {
    begun.send(()).unwrap();
    while let Ok(number) = receiver.recv() {
        sender.send(number).unwrap();
    }
    stay_for_ever();
}

/// Detaches a task of a kind and returns once it has begun.
fn detach((kind, sender, receiver): Ends) {
    let (begun, has_begun) = ipc::channel::<()>(1).unwrap();
    drop(Kind::ALL[kind].spawn((sender, receiver, begun), answer));
    has_begun.recv().unwrap();
}

#[test]
fn what_a_process_task_has_detached_ends_with_its_process() {
    for kind in 0..Kind::ALL.len() {
        let (sender, answers) = ipc::channel(1).unwrap();
        let (_order, receiver) = ipc::channel(1).unwrap();
        process::spawn((kind, sender, receiver), detach).join().unwrap();
        // The last sender was that of the detached task.
        assert!(answers.recv().unwrap_err().is_disconnected(), "{:?}", Kind::ALL[kind]);
    }
}

#[test]
fn what_a_pool_s_task_has_detached_runs_on_with_its_worker() {
    for kind in 0..Kind::ALL.len() {
        let pool = Pool::builder().workers(1).build();
        let (sender, answers) = ipc::channel(1).unwrap();
        let (order, receiver) = ipc::channel(1).unwrap();
        pool.spawn((kind, sender, receiver), detach).join().unwrap();
        order.send(7).unwrap();
        assert_eq!(answers.recv(), Ok(7), "{:?}", Kind::ALL[kind]);
        pool.shutdown();
        assert!(answers.recv().unwrap_err().is_disconnected(), "{:?}", Kind::ALL[kind]);
    }
}
