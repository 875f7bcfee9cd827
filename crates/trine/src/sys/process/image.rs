//! The program's image in memory: its load address, and the fingerprint of its build.
//!
//! A function crosses to a worker process as its offset from the load address, because both run
//! the same file and only the load address differs (address space layout randomisation).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug)]
struct Image {
    base: usize,
    end: usize,
    /// The bounds of its readable code.
    code: (usize, usize),
    /// The bounds of all of its code.
    executable: (usize, usize),
    fingerprint: u64,
}

/// Returns the address at which the main program was loaded.
pub(crate) fn base() -> usize {
    image().base
}

/// Returns true if `address` lies within the main program, not in a shared library.
pub(crate) fn contains(address: usize) -> bool {
    (image().base..image().end).contains(&address)
}

/// Returns true if `address` lies within the code of the main program.
pub(crate) fn is_code(address: usize) -> bool {
    (image().executable.0..image().executable.1).contains(&address)
}

/// Returns the `N` bytes before `address`, if they are code of the main program.
pub(in crate::sys) fn code_before<const N: usize>(address: usize) -> Option<[u8; N]> {
    let (begin, end) = image().code;
    let at = address.checked_sub(N)?;
    if at < begin || address > end {
        return None;
    }
    // SAFETY: within the program's executable segment, which is mapped readable and stays.
    Some(unsafe { (at as *const [u8; N]).read() })
}

/// Returns a number that two processes share when they run the same build of the same program.
///
/// It digests the linker's build id, if there is one, and the layout of the program's segments.
pub(crate) fn fingerprint() -> u64 {
    image().fingerprint
}

/// Returns the [`fingerprint`] of a process that runs `file`.
///
/// # Errors
///
/// If the file cannot be read, or is not a program of this machine's format.
pub(crate) fn fingerprint_of(file: &File) -> io::Result<u64> {
    let mut start = [0_u8; size_of::<libc::Elf64_Ehdr>()];
    file.read_exact_at(&mut start, 0)?;
    if start[..5] != *b"\x7fELF\x02" {
        return Err(io::Error::other("it is no 64-bit ELF program"));
    }
    // The offsets of the fields are those of `Elf64_Ehdr` and `Elf64_Phdr` of <elf.h>.
    let table = word(&start, 32);
    let (size, count) = (half(&start, 54), half(&start, 56));
    let mut hash = Fnv::new();
    for index in 0..u64::from(count) {
        let mut header = [0_u8; size_of::<libc::Elf64_Phdr>()];
        file.read_exact_at(&mut header, table + index * u64::from(size))?;
        let kind = u32::from(half(&header, 0)) | u32::from(half(&header, 2)) << 16;
        let memory_size = word(&header, 40);
        hash.header(kind, word(&header, 16), memory_size);
        if kind == libc::PT_NOTE {
            if memory_size > 1 << 20 {
                return Err(io::Error::other("its notes are absurdly long"));
            }
            let mut note = vec![0_u8; memory_size as usize];
            file.read_exact_at(&mut note, word(&header, 8))?;
            hash.bytes(&note);
        }
    }
    Ok(hash.0)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Returns the path by which the program was started (`AT_EXECFN`). It is relative to the directory
/// of that moment, and may lead to another file now.
pub(crate) fn started_as() -> Option<CString> {
    // SAFETY: the string stays where it is, and no code changes it.
    started_as_at().map(|(start, _)| unsafe { CStr::from_ptr(start as *const c_char) }.to_owned())
}

/// Returns the address of that path, and its length.
pub(in crate::sys) fn started_as_at() -> Option<(usize, usize)> {
    // SAFETY: null, or the address of a string that the kernel has put on the first stack, where it
    // stays.
    unsafe {
        let path = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        (!path.is_null()).then(|| (path as usize, CStr::from_ptr(path).count_bytes()))
    }
}

// The bounds of the table of initialisers, as the linker defines them; null where it does not, as
// in a shared library. Two versions of this crate have the same words.
std::arch::global_asm!(
    ".pushsection .data.rel.ro.trine_initialisers, \"aw\"",
    ".weak __init_array_start",
    ".weak __init_array_end",
    ".weak trine_initialisers",
    ".balign 8",
    "trine_initialisers:",
    ".8byte __init_array_start",
    ".8byte __init_array_end",
    ".popsection",
);

unsafe extern "C" {
    #[link_name = "trine_initialisers"]
    static LINKED_BOUNDS: [*const Initialiser; 2];
}

/// Returns the table of a program without a dynamic section, which a static one at a fixed address
/// is.
fn linked_table() -> &'static [Initialiser] {
    // SAFETY: the words above, which the linker has filled.
    let [start, end] = unsafe { (&raw const LINKED_BOUNDS).read() };
    if start.is_null() {
        return &[];
    }
    let len = (end as usize - start as usize) / size_of::<Initialiser>();
    // SAFETY: the table of the program, which is never changed.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// Returns the program's initialisers behind `own` in the loader's table (`DT_INIT_ARRAY`), which
/// have therefore not run when `own` runs.
///
/// Empty if `own` is not in the table.
pub(crate) fn initialisers_behind(own: Initialiser) -> &'static [Initialiser] {
    let mut found: Option<&'static [Initialiser]> = None;
    // SAFETY: `first_table` matches the callback's C signature and gets back the very pointer to
    // `found`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(first_table), (&raw mut found).cast()) };
    let table = found.unwrap_or_else(linked_table);
    match table.iter().position(|&each| each as usize == own as usize) {
        Some(at) => &table[at + 1..],
        None => &[],
    }
}

