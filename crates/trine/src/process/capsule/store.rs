//! Writes the capsules of a pool into its directory, and keeps them bounded in number and size.
//!
//! A capsule is written before its task ends, by a thread of its own: a joiner finds the file, and
//! a slow disk holds up no other task. It appears under its name once it is whole; until then it is
//! a draft, which its writer has locked.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::contents::{Argument, Call, Contents, End, Program};
use super::settings::Settings;
use crate::process::wire;
use crate::sys;
use crate::sys::io::file::{self, flags};
use crate::sys::lift::lift;
use crate::sys::limits::file_size::without_signal;
use crate::sys::memory::sealed::Frozen;
use crate::sys::signal::mask;
use crate::task::{Cause, TaskError, park, wait};

/// The extension of the files.
const EXTENSION: &str = "capsule";

/// The most files of a directory, unless the pool sets another number.
pub(in crate::process) const MOST_FILES: usize = 100;
/// The most bytes of a file, unless the pool sets another number.
pub(in crate::process) const MOST_BYTES: u64 = 64 << 20;

/// The number of digits of the time in a name.
const TIME: usize = 17;
/// The time by which the writer of a draft has locked it.
const UNLOCKED: Duration = Duration::from_secs(60);

/// The most threads that write at the same time.
const MOST_WRITERS: usize = 16;

/// The directory of a pool's capsules, and its bounds.
#[derive(Clone, Debug)]
pub(in crate::process) struct Directory {
    pub(in crate::process) path: PathBuf,
    /// The most files; the oldest are removed.
    pub(in crate::process) files: usize,
    /// The most bytes of an argument in a file.
    pub(in crate::process) bytes: u64,
}

/// The capsules of one pool.
#[derive(Debug)]
pub(in crate::process) struct Store {
    directory: Directory,
    /// The pool's settings, encoded.
    settings: Vec<u8>,
    /// True once a failure to write was reported.
    warned: AtomicBool,
    /// The number of tasks that may still need a capsule.
    tasks: AtomicUsize,
    /// Waits for `tasks` to be 0.
    waiters: Mutex<Vec<Waker>>,
    /// The number of threads that write.
    writers: AtomicUsize,
}

// A panic finds the state whole: a lock guards one number.
impl UnwindSafe for Store {}
impl RefUnwindSafe for Store {}

/// The capsules of one task: those that are to be written before it ends.
pub(in crate::process) struct Pending {
    store: Counted,
    capsules: Vec<(Noted, TaskError, CapsulePath)>,
}

/// A call that has failed. A failure is noted under the dispatcher's lock, so the memory of the
/// argument is read later.
struct Noted {
    call: wire::Call,
    /// The time that the spawner gave the task.
    allowed: Option<Duration>,
    frame: Frame,
    /// The descriptors of the frame, and the range of those that belong to the argument.
    descriptors: SharedDescriptors,
    own: Range<usize>,
}

/// The encoded argument.
enum Frame {
    /// The body of a `RUN` frame, and the place of the argument in it.
    Shared(Arc<Vec<u8>>, Range<usize>),
    /// A copy: the frame of many arguments changes when its task goes on. A long argument is in
    /// memory of its own, so this is short.
    Copied(Vec<u8>),
}

/// The descriptors of a frame; `None` if there are none.
type SharedDescriptors = Option<Arc<Vec<OwnedFd>>>;

/// The path of a capsule, once it was written; shared with the task's error.
pub(crate) type CapsulePath = Arc<OnceLock<PathBuf>>;

/// One task of the pool that may still need a capsule.
struct Counted(Arc<Store>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.tasks.fetch_sub(1, AcqRel) == 1 {
            let waiters = mem::take(&mut *lock(&self.0.waiters));
            waiters.into_iter().for_each(park::wake);
        }
    }
}

impl Directory {
    pub(in crate::process) fn new(path: PathBuf) -> Directory {
        Directory { path, files: MOST_FILES, bytes: MOST_BYTES }
    }
}

