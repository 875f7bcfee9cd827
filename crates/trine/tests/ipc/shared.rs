//! Memory that processes share: its values, and the errors of wrong descriptors and exceeded
//! limits.

use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI8, AtomicU32, AtomicU64, AtomicUsize};

use crate::common::limits::limit_for_now;
use crate::common::processes::descriptors;
use crate::common::{again, role, run};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::process::Resource;
use serde::{Deserialize, Serialize};
use trine::ipc::{Shared, SharedError, SharedMut};
use trine::process;

/// Makes a memfd of that many bytes, with these seals.
fn memory(bytes: u64, seals: SealFlags) -> OwnedFd {
    let memory = memfd_create(c"test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&memory, bytes).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

const SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
const ALL: SealFlags = SIZE.union(SealFlags::WRITE);

fn copy(shared: impl AsFd) -> OwnedFd {
    shared.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn values_are_read_where_they_were_made() {
    let numbers = Shared::from_slice(&[3_u16; 100_000]).unwrap();
    let same = numbers.clone();
    drop(numbers);
    assert_eq!(same.iter().map(|n| u64::from(*n)).sum::<u64>(), 300_000);
    assert_eq!(*Shared::new([1.5_f32; 7]).unwrap(), [1.5; 7]);
    assert_eq!(Shared::<[u8]>::zeroed(0).unwrap()[..], []);
    let thread = std::thread::spawn(move || same.len());
    assert_eq!(thread.join().unwrap(), 100_000);
}

#[test]
fn a_panic_while_it_is_filled_leaves_nothing() {
    // Counts what the whole process has.
    if role().is_none() {
        run(again("alone"));
        return;
    }
    for _ in 0..20 {
        let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
            Shared::build(1 << 20, |_: &mut [u8]| panic::resume_unwind(Box::new(())))
        }));
        assert!(unwound.is_err());
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let left = maps.lines().filter(|line| line.contains("trine-shared") && line.contains("rw-s"));
    assert_eq!(left.count(), 0, "{maps}");
}

#[test]
fn nobody_can_change_it_any_more() {
    let shared = Shared::from_slice(&[1_u8; 10_000]).unwrap();
    let descriptor = copy(&shared);
    assert!(rustix::io::pwrite(&descriptor, &[2], 0).is_err());
    assert!(ftruncate(&descriptor, 1).is_err());
    assert!(ftruncate(&descriptor, 20_000).is_err());
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert!(fallocate(&descriptor, hole, 0, 4096).is_err());
    assert!(fcntl_add_seals(&descriptor, SealFlags::FUTURE_WRITE).is_err());
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let again = File::options().read(true).write(true).open(path).unwrap();
    for file in [descriptor, again.into()] {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address of the kernel's choice.
        let mapped =
            unsafe { mmap(std::ptr::null_mut(), 4096, access, MapFlags::SHARED, &file, 0) };
        assert!(mapped.is_err());
        // A mapping for reading cannot be made one for writing.
        // SAFETY: as above.
        let read = unsafe {
            mmap(std::ptr::null_mut(), 4096, ProtFlags::READ, MapFlags::SHARED, &file, 0)
        };
        if let Ok(read) = read {
            // SAFETY: our own mapping, which nothing borrows.
            let changed = unsafe { mprotect_writable(read) };
            assert!(!changed);
        }
    }
    assert_eq!(shared[..], [1; 10_000]);
}

/// # Safety
///
/// `page` begins a page that is the caller's.
unsafe fn mprotect_writable(page: *mut c_void) -> bool {
    let access = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
    // SAFETY: the caller's promise.
    unsafe { rustix::mm::mprotect(page, 4096, access) }.is_ok()
}

#[test]
fn a_descriptor_becomes_shared_memory_if_it_is_sealed_and_of_the_right_size() {
    let taken = Shared::<[u64]>::try_from(memory(80, ALL)).unwrap();
    assert_eq!(taken[..], [0; 10]);
    assert_eq!(*Shared::<[u64; 10]>::try_from(memory(80, ALL)).unwrap(), [0; 10]);
    assert!(Shared::<[u64]>::try_from(memory(0, ALL)).unwrap().is_empty());

    for (seals, lacks) in [
        (SealFlags::empty(), "F_SEAL_SHRINK"),
        (SealFlags::SHRINK, "F_SEAL_GROW"),
        (SIZE, "F_SEAL_WRITE"),
        (SIZE | SealFlags::FUTURE_WRITE, "F_SEAL_WRITE"),
        (ALL.difference(SealFlags::SEAL), "F_SEAL_SEAL"),
    ] {
        let seals = if seals.contains(SealFlags::SEAL) || seals.is_empty() {
            seals
        } else {
            seals.difference(SealFlags::SEAL)
        };
        match Shared::<[u64]>::try_from(memory(80, seals)) {
            Err(SharedError::NotSealed { missing }) => assert_eq!(missing, lacks),
            other => panic!("{other:?}"),
        }
    }
    for bytes in [0, 1, 79, 81] {
        let error = Shared::<[u64; 10]>::try_from(memory(bytes, ALL)).unwrap_err();
        let found = bytes as usize;
        assert!(matches!(error, SharedError::Size { expected: 80, found: it } if it == found));
    }
    let error = Shared::<[u64]>::try_from(memory(81, ALL)).unwrap_err();
    assert!(matches!(error, SharedError::Size { expected: 8, found: 81 }));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
}

#[test]
fn descriptors_of_another_kind_are_told() {
    let (reader, writer) = io::pipe().unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = File::open("/proc/self/exe").unwrap();
    let directory = File::open("/").unwrap();
    for wrong in [reader.into(), writer.into(), socket.into(), file.into(), directory.into()] {
        let wrong: OwnedFd = wrong;
        let error = SharedMut::<AtomicU64>::try_from(wrong.try_clone().unwrap()).unwrap_err();
        assert!(matches!(error, SharedError::NotMemory), "{error}");
        let error = Shared::<[u8]>::try_from(wrong).unwrap_err();
        assert!(matches!(error, SharedError::NotMemory), "{error}");
    }
    // A file of a tmpfs has one seal, which forbids all others.
    let path = format!("/dev/shm/trine-test-{}", std::process::id());
    if let Ok(file) = File::create_new(&path) {
        fs::remove_file(path).unwrap();
        let error = Shared::<[u8]>::try_from(OwnedFd::from(file)).unwrap_err();
        assert!(matches!(error, SharedError::NotSealed { .. }), "{error}");
    }
}

#[test]
fn huge_pages_are_told() {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
    // A kernel may have no huge pages.
    let Ok(memory) = memfd_create(c"huge", flags) else { return };
    fcntl_add_seals(&memory, ALL).unwrap();
    let error = Shared::<[u8]>::try_from(memory).unwrap_err();
    assert!(matches!(error, SharedError::NotMemory), "{error}");
}

#[test]
fn sizes_that_no_memory_has_are_told() {
    // Counts what the whole process has.
    if role().is_none() {
        run(again("alone"));
        return;
    }
    for len in [usize::MAX, usize::MAX / 8 + 1, isize::MAX as usize / 8 + 1] {
        let error = Shared::<[u64]>::zeroed(len).unwrap_err();
        assert!(matches!(error, SharedError::TooLarge), "{error}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
        assert!(matches!(SharedMut::<[AtomicU64]>::zeroed(len), Err(SharedError::TooLarge)));
    }
    let before = descriptors();
    for _ in 0..50 {
        let error = Shared::<[u8]>::zeroed(isize::MAX as usize).unwrap_err();
        assert!(matches!(error, SharedError::NotMade { .. }), "{error}");
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn met_limits_are_told() {
    match role().as_deref() {
        Some("size") => {
            limit_for_now(Resource::Fsize, 1 << 20);
            assert!(Shared::<[u8]>::zeroed(1 << 20).is_ok());
            let error = Shared::<[u8]>::zeroed((1 << 20) + 1).unwrap_err();
            assert!(error.to_string().contains("ulimit -f"), "{error}");
        }
        Some("addresses") => {
            limit_for_now(Resource::As, 4 << 30);
            let error = Shared::<[u8]>::zeroed(5 << 30).unwrap_err();
            assert!(error.to_string().contains("ulimit -v"), "{error}");
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::OutOfMemory);
        }
        Some("memory") => {
            // If memory runs out after all, the kernel kills this process first.
            fs::write("/proc/self/oom_score_adj", "1000").unwrap();
            let info = fs::read_to_string("/proc/meminfo").unwrap();
            let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
            let kib: usize = line.trim_end_matches("kB").trim().parse().unwrap();
            for bytes in [kib << 10, kib << 11, 1 << 46] {
                let error = Shared::<[u8]>::zeroed(bytes).unwrap_err();
                assert!(error.to_string().contains("free memory"), "{error}");
                assert_eq!(io::Error::from(error).kind(), io::ErrorKind::OutOfMemory);
            }
        }
        Some("descriptors") => {
            limit_for_now(Resource::Nofile, 40);
            let mut many = Vec::new();
            let error = loop {
                match Shared::new(1) {
                    Ok(one) => many.push(one),
                    Err(error) => break error,
                }
            };
            assert!(error.to_string().contains("ulimit -n"), "{error}");
            assert!(many.iter().all(|one| **one == 1));
        }
        _ => {
            for role in ["size", "addresses", "memory", "descriptors"] {
                run(again(role));
            }
        }
    }
}

#[test]
fn atomics_are_seen_by_every_holder() {
    let counts = SharedMut::<[AtomicU32]>::zeroed(5000).unwrap();
    let others: Vec<_> = (0..4)
        .map(|_| {
            let same = SharedMut::<[AtomicU32]>::try_from(copy(&counts)).unwrap();
            std::thread::spawn(move || {
                same.iter().for_each(|count| _ = count.fetch_add(1, Relaxed));
            })
        })
        .collect();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert!(counts.iter().all(|count| count.load(Relaxed) == 4));
    let grid = SharedMut::<[[AtomicI8; 3]; 7]>::zero().unwrap();
    grid[6][2].store(-1, Relaxed);
    assert_eq!(SharedMut::<[AtomicI8; 21]>::try_from(copy(&grid)).unwrap()[20].load(Relaxed), -1);
}

#[test]
fn atomics_are_in_memory_that_can_be_written_and_keeps_its_size() {
    let one = SharedMut::<AtomicUsize>::zero().unwrap();
    assert!(ftruncate(&one, 0).is_err());
    assert!(ftruncate(&one, 9).is_err());
    assert!(fcntl_add_seals(&one, SealFlags::WRITE).is_err());
    let error = SharedMut::<AtomicU64>::try_from(memory(8, SealFlags::SHRINK)).unwrap_err();
    assert!(matches!(error, SharedError::NotSealed { missing: "F_SEAL_GROW" }), "{error}");
    let error = SharedMut::<AtomicU64>::try_from(memory(9, SIZE)).unwrap_err();
    assert!(matches!(error, SharedError::Size { expected: 8, found: 9 }), "{error}");
    let error = SharedMut::<AtomicU64>::try_from(memory(8, ALL)).unwrap_err();
    assert!(matches!(error, SharedError::NotMapped(_)), "{error}");
    assert!(SharedMut::<AtomicU64>::try_from(memory(8, SIZE)).is_ok());
    // Memory that can be written is not immutable.
    let error = Shared::<u64>::try_from(copy(&one)).unwrap_err();
    assert!(matches!(error, SharedError::NotSealed { missing: "F_SEAL_WRITE" }), "{error}");
}

/// Passes the memory to a program of its own, as its standard input.
#[test]
fn another_program_takes_it_by_its_descriptor() {
    if role().is_some() {
        let numbers = Shared::<[u64]>::try_from(copy(io::stdin())).unwrap();
        assert!(numbers.iter().copied().eq(0..100_000));
        return;
    }
    let numbers = Shared::build(100_000, |place: &mut [u64]| {
        place.iter_mut().zip(0..).for_each(|(place, n)| *place = n);
    });
    let mut command = again("reader");
    command.stdin(Stdio::from(copy(numbers.unwrap())));
    run(command);
}

/// The kernel refuses to seal memory while a forked child has it mapped. The code that fills the
/// memory does not notice.
#[test]
fn programs_that_are_started_meanwhile_do_not_disturb() {
    let starter = std::thread::spawn(|| {
        for _ in 0..30 {
            Command::new("true").current_dir("/").status().unwrap();
        }
    });
    while !starter.is_finished() {
        assert_eq!(*Shared::new(5_u8).unwrap(), 5);
    }
    starter.join().unwrap();
}

/// Returns the resident bytes of this process, with the shared ones that it has touched.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn it_is_an_argument_and_a_result_of_a_process_task() {
    let numbers = Shared::build(100_000, |place: &mut [u32]| {
        place.iter_mut().zip(0..).for_each(|(place, n)| *place = n);
    });
    let numbers = numbers.unwrap();
    let evens = |numbers: Shared<[u32]>| {
        let evens: Vec<_> = numbers.iter().copied().filter(|n| n % 2 == 0).collect();
        Shared::from_slice(&evens).unwrap()
    };
    let evens: Shared<[u32]> = process::spawn(numbers.clone(), evens).join().unwrap();
    assert!(evens.iter().copied().eq((0..100_000).step_by(2)));
    // It came from a process that has exited.
    let sum = process::spawn((evens, numbers), |(a, b): (Shared<[u32]>, Shared<[u32]>)| {
        a.iter().chain(b.iter()).map(|n| u64::from(*n)).sum::<u64>()
    });
    assert_eq!(sum.join().unwrap(), 4_999_950_000 + 2_499_950_000);
}

#[test]
fn many_cross_inside_other_values() {
    #[derive(Serialize, Deserialize)]
    struct Job {
        name: String,
        parts: Vec<Shared<[u8]>>,
        progress: Option<SharedMut<[AtomicU32]>>,
    }
    let pool = process::Pool::new(2);
    let progress = SharedMut::<[AtomicU32]>::zeroed(40).unwrap();
    let tasks: Vec<_> = (0..40_usize)
        .map(|n| {
            let parts = (0..n as u8).map(|k| Shared::from_slice(&[k; 3]).unwrap()).collect();
            let job = Job { name: n.to_string(), parts, progress: Some(progress.clone()) };
            pool.spawn(job, |job: Job| {
                let n: usize = job.name.parse().unwrap();
                job.progress.unwrap()[n].store(n as u32 + 1, Relaxed);
                job.parts.iter().map(|part| u32::from(part[2])).sum::<u32>()
            })
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), (0..n).sum::<u32>());
    }
    assert!(progress.iter().zip(1..).all(|(seen, n)| seen.load(Relaxed) == n));
    pool.shutdown();
}

#[test]
fn a_hundred_mebibytes_cross_without_a_copy() {
    const LEN: usize = 100 << 20;
    let large = Shared::<[u8]>::zeroed(LEN).unwrap();
    let pool = process::Pool::new(1);
    let look = |large: Shared<[u8]>| (large.len(), large[LEN / 2], resident());
    let (_, _, before) = pool.spawn(Shared::zeroed(LEN).unwrap(), look).join().unwrap();
    for _ in 0..20 {
        let (len, byte, resident) = pool.spawn(large.clone(), look).join().unwrap();
        assert_eq!((len, byte), (LEN, 0));
        assert!(resident < before + (10 << 20), "{resident} bytes, {before} before");
    }
    pool.shutdown();
}

#[test]
fn tasks_leave_no_descriptors_in_their_worker() {
    let pool = process::Pool::new(1);
    let count = |_: Vec<Shared<u8>>| descriptors();
    let some = || (0..9).map(|n| Shared::new(n).unwrap()).collect::<Vec<_>>();
    let first = pool.spawn(some(), count).join().unwrap();
    for _ in 0..50 {
        assert_eq!(pool.spawn(some(), count).join().unwrap(), first);
    }
    pool.shutdown();
}

#[test]
fn more_than_travel_together_are_told() {
    let pool = process::Pool::new(1);
    for count in [250, 254] {
        let many: Vec<_> = (0..count).map(|_| Shared::new(1_u8).unwrap()).collect();
        let sum = |many: Vec<Shared<u8>>| many.iter().map(|one| u32::from(**one)).sum::<u32>();
        match pool.spawn(many, sum).join() {
            Ok(sum) => assert_eq!((sum, count), (250, 250)),
            Err(error) => assert!(count > 250 && error.to_string().contains("at most"), "{error}"),
        }
        assert_eq!(pool.spawn(vec![Shared::new(1_u8).unwrap()], sum).join().unwrap(), 1);
    }
    pool.shutdown();
}
