//! [`Portable`]: the values that cross between processes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that can cross to another process and back: owned, with serde's two traits.
///
/// Every such type has this trait. It exists for the compiler's message about types that lack
/// `Serialize` or `Deserialize`, such as `&String`.
///
/// `&str` can be decoded from a text that outlives it. So the compiler says of it that an
/// "implementation of `Deserialize` is not general enough", which means the same: pass a `String`.
///
/// ```
/// use trine::{Executor, Task, process::Portable};
///
/// fn twice<T: Portable>(executor: &impl Executor, value: T) -> Task<(T, T)>
/// where
///     T: Clone,
/// {
///     executor.spawn(value, |value| (value.clone(), value))
/// }
/// assert_eq!(twice(&trine::Kind::Process, 7).join()?, (7, 7));
/// # Ok::<(), trine::TaskError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross to a task that may run in another process",
    label = "not an owned value that serde encodes and decodes",
    note = "arguments and results have to be owned, as nothing is shared with another process: \
            pass `String` for `&str` or `&String`, and `Vec<T>` for `&[T]`",
    note = "the trait needs `{Self}: serde::Serialize + serde::de::DeserializeOwned + Send + \
            'static`; most types derive `Serialize` and `Deserialize`"
)]
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}
