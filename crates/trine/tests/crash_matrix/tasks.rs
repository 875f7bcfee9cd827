//! The failure happens within a task.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trine::process::Pool;
use trine::{Cause, CodecStage, TaskError, time};

use crate::failure::{Failure, Failure::OverwritesItsMemory, Fault, Limits, in_every_way};
use crate::pools::{
    are_unharmed, builder, is_at_full_strength, one_may_fail, others, those_ahead_may_fail,
};

/// Runs a task in which the failure happens, among others.
fn check<A, R>(fault: &Fault, place: &str, arg: A, function: fn(A) -> R)
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + std::fmt::Debug + 'static,
{
    let pool = builder(fault.failure).build();
    let mut before = others(&pool);
    if fault.failure == OverwritesItsMemory {
        // A result that nobody has taken yet is in that memory, too.
        are_unharmed(std::mem::take(&mut before), "before");
    }
    let task = if fault.failure.takes_time() {
        // Long enough that the worker begins the task, or else the folder has no process.
        let spawn = || Ok::<_, TaskError>(pool.spawn(arg, function));
        time::timeout(Duration::from_millis(700), spawn).unwrap().unwrap()
    } else {
        pool.spawn(arg, function)
    };
    let behind = others(&pool);
    fault.act();
    let end = task.join();
    fault.check_end(&end, place);
    if fault.failure == OverwritesItsMemory && end.is_ok() {
        // Its value came through the overwritten memory, so its worker lives on.
        one_may_fail(fault, behind, place);
    } else if fault.failure == OverwritesItsMemory {
        // The memory may say of the tasks that the worker was given ahead that it has begun them.
        those_ahead_may_fail(fault, behind, place);
    } else {
        let what = format!("{:?}, {place}", fault.failure);
        are_unharmed(before, &what);
        are_unharmed(behind, &what);
    }
    is_at_full_strength(pool);
}

#[test]
fn while_it_runs() {
    in_every_way(|fault, _| {
        check(&fault, "run", fault.clone(), |fault| fault.fail(Limits::OfThePool));
    });
}

/// Fails when it is decoded, in the worker.
#[derive(Serialize)]
struct FailsDecoded(Fault);

impl<'de> Deserialize<'de> for FailsDecoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FailsDecoded, D::Error> {
        let fault = Fault::deserialize(deserializer)?;
        fault.fail(Limits::OfThePool);
        Ok(FailsDecoded(fault))
    }
}

#[test]
fn while_its_argument_is_decoded() {
    in_every_way(|fault, _| {
        check(&fault, "argument decode", FailsDecoded(fault.clone()), |_| ());
    });
}

/// Fails when it is encoded, in the worker.
#[derive(Debug, Deserialize)]
struct FailsEncoded(Fault);

impl Serialize for FailsEncoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fail(Limits::OfThePool);
        self.0.serialize(serializer)
    }
}

#[test]
fn while_its_result_is_encoded() {
    in_every_way(|fault, _| check(&fault, "result encode", fault.clone(), FailsEncoded));
}

/// Fails when it is decoded, in the joiner.
#[derive(Debug, Serialize)]
struct Returned(Fault);

impl<'de> Deserialize<'de> for Returned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Returned, D::Error> {
        let fault = Fault::deserialize(deserializer)?;
        fault.fail(Limits::Own);
        Ok(Returned(fault))
    }
}

/// The joiner decodes a result in its own process. A failure that ends a process ends the joiner,
/// and a decoder that does not return blocks the joiner. Panics are the task's error.
#[test]
fn while_its_result_is_decoded() {
    in_every_way(|fault, _| {
        if fault.failure.is_panic() {
            check(&fault, "result decode", fault.clone(), Returned);
        }
    });
}

/// A decoder may also return an error.
#[test]
fn what_cannot_be_decoded_is_an_error_of_its_task() {
    let pool: Pool = builder(Failure::ExitZero).build();
    let end = pool.spawn(3_u8, |n| vec![n; 5]).join();
    assert_eq!(end.unwrap(), [3; 5]);
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(try_from = "u8")]
    struct Small(u8);
    impl TryFrom<u8> for Small {
        type Error = String;
        fn try_from(n: u8) -> Result<Small, String> {
            if n < 3 { Ok(Small(n)) } else { Err("too large".into()) }
        }
    }
    let error = pool.spawn((), |()| Small(7)).join().unwrap_err();
    let stage = CodecStage::DecodeResult;
    assert!(matches!(error.cause(), Cause::Codec { stage: at, .. } if *at == stage), "{error:?}");
    is_at_full_strength(pool);
}
