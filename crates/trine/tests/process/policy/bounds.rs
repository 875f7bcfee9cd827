//! The bound of a pool's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use trine::process::{Pool, PoolStats};
use trine::{Cause, Executor, coroutine, time};

use super::SHORT;
use crate::common::processes::die;
use crate::common::reports::{Reports, wait_for_release};
use crate::common::waiting::until_waiting;

#[test]
fn the_bound_holds_whoever_spawns() {
    let pool = Pool::builder().workers(2).queue(3).build();
    let ended = AtomicBool::new(false);
    let bounded = |stats: PoolStats| assert!(stats.running + stats.queued <= 5, "{stats:?}");
    std::thread::scope(|scope| {
        let spawners: Vec<_> = (0..8_u64)
            .map(|spawner| {
                let pool = &pool;
                scope.spawn(move || {
                    let numbers = (0..100).map(|n| 100 * spawner + n);
                    let tasks: Vec<_> = numbers
                        .map(|n| {
                            let crashes = n % 50 == 3;
                            let task = pool.spawn((n, crashes), |(n, crashes)| {
                                if crashes {
                                    die();
                                }
                                n
                            });
                            bounded(pool.stats());
                            (n, crashes, task)
                        })
                        .collect();
                    for (n, crashes, task) in tasks {
                        match task.join() {
                            Ok(value) => assert!(value == n && !crashes),
                            Err(error) => assert!(error.is_crash() && crashes, "{error}"),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                bounded(pool.stats());
            }
        });
        for spawner in spawners {
            spawner.join().unwrap();
        }
        ended.store(true, Relaxed);
    });
    assert_eq!((pool.stats().completed, pool.stats().crashed), (784, 16));
}

#[test]
fn a_full_queue_refuses_or_waits_and_a_cancelled_spawner_leaves_nothing_behind() {
    let reports = Reports::open();
    let pool = Arc::new(Pool::builder().workers(1).queue(1).build());
    let at_work = pool.spawn(reports.path.clone(), wait_for_release);
    let (_, stream) = reports.accept();
    let queued = pool.spawn(1, |n: u8| n);
    assert_eq!(pool.try_spawn("back".to_owned(), |text| text).unwrap_err().0, "back");
    assert_eq!(pool.stats().queued, 1);
    let spawner = Arc::clone(&pool);
    let waits = coroutine::spawn(move || drop(spawner.spawn(2, |n: u8| n)));
    until_waiting(&waits);
    waits.cancel();
    assert!(waits.join().unwrap_err().is_cancelled());
    assert!(time::timeout(SHORT, || pool.spawn(3, |n: u8| n)).is_err());
    // A task that ends in the queue makes room.
    queued.cancel();
    pool.spawn(4, |n: u8| n).cancel();
    let next = pool.try_spawn(5, |n: u8| n).unwrap();
    drop(stream);
    assert!(at_work.join().is_ok());
    assert_eq!(next.join().unwrap(), 5);
    // An argument that cannot be encoded takes no room.
    for _ in 0..5 {
        let task = pool.spawn(Unfit, |_| ());
        assert!(matches!(task.join().unwrap_err().cause(), Cause::Codec { .. }));
    }
    let two: Vec<_> = (0..2_u8).map(|n| pool.try_spawn(n, |n| n).unwrap()).collect();
    assert!(two.into_iter().all(|task| task.join().is_ok()));
    assert_eq!(pool.stats().cancelled, 2);
    assert_eq!(pool.map(0..100_u64, |n| n).map(Result::unwrap).sum::<u64>(), 4950);
}

struct Unfit;

impl serde::Serialize for Unfit {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("unfit"))
    }
}

impl<'de> serde::Deserialize<'de> for Unfit {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unfit, D::Error> {
        Ok(Unfit)
    }
}
