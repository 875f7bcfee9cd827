//! Values and functions cross to a process and back, and everything that can fail on the way.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trine::task::CodecStage;
use trine::{Cause, Executor, Task, TaskError, coroutine, ipc, process, time};

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
    pool.spawn((), |()| ()).join().unwrap();
    let bad: Result<u8, String> = pool.spawn("no".to_owned(), Err).join().unwrap();
    assert_eq!(bad, Err("no".into()));
    assert_eq!(pool.spawn((1_u8, 'x', -3_i128), |t| t).join().unwrap(), (1, 'x', -3));
    let text = "é".repeat(5000);
    assert_eq!(pool.spawn(text.clone(), |t: String| t).join().unwrap(), text);
}

#[test]
fn functions_cross_whatever_they_are() {
    trait Count {
        fn count_ones_of(self) -> u64;
    }
    impl Count for u64 {
        fn count_ones_of(self) -> u64 {
            self.count_ones().into()
        }
    }
    trait Half {
        fn half(self) -> Self;
    }
    impl Half for u32 {
        fn half(self) -> u32 {
            self / 2
        }
    }
    fn generic<T: Half>(value: T) -> T {
        value.half()
    }
    let pool = process::Pool::new(1);
    assert_eq!(pool.spawn(8, generic::<u32>).join().unwrap(), 4);
    assert_eq!(pool.spawn(8, <u32 as Half>::half).join().unwrap(), 4);
    assert_eq!(pool.spawn(-3, i32::abs).join().unwrap(), 3);
    assert_eq!(pool.spawn(7, Some::<u8>).join().unwrap(), Some(7));
    let closure = |n: u64| n + 1;
    assert_eq!(pool.spawn(pool.spawn(1, closure).join().unwrap(), closure).join().unwrap(), 3);
    // Pointers, too: each process of this program has the code.
    let table: [fn(u64) -> u64; 3] = [closure, |n| n * 3, u64::count_ones_of];
    let results = table.map(|function| pool.spawn(6, function).join().unwrap());
    assert_eq!(results, [7, 18, 2]);
}

#[test]
fn code_of_a_shared_library_is_an_error_that_says_so() {
    // SAFETY: only its address is used: it is never called.
    let foreign: fn(u32) -> u32 = unsafe { std::mem::transmute(libc::getpid as *const ()) };
    let pool = process::Pool::builder().workers(1).build();
    let mut errors = vec![pool.spawn(1, foreign).join(), process::spawn(1, foreign).join()];
    errors.extend(pool.map(0..3, foreign).chunk(3));
    assert_eq!(errors.len(), 5);
    for error in errors {
        let text = error.unwrap_err().to_string();
        assert!(text.contains("not a part of this program"), "{text}");
    }
    assert_eq!(pool.spawn(1, |n: u32| n + 1).join().unwrap(), 2);
}

#[test]
fn a_task_runs_in_another_process_under_its_own_name() {
    let task = process::Builder::new().name("who").spawn((), |()| {
        let task = trine::task::current().expect("a task knows that it is one");
        let shown = task.to_string();
        (std::process::id(), task.id.get(), task.name.map(|name| name.to_string()), shown)
    });
    assert_eq!(task.kind(), trine::Kind::Process);
    let (id, shown) = (task.id().get(), task.info().to_string());
    let (pid, id_there, name, shown_there) = task.join().unwrap();
    assert_ne!(pid, std::process::id());
    assert_eq!((id_there, name.as_deref()), (id, Some("who")));
    assert_eq!(shown_there, shown, "the place of the spawn crosses as well");
}

/// Set before `main`, as registration crates and C++ libraries do.
static INITIALISED: AtomicU32 = AtomicU32::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static INITIALISER: extern "C" fn() = {
    extern "C" fn initialise() {
        INITIALISED.fetch_add(17, Relaxed);
    }
    initialise
};

#[test]
fn what_runs_before_main_has_run_in_workers_once() {
    assert_eq!(INITIALISED.load(Relaxed), 17);
    assert_eq!(process::spawn((), |()| INITIALISED.load(Relaxed)).join().unwrap(), 17);
}

#[test]
fn a_builder_changes_environment_and_directory_of_its_process_only() {
    type Seen = (Option<String>, std::path::PathBuf);
    let look = |()| -> Seen {
        (std::env::var("TRINE_TEST_COLOUR").ok(), std::env::current_dir().unwrap())
    };
    let here = std::env::current_dir().unwrap();
    let changed =
        process::Builder::new().env("TRINE_TEST_COLOUR", "blue").current_dir("/").spawn((), look);
    assert_eq!(changed.join().unwrap(), (Some("blue".into()), "/".into()));
    assert_eq!(process::spawn((), look).join().unwrap(), (None, here));

    let error = process::Builder::new().current_dir("/nowhere/at/all").spawn((), look).join();
    let error = error.unwrap_err();
    assert!(error.is_not_spawned() && error.to_string().contains("/nowhere/at/all"), "{error}");
    let error = process::Builder::new().env("a=b", "").spawn((), look).join().unwrap_err();
    assert!(error.is_not_spawned() && error.to_string().contains("a=b"), "{error}");
}

/// Panics or fails in one of the four places where the user's code encodes or decodes.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Touchy(u8);

