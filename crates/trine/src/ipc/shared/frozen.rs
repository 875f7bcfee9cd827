//! Memory that nothing can change any more.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytemuck::Pod;

use super::content::{self, Content};
use super::error::SharedError;
use crate::sys::memory::sealed::{Draft, Frozen};

/// A value, or with `[T]` a slice of values, in memory that several processes share. As an argument
/// or result of a process task it travels as a descriptor, in microseconds at any size.
///
/// Nothing can change the value once it is made, not even its creator: the memory is sealed, and
/// the receiver checks that. So it is read through `Deref`, as any other value. A
/// [`SharedMut`](super::SharedMut) holds values that several processes write.
///
/// A clone is another handle of the same memory. Each memory takes one descriptor. The memory is
/// freed when the last handle in any process is dropped.
///
/// ```
/// use trine::ipc::Shared;
///
/// let squares = Shared::build(1000, |squares: &mut [u64]| {
///     for (n, square) in squares.iter_mut().enumerate() {
///         *square = (n * n) as u64;
///     }
/// })?;
/// assert_eq!(squares[999], 998_001);
/// # Ok::<(), trine::ipc::SharedError>(())
/// ```
///
/// ```
/// use trine::ipc::Shared;
/// use trine::process;
///
/// let numbers = Shared::from_slice(&[1_u64; 100_000])?;
/// let sum = process::spawn(numbers, |numbers: Shared<[u64]>| numbers.iter().sum::<u64>());
/// assert_eq!(sum.join()?, 100_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Types that it can hold
///
/// `T` must be [`Pod`]: any bytes are a valid value, and no part of it is a pointer. This holds for
/// numbers, arrays of them, and structures of them that derive it. The crate `bytemuck` is
/// re-exported as [`trine::ipc::bytemuck`](crate::ipc::bytemuck):
///
/// ```
/// use trine::ipc::Shared;
/// use trine::ipc::bytemuck::{Pod, Zeroable};
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "trine::ipc::bytemuck")]
/// #[repr(C)]
/// struct Pixel {
///     red: u8,
///     green: u8,
///     blue: u8,
/// }
///
/// let image = Shared::<[Pixel]>::zeroed(640 * 480)?;
/// assert_eq!(image[0].red, 0);
/// # Ok::<(), trine::ipc::SharedError>(())
/// ```
///
/// Types without a size, and types with an alignment above 4096 bytes, do not compile:
///
/// ```compile_fail,E0080
/// let nothing = trine::ipc::Shared::new(());
/// ```
///
/// # Between unrelated programs
///
/// The descriptor ([`AsFd`]) is one of a sealed `memfd` of exactly the values' size. It can be sent
/// over a Unix socket, or inherited, and becomes a `Shared` again by `TryFrom<OwnedFd>`:
///
/// ```
/// use trine::ipc::Shared;
/// use std::os::fd::AsFd;
///
/// let numbers = Shared::from_slice(&[1_u32, 2, 3])?;
/// let descriptor = numbers.as_fd().try_clone_to_owned().unwrap();
///
/// let same = Shared::<[u32]>::try_from(descriptor)?;
/// assert_eq!(same[..], [1, 2, 3]);
/// # Ok::<(), trine::ipc::SharedError>(())
/// ```
pub struct Shared<T: ?Sized> {
    pub(super) memory: Arc<Frozen>,
    /// `Send` and `Sync` as an `Arc` of the content is.
    content: PhantomData<Arc<T>>,
}

impl<T: Pod> Shared<T> {
    /// Shares a value.
    ///
    /// ```
    /// let pi = trine::ipc::Shared::new(3.14_f64)?;
    /// assert_eq!(*pi, 3.14);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`Shared::build`] does.
    pub fn new(value: T) -> Result<Shared<T>, SharedError> {
        let memory = make::<T>(1, |place| place[0] = value)?;
        Ok(Shared { memory, content: PhantomData })
    }
}

