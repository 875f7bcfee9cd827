//! The end of the calling thread's storage: noticed before the first destructor of a thread-local
//! that matters runs.
//!
//! A suspended coroutine or generator may borrow from thread-locals of its thread. Once the thread
//! begins to destroy them, it must not go on. The C library calls their destructors in the reverse
//! order of their registration, so a destructor that is registered last, a *guard*, runs first:
//!
//! ```text
//!   the C library's list, of one thread:   head ──► guard ──► X ──► Y ──► guard ──► Z
//!                                                     │       └── registered before the guard:
//!                                                     ▼           alive when it runs
//!                                            the end of an era: `era` + 1, and `on_end`
//! ```
//!
//! [`guard`] sees to it that the head of the list is a guard. It is called wherever a coroutine or
//! generator has just been suspended. No call of the C library shows whether a thread-local was
//! registered since. A new guard for each call would use memory without bound, so `guard` reads the
//! head of the list, which glibc keeps in a variable of each thread. `glibc::find_head` finds that
//! variable once: the word of the thread's static storage that changes at each of three
//! registrations, and always to the new entry. Should a future glibc have none, or with another C
//! library, each thread gets one guard, at the first call.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;

use super::{cleanup, observe};

/// An entry of the list: `struct dtor_list` of glibc, since 2.18.
#[repr(C)]
struct Registered {
    function: usize,
    object: *mut c_void,
    map: usize,
    next: *const Registered,
}

/// The guards of one thread. Without a destructor, so that it can be used at any time.
struct Thread {
    /// The head of this thread's list; null before the first guard, or if unknown.
    head: Cell<*const *const Registered>,
    /// The last guard, until it runs.
    last: Cell<*const Registered>,
    /// The number of guards that have run.
    era: Cell<u32>,
    /// True if there is a guard that has not run.
    is_guarded: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            head: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
            era: Cell::new(0),
            is_guarded: Cell::new(false),
        }
    };
}

/// The functions that each guard calls, in the order of [`on_end`].
static ON_END: [OnceLock<fn()>; 2] = [const { OnceLock::new() }; 2];

/// Has `end` called on each thread with a guard before its thread-locals are destroyed, and again
/// after each destructor that has led to another guard. A second call changes nothing.
pub(crate) fn on_end(end: fn()) {
    let is_this = |place: &OnceLock<fn()>| *place.get_or_init(|| end) as usize == end as usize;
    assert!(ON_END.iter().any(is_this), "more functions than places");
}

/// Returns the era of the calling thread's storage. A stack that was suspended in an earlier era
/// may borrow from thread-locals that have been destroyed since.
#[inline]
pub(crate) fn era() -> u32 {
    THREAD.with(|thread| thread.era.get())
}

/// Sees to it that a guard is the first destructor to run at the end of the calling thread.
#[inline]
pub(crate) fn guard() {
    THREAD.with(|thread| {
        let (head, last) = (thread.head.get(), thread.last.get());
        // SAFETY: not null, so it is the head of this thread's list, as `add` has found. Only this
        // thread writes to it.
        if last.is_null() || unsafe { head.read_volatile() } != last {
            add(thread);
        }
    });
}

/// Returns true if a guard of the calling thread is still to run.
pub(crate) fn is_guarded() -> bool {
    THREAD.with(|thread| thread.is_guarded.get())
}

/// Returns true if the storage of the calling thread ends because the program does: on its first
/// thread, or in a call of `exit`, in which glibc destroys the caller's thread-locals. The thread's
/// own frames may be there still.
pub(crate) fn is_of_program() -> bool {
    observe::is_main_thread() || cleanup::is_called_by(libc::exit as *const ())
}

/// Ends an era, after the functions of [`on_end`]: until they return, nothing is destroyed.
fn end() {
    THREAD.with(|thread| {
        thread.last.set(ptr::null());
        thread.is_guarded.set(false);
        ON_END.iter().filter_map(OnceLock::get).for_each(|end| end());
        thread.era.set(thread.era.get() + 1);
    });
}

#[cfg(not(target_env = "gnu"))]
fn add(thread: &Thread) {
    struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {
            end();
        }
    }

    thread_local! {
        static GUARD: Guard = const { Guard };
    }
    if !thread.is_guarded.get() && GUARD.try_with(|_| ()).is_ok() {
        thread.is_guarded.set(true);
    }
}

#[cfg(target_env = "gnu")]
#[cold]
fn add(thread: &Thread) {
    let offset = glibc::HEAD.get_or_init(glibc::find_head);
    if offset.is_none() && (thread.is_guarded.get() || thread.era.get() > 0) {
        return;
    }
    let object = ptr::from_ref(thread).cast_mut().cast();
    glibc::register(glibc::run, object);
    thread.is_guarded.set(true);
    if let Some(offset) = offset {
        let head = glibc::head_at(*offset);
        thread.head.set(head);
        // SAFETY: `find_head` has verified the place; it is this thread's own.
        thread.last.set(unsafe { head.read_volatile() });
        // SAFETY: the head is an entry of the list, which lives until its destructor has run.
        debug_assert_eq!(unsafe { (*thread.last.get()).object }, object, "the head of the list");
    }
}

#[cfg(target_env = "gnu")]
mod glibc {
    use std::ffi::{c_int, c_void};
    use std::sync::OnceLock;

    use super::Registered;

    type Destructor = unsafe extern "C" fn(*mut c_void);

    unsafe extern "C" {
        fn __cxa_thread_atexit_impl(
            destructor: Destructor,
            object: *mut c_void,
            library: *const c_void,
        ) -> c_int;
    }

