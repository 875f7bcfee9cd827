//! Random numbers that no program can guess.

use std::io;

/// Returns 128 bits from the kernel's generator.
pub(crate) fn token() -> io::Result<u128> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the kernel writes at most the 16 bytes that are there.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 16 { Ok(u128::from_ne_bytes(bytes)) } else { Err(io::Error::last_os_error()) }
}