impl<T: Pod> Shared<[T]> {
    /// Shares `len` values that `fill` writes; they are zeroes when it begins. The only way without
    /// a copy.
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io::Read;
    /// use trine::ipc::Shared;
    ///
    /// let mut zeroes = File::open("/dev/zero")?;
    /// let mut read = Ok(());
    /// let bytes = Shared::build(4096, |bytes: &mut [u8]| read = zeroes.read_exact(bytes))?;
    /// read?;
    /// assert_eq!(bytes.len(), 4096);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if no memory or descriptor is left, and if the size is beyond a limit. The pages are
    /// allocated here, so that later accesses cannot fail.
    pub fn build(len: usize, fill: impl FnOnce(&mut [T])) -> Result<Shared<[T]>, SharedError> {
        Ok(Shared { memory: make(len, fill)?, content: PhantomData })
    }

    /// Shares a copy of `values`.
    ///
    /// ```
    /// let primes = trine::ipc::Shared::from_slice(&[2_u32, 3, 5, 7])?;
    /// assert_eq!(primes.iter().sum::<u32>(), 17);
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`build`](Self::build) does.
    pub fn from_slice(values: &[T]) -> Result<Shared<[T]>, SharedError> {
        Shared::build(values.len(), |place| place.copy_from_slice(values))
    }

    /// Shares `len` values of zeroes.
    ///
    /// ```
    /// let page = trine::ipc::Shared::<[u8]>::zeroed(4096)?;
    /// assert!(page.iter().all(|byte| *byte == 0));
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`build`](Self::build) does.
    pub fn zeroed(len: usize) -> Result<Shared<[T]>, SharedError> {
        Shared::build(len, |_| {})
    }
}

fn make<T: Pod>(len: usize, fill: impl FnOnce(&mut [T])) -> Result<Arc<Frozen>, SharedError> {
    content::assert_element::<T>();
    let bytes = content::size_of_elements::<T>(len)?;
    let failed = SharedError::of_new(bytes);
    let mut draft = Draft::new(bytes).map_err(&failed)?;
    fill(bytemuck::cast_slice_mut(draft.bytes()));
    draft.freeze().map(Arc::new).map_err(failed)
}

impl<T: ?Sized> Shared<T> {
    /// Returns true if both are handles of the same mapping.
    ///
    /// ```
    /// use trine::ipc::Shared;
    ///
    /// let one = Shared::new(1_u8)?;
    /// assert!(Shared::ptr_eq(&one, &one.clone()));
    /// assert!(!Shared::ptr_eq(&one, &Shared::new(1_u8)?));
    /// # Ok::<(), trine::ipc::SharedError>(())
    /// ```
    pub fn ptr_eq(this: &Shared<T>, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&this.memory, &other.memory)
    }
}

impl<T: ?Sized + Content> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        T::from_bytes(self.memory.bytes())
    }
}

impl<T: ?Sized + Content> AsRef<T> for Shared<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared { memory: Arc::clone(&self.memory), content: PhantomData }
    }
}

/// The descriptor of the memory; see [above](Shared#between-unrelated-programs).
impl<T: ?Sized> AsFd for Shared<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Attaches to memory that any program has made.
///
/// # Errors
///
/// Fails if it is not memory of ordinary pages, is not sealed (`F_SEAL_SHRINK`, `GROW`, `WRITE` and
/// `SEAL`), or has a size that does not fit the type.
impl<T: ?Sized + Content> TryFrom<OwnedFd> for Shared<T> {
    type Error = SharedError;

    fn try_from(descriptor: OwnedFd) -> Result<Shared<T>, SharedError> {
        content::assert_element::<T::Element>();
        let memory = Frozen::attach(descriptor)?;
        T::check(memory.bytes().len())?;
        Ok(Shared { memory: Arc::new(memory), content: PhantomData })
    }
}

impl<T: ?Sized + Content + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + Content + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Content + Eq> Eq for Shared<T> {}

impl<T: ?Sized + Content + Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}
