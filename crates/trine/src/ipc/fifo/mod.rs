//! Named pipes.
//!
//! | | with io_uring | without |
//! |---|---|---|
//! | `open_writer` | opens at once if there is a reader; else a kernel thread sleeps in `open` | retries after 1 ms, then less often, up to 16 ms apart |
//! | `open_reader` | a kernel thread sleeps in `open` | opens at once; looks for a writer after 1 ms, then less often, up to 16 ms apart |
//! | `try_open_reader` | opens at once; the first read waits for a writer | the same |
//!
//! Three alternatives do not work:
//!
//! - inotify reports an `open` when it returns. Two ends that both wait for the other's event would
//!   wait forever.
//! - `O_RDWR` creates a reader that other programs take for a real one.
//! - A thread of this process that sleeps in `open` can only be woken by a signal, and signals
//!   belong to the program.
//!
//! An interrupted opening is cancelled, and its completion is awaited. If it has opened its end
//! meanwhile, that end is kept and the call succeeds. So no other program sees an end appear and
//! vanish, unless it was opened without waiting.
//!
//! | file | contents |
//! |---|---|
//! | `ends.rs` | [`Fifo`]: opening its ends |
//! | `options.rs` | opening or creating the FIFO: [`FifoOptions`], [`Fifo::open`] |

mod ends;
mod options;

pub use ends::Fifo;
pub use options::FifoOptions;