impl Store {
    pub(in crate::process) fn new(directory: Directory, settings: &Settings) -> Arc<Store> {
        Arc::new(Store {
            directory,
            settings: settings.encode(),
            warned: AtomicBool::new(false),
            tasks: AtomicUsize::new(0),
            waiters: Mutex::default(),
            writers: AtomicUsize::new(0),
        })
    }

    /// Waits until no task of the pool needs a capsule any more: all have ended.
    pub(in crate::process) fn wait_until_written(&self) {
        loop {
            lock(&self.waiters).push(park::waker());
            if self.tasks.load(Acquire) == 0 {
                return;
            }
            wait::or_unwind(None);
        }
    }

    /// Returns the list for one task of the pool.
    pub(in crate::process) fn pending(self: &Arc<Store>) -> Box<Pending> {
        self.tasks.fetch_add(1, Relaxed);
        Box::new(Pending { store: Counted(Arc::clone(self)), capsules: Vec::new() })
    }

    /// Writes a capsule, and removes the oldest ones beyond the bound.
    fn write(&self, contents: &Contents) -> io::Result<PathBuf> {
        let directory = &self.directory.path;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        self.remove_drafts();
        let name = file_name();
        let (path, draft) = (directory.join(&name), directory.join(format!(".{name}")));
        let written =
            write_new(&draft, &contents.encode()).and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        self.evict(&name);
        Ok(path)
    }

