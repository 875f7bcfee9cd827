//! Fingerprints of types that travel between processes.

use std::any;

/// Returns a hash of the type's name and size, by which two processes detect that they disagree
/// about the type. No safety rests on it.
pub(super) fn fingerprint<T: ?Sized>(size: usize) -> u64 {
    // FNV-1a.
    let name = any::type_name::<T>().bytes().chain((size as u64).to_le_bytes());
    name.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
