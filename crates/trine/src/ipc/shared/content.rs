//! The types that shared memory can hold: one value, or a slice of them.

use bytemuck::Pod;

use super::SharedError;
use crate::sys::memory::sealed::ALIGNMENT;

/// The content of a [`Shared`](super::Shared): a [`Pod`] type `T`, or `[T]`.
///
/// ```
/// use trine::ipc::{Content, Shared};
///
/// fn show<T: ?Sized + Content + std::fmt::Debug>(shared: &Shared<T>) -> String {
///     format!("{shared:?}")
/// }
/// assert_eq!(show(&Shared::new(7_u8)?), "7");
/// assert_eq!(show(&Shared::from_slice(&[1_i64, 2])?), "[1, 2]");
/// # Ok::<(), trine::ipc::SharedError>(())
/// ```
pub trait Content: Sealed {}

impl<T: Pod> Content for T {}
impl<T: Pod> Content for [T] {}

/// The view of a memory's bytes as a value.
pub trait Sealed {
    /// The type of an element.
    type Element: Pod;

    /// Views bytes as a value. [`check`](Sealed::check) has accepted their number.
    fn from_bytes(bytes: &[u8]) -> &Self;

    /// Checks that memory of that many bytes holds such a value.
    ///
    /// # Errors
    ///
    /// Fails with [`SharedError::Size`] if not.
    fn check(bytes: usize) -> Result<(), SharedError>;
}

impl<T: Pod> Sealed for T {
    type Element = T;

    fn from_bytes(bytes: &[u8]) -> &T {
        bytemuck::from_bytes(bytes)
    }

    fn check(bytes: usize) -> Result<(), SharedError> {
        check_size(size_of::<T>(), bytes, bytes == size_of::<T>())
    }
}

impl<T: Pod> Sealed for [T] {
    type Element = T;

    fn from_bytes(bytes: &[u8]) -> &[T] {
        bytemuck::cast_slice(bytes)
    }

    fn check(bytes: usize) -> Result<(), SharedError> {
        check_size(size_of::<T>(), bytes, bytes.is_multiple_of(size_of::<T>()))
    }
}

pub(super) fn check_size(expected: usize, found: usize, fits: bool) -> Result<(), SharedError> {
    if fits { Ok(()) } else { Err(SharedError::Size { expected, found }) }
}

/// Fails to compile for a type that shared memory cannot hold.
pub(super) const fn assert_element<T>() {
    const {
        assert!(size_of::<T>() > 0, "a type without a size has nothing to share");
        assert!(align_of::<T>() <= ALIGNMENT, "shared memory is aligned to 4096 bytes, no further");
    }
}

/// Returns the size of `len` elements.
pub(super) fn size_of_elements<T>(len: usize) -> Result<usize, SharedError> {
    let bytes = len.checked_mul(size_of::<T>());
    bytes.filter(|bytes| *bytes <= isize::MAX as usize).ok_or(SharedError::TooLarge)
}
