//! The auto traits of public types. Each is stated here, so that no type has one, or lacks one, by
//! accident.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use trine::sync::channel;
use trine::{
    Canceller, Cause, Indexed, Interrupted, Kind, Map, Scope, ScopedMap, ScopedTask,
    ScopedUnordered, Supervised, Task, TaskError, TaskInfo, Unordered, coroutine, fs, future, ipc,
    net, process, signal, sync, thread, time,
};

/// Returns true if a type has a trait: then an inherent constant hides that of `Lacks`.
macro_rules! has {
    ($type:ty, $auto:path) => {{
        struct Probe<T: ?Sized>(PhantomData<T>);
        #[allow(dead_code, reason = "unused where the type has the trait")]
        trait Lacks {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Lacks for Probe<T> {}
        #[allow(dead_code, reason = "unused where the type lacks the trait")]
        impl<T: ?Sized + $auto> Probe<T> {
            const HAS: bool = true;
        }
        <Probe<$type>>::HAS
    }};
}

/// Checks the traits of types, each with a letter or a dash: `S`end, s`Y`nc, unwind `U`, unwind by
/// `R`eference, un`P`in.
macro_rules! check {
    ($($type:ty, $expected:literal;)*) => {{
        let mut wrong = Vec::new();
        $({
            let traits = [
                ('S', has!($type, Send)),
                ('Y', has!($type, Sync)),
                ('U', has!($type, UnwindSafe)),
                ('R', has!($type, RefUnwindSafe)),
                ('P', has!($type, Unpin)),
            ];
            let found: String =
                traits.iter().map(|(letter, has)| if *has { *letter } else { '-' }).collect();
            if found != $expected {
                wrong.push(format!("{}\t{found}", stringify!($type)));
            }
        })*
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }};
}

#[test]
fn the_auto_traits_of_tasks() {
    check! {
        Task<u32>, "SYURP";
        Task<Rc<u32>>, "SYURP";
        Canceller, "SYURP";
        coroutine::LocalTask<u32>, "--URP";
        ScopedTask<'static, u32>, "SY-RP";
        ScopedTask<'static, Rc<u32>>, "---RP";
        Scope<'static, 'static>, "SY-RP";
        Supervised<u32>, "SYURP";
        Supervised<Rc<u32>>, "--URP";
        TaskError, "SYURP";
        TaskInfo, "SYURP";
        Interrupted, "SYURP";
        Cause, "SYURP";
        process::Pool, "SYURP";
        thread::Pool, "SYURP";
        process::PoolBuilder, "SYURP";
        Map<'static, Kind, Vec<u32>, fn(u32) -> u32, u32>, "SYURP";
        Unordered<'static, Kind, Vec<u32>, fn(u32) -> u32, u32>, "SYURP";
        Indexed<'static, Kind, Vec<u32>, fn(u32) -> u32, u32>, "SYURP";
        ScopedMap<'static, std::vec::IntoIter<u32>, fn(u32) -> u32, u32>, "SY-RP";
        ScopedUnordered<'static, std::vec::IntoIter<u32>, fn(u32) -> u32, u32>, "SY-RP";
    }
}

/// Checks that each type of std and its counterpart here may be used across a caught panic alike.
macro_rules! check_as_std {
    ($($std:ty => $own:ty;)*) => {{
        let mut wrong = Vec::new();
        $(
            let std = (has!($std, UnwindSafe), has!($std, RefUnwindSafe));
            let own = (has!($own, UnwindSafe), has!($own, RefUnwindSafe));
            if (std.0 && !own.0) || (std.1 && !own.1) {
                wrong.push(format!("{} has {std:?}, ours {own:?}", stringify!($std)));
            }
        )*
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }};
}

#[test]
fn a_type_may_be_used_across_a_caught_panic_where_its_counterpart_in_std_may() {
    check_as_std! {
        std::sync::Mutex<Cell<u32>> => sync::Mutex<Cell<u32>>;
        std::sync::Mutex<&'static mut u32> => sync::Mutex<&'static mut u32>;
        std::sync::MutexGuard<'static, Cell<u32>> => sync::MutexGuard<'static, Cell<u32>>;
        std::sync::RwLock<Cell<u32>> => sync::RwLock<Cell<u32>>;
        std::sync::RwLockReadGuard<'static, u32> => sync::RwLockReadGuard<'static, u32>;
        std::sync::RwLockWriteGuard<'static, u32> => sync::RwLockWriteGuard<'static, u32>;
        std::sync::Condvar => sync::Condvar;
        std::sync::Barrier => sync::Barrier;
        std::sync::BarrierWaitResult => sync::BarrierWaitResult;
        std::sync::Once => sync::Once;
        std::sync::OnceLock<u32> => sync::OnceLock<u32>;
        std::sync::OnceLock<Cell<u32>> => sync::OnceLock<Cell<u32>>;
        std::sync::LazyLock<u32> => sync::LazyLock<u32>;
        std::sync::mpsc::Sender<Cell<u32>> => channel::Sender<Cell<u32>>;
        std::sync::mpsc::Receiver<Cell<u32>> => channel::Receiver<Cell<u32>>;
        std::sync::mpsc::IntoIter<Cell<u32>> => channel::IntoIter<Cell<u32>>;
        std::thread::JoinHandle<Rc<u32>> => Task<Rc<u32>>;
        std::thread::JoinHandle<Rc<u32>> => coroutine::LocalTask<Rc<u32>>;
        std::thread::Builder => thread::Builder;
        std::thread::Scope<'static, 'static> => Scope<'static, 'static>;
        std::thread::ScopedJoinHandle<'static, u32> => ScopedTask<'static, u32>;
        std::thread::LocalKey<Cell<u32>> => coroutine::Local<Cell<u32>>;
        std::net::TcpStream => net::TcpStream;
        std::net::TcpListener => net::TcpListener;
        std::net::Incoming<'static> => net::Incoming<'static>;
        std::net::UdpSocket => net::UdpSocket;
        std::os::unix::net::UnixStream => net::UnixStream;
        std::os::unix::net::UnixListener => net::UnixListener;
        std::os::unix::net::UnixDatagram => net::UnixDatagram;
        std::fs::File => fs::File;
        std::fs::OpenOptions => fs::OpenOptions;
        std::fs::ReadDir => fs::ReadDir;
        std::fs::DirEntry => fs::DirEntry;
        std::process::Child => process::Child;
        std::process::Command => process::Command;
        std::process::ChildStdin => process::ChildStdin;
        std::process::ChildStdout => process::ChildStdout;
        std::process::ChildStderr => process::ChildStderr;
        std::io::PipeReader => ipc::PipeReader;
        std::io::PipeWriter => ipc::PipeWriter;
    }
}

#[test]
fn the_auto_traits_of_coroutines_and_futures() {
    check! {
        coroutine::Generator<u32, u32, u32>, "--URP";
        coroutine::Yielder<u32, u32>, "S-U-P";
        coroutine::Local<u32>, "SYURP";
        coroutine::Local<Rc<u32>>, "SYURP";
        coroutine::Hogs, "SYURP";
        coroutine::Builder, "SYURP";
        future::Sleep, "SYURP";
        future::Builder, "SYURP";
        time::Interval, "SYURP";
    }
}

#[test]
fn the_auto_traits_of_locks() {
    check! {
        sync::Mutex<u32>, "SYURP";
        sync::Mutex<Cell<u32>>, "SYURP";
        sync::Mutex<Rc<u32>>, "--URP";
        sync::Mutex<&'static mut u32>, "SYURP";
        sync::MutexGuard<'static, u32>, "-YURP";
        sync::MutexGuard<'static, Cell<u32>>, "--URP";
        sync::MappedMutexGuard<'static, u32>, "-Y-RP";
        sync::MappedMutexGuard<'static, Cell<u32>>, "----P";
        sync::RwLock<u32>, "SYURP";
        sync::RwLock<Cell<u32>>, "S-URP";
        sync::RwLock<Rc<u32>>, "--URP";
        sync::RwLock<&'static mut u32>, "SYURP";
        sync::RwLockReadGuard<'static, u32>, "-YURP";
        sync::RwLockReadGuard<'static, Cell<u32>>, "--URP";
        sync::RwLockWriteGuard<'static, u32>, "-YURP";
        sync::RwLockWriteGuard<'static, Cell<u32>>, "--URP";
        sync::MappedRwLockReadGuard<'static, u32>, "-YURP";
        sync::MappedRwLockReadGuard<'static, Cell<u32>>, "----P";
        sync::MappedRwLockWriteGuard<'static, u32>, "-Y-RP";
        sync::MappedRwLockWriteGuard<'static, Cell<u32>>, "----P";
        sync::OnceLock<u32>, "SYURP";
        sync::OnceLock<Cell<u32>>, "S-U-P";
        sync::LazyLock<u32>, "SYURP";
        sync::LazyLock<Cell<u32>>, "S-U-P";
        sync::Once, "SYURP";
        sync::Condvar, "SYURP";
        sync::Semaphore, "SYURP";
        sync::SemaphorePermit<'static>, "SYURP";
        sync::OwnedSemaphorePermit, "SYURP";
        sync::AcquireError, "SYURP";
        sync::Barrier, "SYURP";
        sync::BarrierWaitResult, "SYURP";
        sync::Event, "SYURP";
        sync::Notify, "SYURP";
        sync::Once, "SYURP";
        sync::OnceLock<u32>, "SYURP";
        sync::OnceLock<Cell<u32>>, "S-U-P";
        sync::OnceLock<Rc<u32>>, "--URP";
        sync::LazyLock<u32>, "SYURP";
        sync::LazyLock<Cell<u32>>, "S-U-P";
        sync::LazyLock<Rc<u32>>, "--URP";
        sync::LazyLock<u32, Cell<fn() -> u32>>, "SYU-P";
    }
}

#[test]
fn the_auto_traits_of_channels() {
    check! {
        channel::Sender<u32>, "SYURP";
        channel::Sender<Cell<u32>>, "SYURP";
        channel::Sender<Rc<u32>>, "--URP";
        channel::Receiver<u32>, "SYURP";
        channel::Receiver<Cell<u32>>, "SYURP";
        channel::Receiver<Rc<u32>>, "--URP";
        channel::Iter<'static, Cell<u32>>, "SYURP";
        channel::TryIter<'static, Cell<u32>>, "SYURP";
        channel::IntoIter<Cell<u32>>, "SYURP";
        channel::IntoIter<Rc<u32>>, "--URP";
        channel::SendFuture<'static, Cell<u32>>, "SY---";
        channel::SendFuture<'static, Rc<u32>>, "-----";
        channel::RecvFuture<'static, Cell<u32>>, "SY---";
        channel::RecvFuture<'static, Rc<u32>>, "-----";
    }
}

#[test]
fn the_auto_traits_of_ipc() {
    check! {
        ipc::Sender<u32>, "SYURP";
        ipc::Sender<Rc<u32>>, "SYURP";
        ipc::Receiver<u32>, "SYURP";
        ipc::Receiver<Rc<u32>>, "SYURP";
        ipc::channel::Iter<'static, u32>, "SYURP";
        ipc::Mutex<u32>, "SYURP";
        ipc::MutexGuard<'static, u32>, "-YURP";
        ipc::OwnerDied<'static, u32>, "-YURP";
        ipc::Semaphore, "SYURP";
        ipc::SemaphorePermit<'static>, "SYURP";
        ipc::Shared<u32>, "SYURP";
        ipc::SharedMut<u32>, "SYURP";
        ipc::Fifo, "SYURP";
        ipc::MessageQueue, "SYURP";
        ipc::PipeReader, "SYURP";
        ipc::PipeWriter, "SYURP";
    }
}

#[test]
fn the_auto_traits_of_descriptors_and_processes() {
    check! {
        net::TcpStream, "SYURP";
        net::TcpListener, "SYURP";
        net::Incoming<'static>, "SYURP";
        net::UdpSocket, "SYURP";
        net::UnixStream, "SYURP";
        net::UnixListener, "SYURP";
        net::UnixDatagram, "SYURP";
        net::Readiness<std::fs::File>, "SYURP";
        fs::File, "SYURP";
        fs::ReadDir, "SYURP";
        fs::DirEntry, "SYURP";
        signal::Signals, "SYURP";
        signal::Iter<'static>, "SYURP";
        process::Child, "SYURP";
        process::Command, "SY--P";
        process::Process, "SYURP";
        process::ChildStdin, "SYURP";
        process::ChildStdout, "SYURP";
        process::ChildStderr, "SYURP";
        process::Fork, "SYURP";
    }
}

/// Imports each module as a whole. A type with the name of a trait of the prelude would hide it.
mod globs {
    #![allow(unused_imports, reason = "the names of the prelude are used, and no others")]

    macro_rules! uses_the_prelude_beside {
        ($($name:ident: $($module:tt)::+;)*) => {
            $(
                mod $name {
                    use $($module)::+::*;

                    pub fn same<T: Send + Sync + Sized + Clone + Unpin>(value: &T) -> Option<T>
                    where
                        Vec<T>: IntoIterator<Item = T>,
                    {
                        let same: Result<Vec<T>, String> = Ok(Vec::from([value.clone()]));
                        same.ok().and_then(|all| all.into_iter().next())
                    }
                }
                pub use $name::same as $name;
            )*
        };
    }

    uses_the_prelude_beside! {
        all: trine;
        coroutine: trine::coroutine;
        fs: trine::fs;
        future: trine::future;
        ipc: trine::ipc;
        ipc_channel: trine::ipc::channel;
        net: trine::net;
        process: trine::process;
        signal: trine::signal;
        sync: trine::sync;
        channel: trine::sync::channel;
        task: trine::task;
        thread: trine::thread;
        time: trine::time;
    }
}

#[test]
fn no_module_hides_a_name_of_the_prelude_from_a_program_that_imports_all_of_it() {
    let all = [
        globs::all,
        globs::coroutine,
        globs::fs,
        globs::future,
        globs::ipc,
        globs::ipc_channel,
        globs::net,
        globs::process,
        globs::signal,
        globs::sync,
        globs::channel,
        globs::task,
        globs::thread,
        globs::time,
    ];
    assert!(all.iter().all(|same| same(&1) == Some(1)));
}
