//! The program's own image in memory: where it was loaded, and how to tell it from another build.
//!
//! A function crosses to a worker process as its offset from the load address, because both run
//! the same file and only the load address differs (address space layout randomisation).

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug)]
struct Image {
    base: usize,
    end: usize,
    fingerprint: u64,
}

/// The address at which the main program was loaded.
pub(crate) fn base() -> usize {
    image().base
}

/// Whether `address` lies within the main program, not in a shared library.
pub(crate) fn contains(address: usize) -> bool {
    (image().base..image().end).contains(&address)
}

/// A number that two processes share when they run the same build of the same program.
///
/// It digests the linker's build id where there is one, and in any case the layout of the program's
/// segments.
pub(crate) fn fingerprint() -> u64 {
    image().fingerprint
}

fn image() -> Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    *IMAGE.get_or_init(|| {
        let mut found: Option<Image> = None;
        // SAFETY: `first_object` matches the callback's C signature and gets back the very pointer
        // to `found`, which outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(first_object), (&raw mut found).cast()) };
        found.unwrap_or(Image { base: 0, end: 0, fingerprint: 0 })
    })
}

/// The first object that `dl_iterate_phdr` reports is the main program.
unsafe extern "C" fn first_object(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid `info` for the time of the call.
    let info = unsafe { &*info };
    // SAFETY: `dlpi_phdr` points at `dlpi_phnum` program headers of a loaded object.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let load = info.dlpi_addr as usize;
    let mut hash = Fnv::new();
    let (mut base, mut end) = (usize::MAX, 0);
    for header in headers {
        let at = load + header.p_vaddr as usize;
        hash.word(u64::from(header.p_type) ^ (header.p_memsz << 32) ^ header.p_vaddr);
        if header.p_type == libc::PT_LOAD {
            base = base.min(at);
            end = end.max(at + header.p_memsz as usize);
        } else if header.p_type == libc::PT_NOTE {
            // SAFETY: a PT_NOTE of a loaded object is mapped readable at its address; it holds the
            // build id when the linker made one.
            let note =
                unsafe { std::slice::from_raw_parts(at as *const u8, header.p_memsz as usize) };
            hash.bytes(note);
        }
    }
    // SAFETY: `found` is the pointer to the caller's `Option<Image>`, exclusively ours here.
    unsafe { *found.cast::<Option<Image>>() = Some(Image { base, end, fingerprint: hash.0 }) };
    1
}

/// FNV-1a, 64 bit (Fowler, Noll, Vo; draft-eastlake-fnv): tells builds apart, resists nobody.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn word(&mut self, word: u64) {
        self.bytes(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_are_inside_and_the_c_library_is_not() {
        assert!(contains(image as *const () as usize));
        assert!(!contains(libc::getpid as *const () as usize));
        assert_ne!(fingerprint(), 0);
    }
}