/// A function that the loader calls before `main`, with the arguments of `main`.
pub(crate) type Initialiser = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Finds the table of the main program, which is the first object reported.
unsafe extern "C" fn first_table(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    found: *mut c_void,
) -> c_int {
    const DT_INIT_ARRAY: u64 = 25;
    const DT_INIT_ARRAYSZ: u64 = 27;
    // SAFETY: the loader passes a valid `info` for the time of the call.
    let info = unsafe { &*info };
    // SAFETY: `dlpi_phdr` points at `dlpi_phnum` program headers of a loaded object.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let load = info.dlpi_addr as usize;
    let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else {
        return 1;
    };
    let at = (load + dynamic.p_vaddr as usize) as *const [u64; 2];
    let count = dynamic.p_memsz as usize / size_of::<[u64; 2]>();
    // SAFETY: PT_DYNAMIC of a loaded object is mapped readable: pairs of a tag and a value.
    let entries = unsafe { std::slice::from_raw_parts(at, count) };
    let value = |tag| entries.iter().find(|entry| entry[0] == tag).map(|entry| entry[1] as usize);
    if let (Some(table), Some(size)) = (value(DT_INIT_ARRAY), value(DT_INIT_ARRAYSZ)) {
        let table = (load + table) as *const Initialiser;
        // SAFETY: the loader's own table of the program, relocated before it calls any of them, and
        // unchanged as long as the program runs.
        let table = unsafe { std::slice::from_raw_parts(table, size / size_of::<Initialiser>()) };
        // SAFETY: `found` is the pointer to the caller's `Option`, exclusively ours here.
        unsafe { *found.cast::<Option<&'static [Initialiser]>>() = Some(table) };
    }
    1
}

fn image() -> Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    *IMAGE.get_or_init(|| {
        let mut found: Option<Image> = None;
        // SAFETY: `first_object` matches the callback's C signature and gets back the very pointer
        // to `found`, which outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(first_object), (&raw mut found).cast()) };
        found.unwrap_or(Image { base: 0, end: 0, code: (0, 0), executable: (0, 0), fingerprint: 0 })
    })
}

/// Describes the main program, which is the first object that `dl_iterate_phdr` reports.
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
    let (mut base, mut end, mut code) = (usize::MAX, 0, (0, 0));
    let mut executable = (usize::MAX, 0);
    const READ_AND_EXECUTE: u32 = libc::PF_R | libc::PF_X;
    for header in headers {
        let at = load + header.p_vaddr as usize;
        hash.header(header.p_type, header.p_vaddr, header.p_memsz);
        if header.p_type == libc::PT_LOAD {
            base = base.min(at);
            end = end.max(at + header.p_memsz as usize);
            if header.p_flags & libc::PF_X != 0 {
                executable.0 = executable.0.min(at);
                executable.1 = executable.1.max(at + header.p_memsz as usize);
            }
            if header.p_flags & READ_AND_EXECUTE == READ_AND_EXECUTE {
                code = (at, at + header.p_memsz as usize);
            }
        } else if header.p_type == libc::PT_NOTE {
            // SAFETY: a PT_NOTE of a loaded object is mapped readable at its address; it holds the
            // build id when the linker made one.
            let note =
                unsafe { std::slice::from_raw_parts(at as *const u8, header.p_memsz as usize) };
            hash.bytes(note);
        }
    }
    let image = Image { base, end, code, executable, fingerprint: hash.0 };
    // SAFETY: `found` is the pointer to the caller's `Option<Image>`, exclusively ours here.
    unsafe { *found.cast::<Option<Image>>() = Some(image) };
    1
}

/// FNV-1a, 64 bit (Fowler, Noll, Vo; draft-eastlake-fnv): distinguishes builds, but is not
/// cryptographic.
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

    /// Digests the layout in memory that a program header describes.
    fn header(&mut self, kind: u32, address: u64, size: u64) {
        self.word(u64::from(kind) ^ (size << 32) ^ address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_are_inside_and_the_c_library_is_not() {
        assert!(contains(image as *const () as usize));
        assert!(!contains(libc::getpid as *const () as usize));
        assert!(
            is_code(image as *const () as usize) && !is_code(libc::getpid as *const () as usize)
        );
        static DATA: OnceLock<u32> = OnceLock::new();
        assert!(!is_code(&raw const DATA as usize) && contains(&raw const DATA as usize));
        assert_ne!(fingerprint(), 0);
    }

    #[test]
    fn the_end_of_the_stack_is_behind_the_path_of_the_program() {
        let (start, len) = started_as_at().unwrap();
        let end = (start + len).next_multiple_of(crate::sys::page_size());
        assert_eq!(crate::sys::memory::stacks::first_stack_end(), Some(end));
    }

    #[test]
    fn the_file_and_the_running_program_have_one_fingerprint() {
        let own = File::open("/proc/self/exe").unwrap();
        assert_eq!(fingerprint_of(&own).unwrap(), fingerprint());
        let other = File::open("/bin/sh").unwrap();
        assert_ne!(fingerprint_of(&other).unwrap(), fingerprint());
        assert!(fingerprint_of(&File::open("/dev/null").unwrap()).is_err());
    }
}
