//! Shared memory that all processes write.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use super::{SharedError, content};
use crate::sys::memory::sealed::Open;

/// The content of a [`SharedMut`]: an atomic number, an array of them, or `[A]` of either.
///
/// `AtomicBool` and `AtomicPtr` are left out: other processes can write any bytes, and not all
/// bytes are valid values of those.
///
/// ```compile_fail,E0277
/// use std::sync::atomic::AtomicBool;
/// use trine::ipc::SharedMut;
///
/// let flag = SharedMut::<AtomicBool>::zeroed();
/// ```
pub trait Atomics: Sealed {}

impl<T: ?Sized + Sealed> Atomics for T {}

/// # Safety
///
/// Every sequence of `size` bytes is a value, also while other processes write it: the type
/// consists of atomic numbers only.
pub unsafe trait Sealed: Sync + 'static {
    /// Size of an element in bytes.
    const ELEMENT: usize;

    /// Views memory as a value.
    ///
    /// # Safety
    ///
    /// `base` is aligned to 4096 bytes. `len` bytes are accessible there for `'a`, and
    /// [`check`](Sealed::check) has accepted their number.
    unsafe fn from_memory<'a>(base: NonNull<u8>, len: usize) -> &'a Self;

    /// Returns true if memory of that many bytes holds such a value.
    fn check(bytes: usize) -> bool;
}

/// An atomic number, or an array of them.
///
/// # Safety
///
/// The contract of [`Sealed`] holds for `size_of::<Self>()` bytes.
pub unsafe trait Atom: Sync + Sized + 'static {}

// SAFETY: an atomic number is valid whatever its bytes, and may be written by others meanwhile.
unsafe impl Atom for AtomicU8 {}
// SAFETY: as above.
unsafe impl Atom for AtomicU16 {}
// SAFETY: as above.
unsafe impl Atom for AtomicU32 {}
// SAFETY: as above.
unsafe impl Atom for AtomicU64 {}
// SAFETY: as above.
unsafe impl Atom for AtomicUsize {}
// SAFETY: as above.
unsafe impl Atom for AtomicI8 {}
// SAFETY: as above.
unsafe impl Atom for AtomicI16 {}
// SAFETY: as above.
unsafe impl Atom for AtomicI32 {}
// SAFETY: as above.
unsafe impl Atom for AtomicI64 {}
// SAFETY: as above.
unsafe impl Atom for AtomicIsize {}
// SAFETY: an array consists of its atoms, without padding.
unsafe impl<A: Atom, const N: usize> Atom for [A; N] {}

// SAFETY: the contract of `Atom` is that of `Sealed`.
unsafe impl<A: Atom> Sealed for A {
    const ELEMENT: usize = size_of::<A>();

    unsafe fn from_memory<'a>(base: NonNull<u8>, _: usize) -> &'a A {
        // SAFETY: the caller guarantees the bytes for `'a`, and the alignment (no atomic number
        // needs more than 8).
        unsafe { base.cast().as_ref() }
    }

    fn check(bytes: usize) -> bool {
        bytes == size_of::<A>()
    }
}

// SAFETY: a slice consists of its atoms, without padding.
unsafe impl<A: Atom> Sealed for [A] {
    const ELEMENT: usize = size_of::<A>();

    unsafe fn from_memory<'a>(base: NonNull<u8>, len: usize) -> &'a [A] {
        // SAFETY: as above; the division rounds down, so the slice never exceeds `len` bytes.
        unsafe { slice::from_raw_parts(base.cast().as_ptr(), len / size_of::<A>()) }
    }

    fn check(bytes: usize) -> bool {
        bytes.is_multiple_of(size_of::<A>())
    }
}

/// Atomic numbers in memory that several processes read and write: counters, flags, the progress of
/// many workers.
///
/// Like a [`Shared`](super::Shared), it goes to another process as a descriptor. Each process that
/// has it can write any number at any time. So a number read from it is untrusted, and must be
/// checked before it is used as an index.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use trine::ipc::SharedMut;
///
/// let counts = SharedMut::<[AtomicU64]>::zeroed(16)?;
/// let same = counts.clone();
/// same[3].fetch_add(1, Ordering::Relaxed);
/// assert_eq!(counts[3].load(Ordering::Relaxed), 1);
/// # Ok::<(), trine::ipc::SharedError>(())
/// ```
pub struct SharedMut<T: ?Sized> {
    pub(super) memory: Arc<Open>,
    content: PhantomData<Arc<T>>,
}

impl<T: Atomics> SharedMut<T> {
    /// Creates memory of one value, all zeroes.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use trine::ipc::SharedMut;
    ///
    /// let stop = SharedMut::<AtomicU32>::zero()?;
    /// stop.store(1, Ordering::Release);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`Shared::build`](super::Shared::build) does.
    pub fn zero() -> Result<SharedMut<T>, SharedError> {
        SharedMut::with_bytes(T::ELEMENT)
    }
}

impl<A> SharedMut<[A]>
where
    [A]: Atomics,
{
    /// Creates memory of `len` values, all zeroes.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicI32, Ordering};
    /// use trine::ipc::SharedMut;
    ///
    /// let table = SharedMut::<[[AtomicI32; 2]]>::zeroed(10)?;
    /// table[9][1].store(-1, Ordering::Relaxed);
    /// assert_eq!(table.len(), 10);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`Shared::build`](super::Shared::build) does.
    pub fn zeroed(len: usize) -> Result<SharedMut<[A]>, SharedError> {
        SharedMut::with_bytes(content::size_of_elements::<A>(len)?)
    }
}

impl<T: ?Sized + Atomics> SharedMut<T> {
    fn with_bytes(bytes: usize) -> Result<SharedMut<T>, SharedError> {
        const { assert!(T::ELEMENT > 0, "an array of length 0 has nothing to share") };
        let memory = Arc::new(Open::new(bytes).map_err(SharedError::of_new(bytes))?);
        Ok(SharedMut { memory, content: PhantomData })
    }
}

impl<T: ?Sized + Atomics> Deref for SharedMut<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the mapping is page-aligned, lives as long as `self.memory`, and neither moves
        // nor shrinks. Its size was checked when it was made or attached.
        unsafe { T::from_memory(self.memory.base(), self.memory.len()) }
    }
}

impl<T: ?Sized> Clone for SharedMut<T> {
    fn clone(&self) -> SharedMut<T> {
        SharedMut { memory: Arc::clone(&self.memory), content: PhantomData }
    }
}

/// The descriptor of the memory, as for [`Shared`](super::Shared#between-unrelated-programs). The
/// memory is sealed against a change of its size.
impl<T: ?Sized> AsFd for SharedMut<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Attaches to memory that any program has made.
///
/// # Errors
///
/// Fails if it is not memory of ordinary pages, is not sealed (`F_SEAL_SHRINK`, `GROW` and `SEAL`),
/// is sealed against writing, or has a size that does not fit the type.
impl<T: ?Sized + Atomics> TryFrom<OwnedFd> for SharedMut<T> {
    type Error = SharedError;

    fn try_from(descriptor: OwnedFd) -> Result<SharedMut<T>, SharedError> {
        const { assert!(T::ELEMENT > 0, "an array of length 0 has nothing to share") };
        let memory = Open::attach(descriptor)?;
        content::check_size(T::ELEMENT, memory.len(), T::check(memory.len()))?;
        Ok(SharedMut { memory: Arc::new(memory), content: PhantomData })
    }
}

impl<T: ?Sized + Atomics + fmt::Debug> fmt::Debug for SharedMut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