    /// Removes the drafts of programs that died while they wrote: those that no writer has locked.
    fn remove_drafts(&self) {
        let Ok(entries) = fs::read_dir(&self.directory.path) else { return };
        let path = |name: &OsString| {
            let own = name.to_str()?.strip_prefix('.').filter(|name| is_file_name(name))?;
            let begun = own[..TIME].parse().ok()?;
            // A new one may not be locked yet.
            let is_old = now().saturating_sub(Duration::from_micros(begun)) > UNLOCKED;
            is_old.then(|| self.directory.path.join(name))
        };
        for path in entries.flatten().filter_map(|entry| path(&entry.file_name())) {
            let flags = flags::READ | flags::NO_FOLLOW | flags::NONBLOCKING;
            if file::open(&path, flags, 0).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes the oldest capsules beyond the bound, but not the `latest`. Their names begin with
    /// their time. Those that cannot be removed, as another user's, stay.
    fn evict(&self, latest: &str) {
        let Ok(entries) = fs::read_dir(&self.directory.path) else { return };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut names: Vec<_> =
            names.filter(|name| name.to_str().is_some_and(is_file_name)).collect();
        names.sort_unstable();
        let excess = names.len().saturating_sub(self.directory.files);
        for name in names.iter().filter(|name| *name != latest).take(excess) {
            let _ = fs::remove_file(self.directory.path.join(name));
        }
    }

    /// Reports the first failure to write on standard error; the tasks have their errors anyway.
    fn warn(&self, error: &io::Error) {
        if !self.warned.swap(true, Relaxed) {
            let path = self.directory.path.display();
            sys::eprint(format_args!(
                "trine: cannot write a crash capsule to {path}: {error}; this pool reports no \
                 further ones\n"
            ));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the name of a new file: microseconds since 1970, process, number.
fn file_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let time = now().as_micros();
    let (pid, number) = (std::process::id(), NUMBER.fetch_add(1, Relaxed));
    format!("{time:0TIME$}-{pid}-{number}.{EXTENSION}")
}

/// Returns true for a name that [`file_name`] makes: no other file is ever removed.
fn is_file_name(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(EXTENSION).and_then(|stem| stem.strip_suffix('.')) else {
        return false;
    };
    let parts: Vec<&str> = stem.split('-').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && parts[0].len() == TIME && parts.iter().all(digits)
}

/// Writes a file that did not exist, which only this user may read.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // Not under the number of a standard stream, where output would go into it.
    let mut file = File::from(lift(file.into())?);
    // Held until the draft has its name. Some file systems have no locks.
    let _ = file.try_lock();
    without_signal(|| file.write_all(bytes))
}

impl Pending {
    /// Returns true if there is something to write.
    pub(in crate::process) fn is_due(&self) -> bool {
        !self.capsules.is_empty()
    }

    /// Notes a failure for a capsule, unless no replay could show it. Returns the cell for its
    /// path.
    ///
    /// `frame` is the `RUN` frame, `item` the argument that failed, `allowed` the time that the
    /// spawner gave the task.
    pub(in crate::process) fn note(
        &mut self,
        error: &TaskError,
        (frame, descriptors): (&Arc<Vec<u8>>, &SharedDescriptors),
        item: u32,
        allowed: Option<Duration>,
    ) -> Option<CapsulePath> {
        let is_shown = matches!(error.cause(), Cause::Panicked { .. } | Cause::TimedOut);
        if !(is_shown || error.is_crash()) || self.capsules.len() >= self.store.0.directory.files {
            return None;
        }
        let noted = Noted::new(frame, descriptors, item, allowed)?;
        let path = CapsulePath::default();
        self.capsules.push((noted, error.clone(), Arc::clone(&path)));
        Some(path)
    }

    /// Writes the capsules on another thread, and then calls `then` there. Calls it here, without
    /// capsules, if no thread is left for it: the caller must not wait for a disk.
    pub(in crate::process) fn write_then(mut self, then: impl FnOnce() + Send + 'static) {
        let store = Arc::clone(&self.store.0);
        if store.writers.fetch_add(1, Relaxed) >= MOST_WRITERS {
            store.writers.fetch_sub(1, Relaxed);
            store.warn(&io::Error::other("too many tasks fail at once"));
            self.capsules.clear();
            return then();
        }
        let work = Arc::new(Mutex::new(Some((self, then))));
        let shared = Arc::clone(&work);
        let writing = Arc::clone(&store);
        let builder = thread::Builder::new().name("trine-capsule".into());
        let signals = mask::block_signals();
        let started = builder.spawn(move || {
            if let Some((mut pending, then)) = lock(&shared).take() {
                // Whatever happens to a capsule, the task has its end.
                let written = panic::catch_unwind(AssertUnwindSafe(|| pending.write()));
                writing.writers.fetch_sub(1, Relaxed);
                written.unwrap_or_else(mem::forget);
                then();
            }
        });
        drop(signals);
        if let Err(error) = started {
            store.writers.fetch_sub(1, Relaxed);
            store.warn(&error);
            let taken = lock(&work).take();
            if let Some((mut pending, then)) = taken {
                // The descriptors of a task are closed before its end.
                pending.capsules.clear();
                then();
            }
        }
    }

    fn write(&mut self) {
        let program = Program::current();
        for (noted, error, path) in mem::take(&mut self.capsules) {
            let contents = Contents {
                program: program.clone(),
                settings: self.store.0.settings.clone(),
                call: noted.into_call(self.store.0.directory.bytes),
                end: End::of(&error),
            };
            match self.store.0.write(&contents) {
                Ok(written) => _ = path.set(written),
                Err(error) => self.store.0.warn(&error),
            }
        }
    }
}

impl Noted {
    /// Returns the call of one argument; `None` if there is none with this number.
    fn new(
        frame: &Arc<Vec<u8>>,
        descriptors: &SharedDescriptors,
        item: u32,
        allowed: Option<Duration>,
    ) -> Option<Noted> {
        let all = descriptors.as_ref().map_or(&[][..], |all| all);
        let (call, bytes) = postcard::take_from_bytes::<wire::Call>(&frame[wire::HEAD..]).ok()?;
        let (frame, own) = match call.items {
            None => {
                let place = frame.len() - bytes.len()..frame.len();
                (Frame::Shared(Arc::clone(frame), place), 0..all.len())
            }
            Some(_) => {
                let (bytes, own) = nth_item(bytes, all.len(), item)?;
                (Frame::Copied(bytes.to_vec()), own)
            }
        };
        Some(Noted { call, allowed, frame, descriptors: descriptors.clone(), own })
    }

    /// Reads the argument, of at most `most` bytes.
    fn into_call(self, most: u64) -> Call {
        let Noted { call, allowed, frame, descriptors, own } = self;
        let bytes = match &frame {
            Frame::Shared(frame, place) => &frame[place.clone()],
            Frame::Copied(bytes) => bytes,
        };
        let descriptors = descriptors.as_ref().map_or(&[][..], |all| &all[own]);
        Call {
            function: call.function,
            location: call.location,
            name: call.name,
            limit: call.limit.into_iter().chain(allowed).min(),
            argument: argument(bytes, descriptors, most),
        }
    }
}

/// Finds an argument among many, and the places of its descriptors, of `descriptors` in all.
fn nth_item(mut items: &[u8], descriptors: usize, item: u32) -> Option<(&[u8], Range<usize>)> {
    let mut start = 0;
    for index in 0.. {
        let next = wire::next_item(&mut items).ok()?;
        let end = start + next.map_or(0, |(_, own)| own);
        if end > descriptors {
            return None;
        }
        if index == item {
            return next.map(|(bytes, _)| (bytes, start..end));
        }
        start = end;
    }
    None
}

/// Copies an argument, with the sealed memory that belongs to it.
///
/// # Errors
///
/// It is too long, or has descriptors that no file can hold; the text says so.
fn argument(bytes: &[u8], descriptors: &[OwnedFd], most: u64) -> Result<Argument, String> {
    let mut room = most;
    let mut take = |len: usize| {
        room = room.checked_sub(len as u64).ok_or_else(|| {
            format!("it is longer than the {most} bytes that a capsule of this pool may have")
        })?;
        Ok::<(), String>(())
    };
    take(bytes.len())?;
    let mut memories = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        let sealed = descriptor.as_fd().try_clone_to_owned().ok();
        let Some(memory) = sealed.and_then(|copy| Frozen::attach(copy).ok()) else {
            return Err("it holds a descriptor (a file, a socket, an end of a channel)".into());
        };
        take(memory.bytes().len())?;
        memories.push(memory.bytes().to_vec());
    }
    Ok(Argument { bytes: bytes.to_vec(), memories })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::sealed::Written;

    #[test]
    fn only_own_names_are_taken_for_capsules() {
        assert!(is_file_name(&file_name()));
        for other in [
            "notes.capsule",
            "00000000000000001-2.capsule",
            "1-2-3.capsule",
            "00000000000000001-2-3",
            "00000000000000001-2-x.capsule",
            ".00000000000000001-2-3.capsule",
        ] {
            assert!(!is_file_name(other), "{other}");
        }
    }

    #[test]
    fn an_argument_among_many_is_found_with_its_descriptors() {
        let mut items = Vec::new();
        for (bytes, own) in [(Some(&b"one"[..]), 1), (None, 0), (Some(&b"three"[..]), 2)] {
            items.extend_from_slice(&wire::item_head(bytes.map(|bytes| (bytes.len(), own))));
            items.extend_from_slice(bytes.unwrap_or_default());
        }
        let found = |item| nth_item(&items, 3, item).map(|(bytes, own)| (bytes.to_vec(), own));
        assert_eq!(found(0), Some((b"one".to_vec(), 0..1)));
        assert_eq!(found(1), None);
        assert_eq!(found(2), Some((b"three".to_vec(), 1..3)));
        assert_eq!(found(3), None);
        assert_eq!(nth_item(&items, 2, 2), None);
    }

    #[test]
    fn a_failure_is_noted_without_a_copy_of_its_argument() {
        let call = wire::Call {
            function: postcard::from_bytes(&[0, 0]).unwrap(),
            location: None,
            name: None,
            deadline: None,
            limit: None,
            items: None,
        };
        let frame = postcard::to_extend(&call, wire::begin(wire::FrameKind::Run, 1)).unwrap();
        let frame = Arc::new([frame, b"bytes".to_vec()].concat());
        let mut memory = Written::new().unwrap();
        memory.write(b"long").unwrap();
        memory.seal().unwrap();
        let descriptors = Some(Arc::new(vec![memory.into_descriptor()]));
        let noted = Noted::new(&frame, &descriptors, 0, None).unwrap();
        assert_eq!(Arc::strong_count(&frame), 2);
        assert_eq!(descriptors.as_ref().map(Arc::strong_count), Some(2));
        let argument = noted.into_call(100).argument.unwrap();
        assert_eq!(argument.bytes, b"bytes");
        assert_eq!(argument.memories, [b"long"]);
    }
}