const WELL: u8 = 0;
const NO_ENCODE: u8 = 1;
const PANIC_ENCODE: u8 = 2;
const NO_DECODE: u8 = 3;
const PANIC_DECODE: u8 = 4;

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            NO_ENCODE => Err(S::Error::custom("cannot be encoded")),
            PANIC_ENCODE => panic!("encoding panics"),
            other => serializer.serialize_u8(other),
        }
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Touchy, D::Error> {
        match u8::deserialize(deserializer)? {
            NO_DECODE => Err(D::Error::custom("cannot be decoded")),
            PANIC_DECODE => panic!("decoding panics"),
            other => Ok(Touchy(other)),
        }
    }
}

fn stage(error: &TaskError) -> CodecStage {
    match error.cause() {
        Cause::Codec { stage, .. } => *stage,
        other => panic!("{other:?}"),
    }
}

fn panicked(error: &TaskError, with: &str) {
    let Cause::Panicked { message, location: Some(location), .. } = error.cause() else {
        panic!("{error:?}");
    };
    assert_eq!(message, with);
    assert!(location.file.ends_with("values.rs"), "{location}");
}

#[test]
fn every_failure_of_a_codec_is_an_ordinary_error() {
    let pool = process::Pool::new(1);
    let argument =
        |what: u8| -> TaskError { pool.spawn(Touchy(what), |touchy| touchy.0).join().unwrap_err() };
    let result = |what: u8| -> TaskError { pool.spawn(what, Touchy).join().unwrap_err() };
    assert_eq!(stage(&argument(NO_ENCODE)), CodecStage::EncodeArgument);
    assert_eq!(stage(&argument(NO_DECODE)), CodecStage::DecodeArgument);
    assert_eq!(stage(&result(NO_ENCODE)), CodecStage::EncodeResult);
    assert_eq!(stage(&result(NO_DECODE)), CodecStage::DecodeResult);
    panicked(&argument(PANIC_ENCODE), "encoding panics");
    panicked(&argument(PANIC_DECODE), "decoding panics");
    panicked(&result(PANIC_ENCODE), "encoding panics");
    panicked(&result(PANIC_DECODE), "decoding panics");
    // None of it has harmed the worker.
    assert_eq!(pool.worker_pids().len(), 1);
    assert_eq!(pool.spawn(Touchy(WELL), |touchy| touchy).join().unwrap(), Touchy(WELL));
}

/// Waits before it encodes or decodes its value.
struct Waits<T>(T);

impl<T: Serialize> Serialize for Waits<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        time::sleep(Duration::from_micros(1));
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Waits<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Waits<T>, D::Error> {
        time::sleep(Duration::from_micros(1));
        T::deserialize(deserializer).map(Waits)
    }
}

#[test]
fn a_codec_may_wait_before_a_value_with_a_descriptor() {
    let crosses = || {
        let (sender, receiver) = ipc::channel(1).unwrap();
        let task = process::spawn(Waits(sender), |sender| sender);
        let Waits(back) = task.join().unwrap();
        back.send(7).unwrap();
        assert_eq!(receiver.recv().unwrap(), 7);
    };
    // Several coroutines of one thread have their codecs at work at the same time.
    let several = move || {
        let all = [(); 3].map(|()| coroutine::spawn_local(crosses));
        all.into_iter().for_each(|task| task.join().unwrap());
    };
    several();
    coroutine::spawn(crosses).join().unwrap();
    std::thread::spawn(crosses).join().unwrap();
}

#[test]
fn types_that_need_a_self_describing_format_are_told_apart() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u32),
        Text(String),
    }
    let task: Task<String> = process::spawn(Either::Number(1), |either| format!("{either:?}"));
    assert_eq!(stage(&task.join().unwrap_err()), CodecStage::DecodeArgument);
    let _ = Either::Text(String::new());
}

#[test]
fn fifty_megabytes_cross_both_ways() {
    let text = "0123456789abcdef".repeat(50 * 1024 * 1024 / 16);
    let pool = process::Pool::new(2);
    let tasks: Vec<_> = (0..2).map(|_| pool.spawn(text.clone(), |text: String| text)).collect();
    for task in tasks {
        assert!(task.join().unwrap() == text);
    }
}

#[test]
fn why_a_value_does_not_cross_is_told() {
    use std::os::unix::ffi::OsStringExt;
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(vec![b'a', 0xff]));
    let text = |error: TaskError| error.to_string();
    let argument = text(process::spawn(path, |_| ()).join().unwrap_err());
    let says = "its argument could not be encoded: path contains invalid UTF-8 characters";
    assert!(argument.ends_with(says), "{argument}");
    let result = text(process::spawn((), |()| std::path::PathBuf::from(odd())).join().unwrap_err());
    assert!(result.ends_with("path contains invalid UTF-8 characters"), "{result}");

    /// Accepts fewer values than it encodes.
    #[derive(Serialize)]
    struct Even(u32);
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Even, D::Error> {
            let n = u32::deserialize(deserializer)?;
            let odd = || serde::de::Error::custom(format!("{n} is odd"));
            if n % 2 == 0 { Ok(Even(n)) } else { Err(odd()) }
        }
    }
    let argument = text(process::spawn(Even(7), |_| ()).join().unwrap_err());
    assert!(argument.ends_with("could not be decoded by the worker: 7 is odd"), "{argument}");
}

fn odd() -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(vec![0xff])
}
