//! The system calls that a sandbox denies.
//!
//! The lists name the calls that are denied, not those that are allowed, as a task may run any
//! code. Calls that are newer than these lists are refused by their number (`LAST`).

use libc::c_long;

use super::filter::{Condition, Deny};

/// The newest system call that these lists consider: `file_setattr`, Linux 6.17. From number 424
/// on, all architectures have the same numbers.
pub(super) const LAST: u32 = 469;

/// Calls that are too new for the `libc` crate, or missing there on one of the architectures.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// Calls that bypass every filter, and which a task's libraries may try in good faith: refused,
/// never deadly. No filter sees the operations of io_uring.
pub(super) const PROBED: &[c_long] =
    &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// A call that the C library replaces by `clone` if it is missing. Its arguments are in memory,
/// where a filter cannot read them.
pub(super) const MISSING: &[c_long] = &[libc::SYS_clone3];

/// Calls denied in every sandbox.
pub(super) const ALWAYS: &[c_long] = &[
    // Other processes: their memory, their descriptors, their pages.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_perf_event_open,
    // The kernel and the machine.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    // Keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Opening files without a name, and watching all files.
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Objects that programs of this user share by a name that is not a file's.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Calls that replace this program by another.
pub(super) const PROGRAMS: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// Changing owner, permissions, times and attributes of a file by its name: Landlock does not check
/// these.
pub(super) const ATTRIBUTES_BY_NAME: &[c_long] = &[
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
];

/// The same through a descriptor, for which one opened for reading suffices.
pub(super) const ATTRIBUTES_BY_DESCRIPTOR: &[c_long] =
    &[libc::SYS_fchmod, libc::SYS_fchown, libc::SYS_fsetxattr, libc::SYS_fremovexattr];

/// Calls that only one architecture has.
#[cfg(target_arch = "x86_64")]
pub(super) mod old {
    use libc::c_long;

    pub(in super::super) const ALWAYS: &[c_long] = &[
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_modify_ldt,
        libc::SYS_uselib,
        libc::SYS_sysfs,
        libc::SYS__sysctl,
    ];
    pub(in super::super) const PROCESSES: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
    pub(in super::super) const ATTRIBUTES_BY_NAME: &[c_long] = &[
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_futimesat,
    ];
}

/// Calls that only one architecture has.
#[cfg(not(target_arch = "x86_64"))]
pub(super) mod old {
    use libc::c_long;

    pub(in super::super) const ALWAYS: &[c_long] = &[];
    pub(in super::super) const PROCESSES: &[c_long] = &[];
    pub(in super::super) const ATTRIBUTES_BY_NAME: &[c_long] = &[];
}

/// The bits of `clone` that make a namespace.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// `ioctl`s that act on other processes: typing into a terminal (`TIOCSTI`, `TIOCLINUX`), and
/// choosing the receiver of a descriptor's signals (`FIOSETOWN`, `SIOCSPGRP`).
const FOREIGN_IOCTLS: [u32; 4] = [0x5412, 0x541c, 0x8901, 0x8902];

/// `ioctl`s that set flags, attributes and the version of a file: `FS_IOC_SETFLAGS`,
/// `FS_IOC_FSSETXATTR`, `FS_IOC_SETVERSION` of `<linux/fs.h>`.
const ATTRIBUTE_IOCTLS: [u32; 3] = [0x4008_6602, 0x401c_5820, 0x4008_7602];

/// `ioctl`s that change a file or directory that is open for reading only, and that Landlock does
/// not check.
///
/// `FS_IOC_ENABLE_VERITY` (the file can never be written again), `FS_IOC_SET_ENCRYPTION_POLICY`,
/// and subvolumes of btrfs: `SNAP_CREATE`, `SUBVOL_CREATE`, `SNAP_DESTROY`, their second versions,
/// `SUBVOL_SETFLAGS` of `<linux/btrfs.h>`.
const CONTENT_IOCTLS: [u32; 9] = [
    0x4080_6685,
    0x800c_6613,
    0x5000_9401,
    0x5000_940e,
    0x5000_940f,
    0x5000_9417,
    0x5000_9418,
    0x5000_943f,
    0x4008_941a,
];

/// `F_SETOWN_EX` of `<asm-generic/fcntl.h>`.
const F_SETOWN_EX: u32 = 15;

const PRIO_PROCESS: u32 = 0;
const IOPRIO_WHO_PROCESS: u32 = 1;

/// Returns the calls denied in every sandbox for certain arguments; `own` is the caller's process
/// id.
pub(super) fn deny_always(own: u32) -> Vec<Deny> {
    use Condition::{Bits, Is, Not};
    let mut denied = Vec::new();
    for bit in NAMESPACES {
        let bit = bit.cast_unsigned();
        denied.push(Deny::when(libc::SYS_clone, [Bits(0, bit, bit)]));
    }
    for request in FOREIGN_IOCTLS {
        denied.push(Deny::when(libc::SYS_ioctl, [Is(1, request)]));
    }
    for command in [libc::F_SETOWN.cast_unsigned(), F_SETOWN_EX] {
        denied.push(Deny::when(libc::SYS_fcntl, [Is(1, command)]));
    }
    // The argument is the target process; 0 is the caller.
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
        libc::SYS_get_robust_list,
    ] {
        denied.push(Deny::when(call, [Not(0, 0), Not(0, own)]));
    }
    for (call, process) in
        [(libc::SYS_setpriority, PRIO_PROCESS), (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS)]
    {
        denied.push(Deny::when(call, [Not(0, process)]));
        denied.push(Deny::when(call, [Not(1, 0), Not(1, own)]));
    }
    // The parent-death signal stays SIGKILL, which cannot be blocked.
    let death =
        [Is(0, libc::PR_SET_PDEATHSIG.cast_unsigned()), Not(1, libc::SIGKILL.cast_unsigned())];
    denied.push(Deny::when(libc::SYS_prctl, death));
    denied.push(Deny::when(libc::SYS_personality, [Not(0, 0), Not(0, u32::MAX)]));
    denied
}

