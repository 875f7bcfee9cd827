//! `ipc_mutex`: a lock between processes.

use std::cell::UnsafeCell;
use std::fs::{File, OpenOptions};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use trine::ipc::Mutex;
use trine::process::{Fork, fork};

use crate::row::{Better, Column, Peer, Row, Sample, Size, ns_each};

pub const ROW: Row = Row {
    name: "ipc_mutex",
    about: "A number in shared memory is incremented under a lock: by one thread alone, and by one \
            thread of each of two processes at once (all increments, divided by the time until \
            both are done). The pthread mutex is robust, like trine's: it reports that its last \
            holder has died. `flock` locks a file.",
    columns: &[
        Column { key: "ns", heading: "ns, alone", better: Better::Less },
        Column { key: "rate", heading: "M increments/s, two processes", better: Better::More },
    ],
    peers: &[
        Peer::rust("trine, ipc::Mutex", trine),
        Peer::rust("pthread, robust", pthread),
        Peer::rust("flock", flocks),
    ],
    limit: Duration::from_secs(60),
};

/// The memory that the two processes share, beside trine's lock.
struct Page {
    /// True once the far side has started.
    ready: AtomicBool,
    /// True once the near side has begun to count.
    go: AtomicBool,
    /// The counter. A load and a store increment it, so it needs a lock.
    count: AtomicU64,
    mutex: UnsafeCell<libc::pthread_mutex_t>,
}

impl Page {
    /// Maps a page of zeroes that forks share. It stays mapped until the process ends.
    fn map() -> anyhow::Result<&'static Page> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let len = size_of::<Page>();
        // SAFETY: the kernel chooses an unused address, aligned to a page. Zeroes are a valid
        // `Page`: false, 0, and an unlocked mutex of the default kind.
        Ok(unsafe { &*mmap_anonymous(std::ptr::null_mut(), len, access, MapFlags::SHARED)?.cast() })
    }

    /// Increments the counter; the caller holds the lock.
    fn count(&self) {
        let n = self.count.load(SeqCst);
        self.count.store(n + 1, SeqCst);
    }
}

/// A lock that either process holds during `Page::count`.
trait Lock {
    fn count(&mut self, page: &Page) -> anyhow::Result<()>;
}

impl Lock for Mutex<u64> {
    fn count(&mut self, page: &Page) -> anyhow::Result<()> {
        let guard = self.lock().map_err(|_| anyhow::anyhow!("a holder has died"))?;
        page.count();
        drop(guard);
        Ok(())
    }
}

/// The initialized mutex in the page.
struct Pthread;

impl Lock for Pthread {
    fn count(&mut self, page: &Page) -> anyhow::Result<()> {
        // SAFETY: it was initialized before the fork, and only these functions access it.
        let error = unsafe { libc::pthread_mutex_lock(page.mutex.get()) };
        anyhow::ensure!(error == 0, "pthread_mutex_lock: {error}");
        page.count();
        // SAFETY: as above; this thread holds it.
        unsafe { libc::pthread_mutex_unlock(page.mutex.get()) };
        Ok(())
    }
}

impl Lock for File {
    fn count(&mut self, page: &Page) -> anyhow::Result<()> {
        flock(&*self, FlockOperation::LockExclusive)?;
        page.count();
        Ok(flock(&*self, FlockOperation::Unlock)?)
    }
}

/// Counts alone, then with a fork of this process, which has no other thread yet.
fn measure<L: Lock>(
    n: usize,
    page: &Page,
    mut near: L,
    far: impl FnOnce() -> anyhow::Result<L>,
) -> anyhow::Result<Sample> {
    let start = Instant::now();
    (0..n).try_for_each(|_| near.count(page))?;
    let alone = ns_each(start.elapsed(), n);

    let child = match fork()? {
        Fork::Parent(child) => child,
        Fork::Child => {
            let counted = far().and_then(|mut far| {
                page.ready.store(true, SeqCst);
                while !page.go.load(SeqCst) {
                    std::hint::spin_loop();
                }
                (0..n).try_for_each(|_| far.count(page))
            });
            std::process::exit(if counted.is_ok() { 0 } else { 1 })
        }
    };
    while !page.ready.load(SeqCst) {
        std::thread::sleep(Duration::from_micros(100));
    }
    let start = Instant::now();
    page.go.store(true, SeqCst);
    (0..n).try_for_each(|_| near.count(page))?;
    let status = child.wait()?;
    let rate = 1e3 / ns_each(start.elapsed(), 2 * n);
    anyhow::ensure!(status.success(), "the other process: {status}");
    let counted = page.count.load(SeqCst);
    anyhow::ensure!(counted == 3 * n as u64, "{counted} increments instead of {}", 3 * n);
    Ok(Sample::of("ns", alone).and("rate", rate))
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    let mutex = Mutex::new(0_u64)?;
    let descriptors = mutex.descriptors()?;
    measure(size.of(1_000_000, 200_000), Page::map()?, mutex, || {
        Ok(Mutex::from_descriptors(descriptors)?)
    })
}

fn pthread(size: Size) -> anyhow::Result<Sample> {
    let page = Page::map()?;
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the first call initializes the attributes, which the others take. No other process
    // has the page yet.
    let errors = unsafe {
        [
            libc::pthread_mutexattr_init(attributes.as_mut_ptr()),
            libc::pthread_mutexattr_setpshared(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PROCESS_SHARED,
            ),
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST),
            libc::pthread_mutex_init(page.mutex.get(), attributes.as_ptr()),
        ]
    };
    anyhow::ensure!(errors == [0; 4], "cannot make a robust mutex: {errors:?}");
    measure(size.of(1_000_000, 200_000), page, Pthread, || Ok(Pthread))
}

fn flocks(size: Size) -> anyhow::Result<Sample> {
    let file = tempfile::NamedTempFile::new()?;
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    let near = open(file.path())?;
    measure(size.of(200_000, 40_000), Page::map()?, near, || Ok(open(file.path())?))
}
