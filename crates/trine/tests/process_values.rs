//! What crosses to a process and back: values, functions, and everything that can go wrong with them.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trine::task::CodecStage;
use trine::{Cause, process};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
    tags: BTreeMap<String, Option<f64>>,
}

fn order() -> Order {
    let tags = [("a".into(), Some(0.5)), ("b".into(), None)].into();
    Order { item: "pear".into(), count: 3, tags }
}

fn double(mut order: Order) -> Result<Order, String> {
    order.count *= 2;
    Ok(order)
}

#[test]
fn values_cross_both_ways() {
    let pool = process::Pool::new(1);
    let expected = Order { count: 6, ..order() };
    assert_eq!(process::spawn(order(), double).join().unwrap(), Ok(expected.clone()));
    assert_eq!(pool.spawn(order(), double).join().unwrap(), Ok(expected));
    assert_eq!(pool.spawn((), |()| ()).join().unwrap(), ());
    let bad: Result<u8, String> = pool.spawn("no".to_owned(), Err).join().unwrap();
    assert_eq!(bad, Err("no".into()));
    assert_eq!(pool.spawn((1_u8, 'x', -3_i128), |t| t).join().unwrap(), (1, 'x', -3));
    let text = "é".repeat(5000);
    assert_eq!(pool.spawn(text.clone(), |t: String| t).join().unwrap(), text);
}

#[test]
fn a_task_runs_in_another_process_and_says_so() {
    let task = process::spawn((), |()| std::process::id());
    assert_eq!(task.kind(), trine::Kind::Process);
    assert_ne!(task.join().unwrap(), std::process::id());
}