    /// The distance of the list's head from the thread's own descriptor: the same in all threads,
    /// since both are in the static part of their storage.
    pub(super) static HEAD: OnceLock<Option<usize>> = OnceLock::new();

    /// A thing in this library, which keeps it loaded as long as a destructor is registered.
    static LIBRARY: u8 = 0;

    pub(super) fn register(destructor: Destructor, object: *mut c_void) {
        // SAFETY: the destructors given here may be called with any object, at the thread's end.
        unsafe { __cxa_thread_atexit_impl(destructor, object, (&raw const LIBRARY).cast()) };
    }

    pub(super) unsafe extern "C" fn run(_: *mut c_void) {
        super::end();
    }

    unsafe extern "C" fn nothing(_: *mut c_void) {}

    fn descriptor() -> usize {
        // SAFETY: always allowed.
        unsafe { libc::pthread_self() as usize }
    }

    /// Returns the head of the calling thread's list.
    pub(super) fn head_at(offset: usize) -> *const *const Registered {
        std::ptr::with_exposed_provenance(descriptor().wrapping_add(offset))
    }

    /// The words of one library's thread-locals, of the calling thread.
    type Words = (usize, usize);

    unsafe extern "C" fn note(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        all: *mut c_void,
    ) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid `info`, and the list that `find_head` gave it.
        let (info, all) = unsafe { (&*info, &mut *all.cast::<Vec<Words>>()) };
        let start = info.dlpi_tls_data as usize;
        for header in 0..usize::from(info.dlpi_phnum) {
            // SAFETY: there are `dlpi_phnum` headers.
            let header = unsafe { &*info.dlpi_phdr.add(header) };
            if start != 0 && header.p_type == libc::PT_TLS {
                let first = start.next_multiple_of(8);
                all.push((first, (start + header.p_memsz as usize).saturating_sub(first) / 8));
            }
        }
        0
    }

    fn read(all: &[Words], into: &mut Vec<usize>) {
        into.clear();
        for &(start, count) in all {
            let word = |n| std::ptr::with_exposed_provenance::<usize>(start + 8 * n);
            // SAFETY: within the thread-locals of this thread, which are always readable; volatile,
            // since they belong to others.
            into.extend((0..count).map(|n| unsafe { word(n).read_volatile() }));
        }
    }

    /// Finds the head of the list in the storage of the calling thread; see the top of the file.
    pub(super) fn find_head() -> Option<usize> {
        let mut all: Vec<Words> = Vec::new();
        // SAFETY: `note` is called with the list, before the call returns.
        unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut all).cast()) };
        let size = all.iter().map(|words| words.1).sum();
        // Allocated before: the allocator changes words, too.
        let mut seen = [const { Vec::new() }; 4];
        seen.iter_mut().for_each(|seen| seen.reserve_exact(size));
        let mut probes = [0_u8; 4];
        for (seen, probe) in seen.iter_mut().zip(&mut probes) {
            register(nothing, (&raw mut *probe).cast());
            read(&all, seen);
        }
        let is_head = |index: &usize| {
            let [first, second, third] = [1, 2, 3].map(|n| seen[n][*index]);
            let changes = seen.windows(2).all(|pair| pair[0][*index] != pair[1][*index]);
            let probe = (&raw mut probes[3]).cast();
            changes && first != 0 && second != 0 && entry(third) == Some((probe, second))
        };
        let mut index = (0..size).find(is_head)?;
        let within = |words: &Words| {
            let at = (index < words.1).then(|| words.0 + 8 * index);
            index = index.saturating_sub(words.1);
            at
        };
        let address = all.iter().find_map(within)?;
        Some(address.wrapping_sub(descriptor()))
    }

    /// Reads the entry at an address, which may be no entry at all: its object and the next entry.
    fn entry(address: usize) -> Option<(*mut c_void, usize)> {
        let end = address.checked_add(size_of::<Registered>() - 8)?;
        if !address.is_multiple_of(align_of::<Registered>())
            || !is_readable(address)
            || !is_readable(end)
        {
            return None;
        }
        // SAFETY: aligned, and readable from the first to the last word; less than a page.
        let entry = unsafe { &*std::ptr::with_exposed_provenance::<Registered>(address) };
        Some((entry.object, entry.next.addr()))
    }

    /// Asks the kernel to read a word: it refuses the action, after it has read the set of signals.
    fn is_readable(address: usize) -> bool {
        let (no_action, old) = (-1, std::ptr::null_mut::<c_void>());
        // SAFETY: changes nothing, as there is no such action. A wrong address is an error.
        let result = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, no_action, address, old, 8) };
        result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_guard_runs_before_everything_that_was_registered_before_it() {
        static ORDER: Mutex<Vec<(&str, u32)>> = Mutex::new(Vec::new());
        struct Says(&'static str);
        impl Drop for Says {
            fn drop(&mut self) {
                ORDER.lock().unwrap().push((self.0, era()));
            }
        }
        thread_local! {
            static FIRST: Says = const { Says("first") };
            static SECOND: Says = const { Says("second") };
            static THIRD: Says = const { Says("third") };
        }
        std::thread::spawn(|| {
            assert!(!is_guarded());
            FIRST.with(|_| guard());
            SECOND.with(|_| guard());
            let last = THREAD.with(|thread| thread.last.get());
            (0..1000).for_each(|_| guard());
            assert_eq!(last, THREAD.with(|thread| thread.last.get()), "one guard is enough");
            assert!(!last.is_null(), "the list's head was found");
            THIRD.with(|_| assert!(is_guarded()));
        })
        .join()
        .unwrap();
        let order = std::mem::take(&mut *ORDER.lock().unwrap());
        assert_eq!(order, [("third", 0), ("second", 1), ("first", 2)]);
    }
}
