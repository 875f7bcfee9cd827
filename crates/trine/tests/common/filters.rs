//! Filters by which the kernel refuses a system call.

/// Makes the kernel answer `call` by `action`, for this thread and those that it starts.
pub fn filter(call: libc::c_long, action: u32) {
    let code = |code: u32| u16::try_from(code).unwrap();
    let statement = |operation, k| libc::sock_filter { code: code(operation), jt: 0, jf: 0, k };
    let mut filter = [
        // The number of the system call comes first in the filter's input.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            jt: 0,
            jf: 1,
            k: u32::try_from(call).unwrap(),
        },
        statement(libc::BPF_RET | libc::BPF_K, action),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program =
        libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter live until the calls return, which copy them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

/// Makes the kernel fail `call` with `errno`, for this thread and those that it starts.
pub fn refuse(call: libc::c_long, errno: i32) {
    filter(call, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs());
}