/// Denies new processes, but not new threads.
pub(super) fn deny_processes() -> Vec<Deny> {
    let thread = libc::CLONE_THREAD.cast_unsigned();
    vec![Deny::when(libc::SYS_clone, [Condition::Bits(0, thread, 0)])]
}

/// Denies sockets, except for a pair whose ends stay connected to each other.
pub(super) fn deny_network() -> Vec<Deny> {
    const KINDS: u32 = 0xf;
    let pair = libc::SYS_socketpair;
    let kind = |kind: i32| [Condition::Bits(1, KINDS, kind.cast_unsigned())];
    vec![
        Deny::all(libc::SYS_socket),
        Deny::when(pair, [Condition::Not(0, libc::AF_UNIX.cast_unsigned())]),
        // A datagram socket can be connected again, and send to any name.
        Deny::when(pair, kind(libc::SOCK_DGRAM)),
        Deny::when(pair, kind(libc::SOCK_RAW)),
    ]
}

/// Denies signals to any process but the caller's, for kernels whose Landlock does not.
pub(super) fn deny_signals(own: u32) -> Vec<Deny> {
    let by_process =
        [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo];
    let mut denied: Vec<_> =
        by_process.map(|call| Deny::when(call, [Condition::Not(0, own)])).into();
    denied.extend([libc::SYS_tkill, libc::SYS_pidfd_send_signal].map(Deny::all));
    denied
}

/// Denies setting the flags of a file through a descriptor.
pub(super) fn deny_attributes() -> Vec<Deny> {
    ATTRIBUTE_IOCTLS.map(|request| Deny::when(libc::SYS_ioctl, [Condition::Is(1, request)])).into()
}

/// Denies setting the times of a file by its name; without a name the call concerns a descriptor.
pub(super) fn deny_times() -> Vec<Deny> {
    vec![Deny::when(libc::SYS_utimensat, [Condition::Pointer(1)])]
}

/// Denies changes that Landlock allows to files and directories open for reading only.
pub(super) fn deny_content() -> Vec<Deny> {
    CONTENT_IOCTLS.map(|request| Deny::when(libc::SYS_ioctl, [Condition::Is(1, request)])).into()
}
