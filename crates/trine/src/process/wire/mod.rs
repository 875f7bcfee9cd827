//! The wire between master, template and worker: the protocol, and the shared memory that carries
//! it.
//!
//! | file | contents |
//! |---|---|
//! | `frames.rs` | the protocol: packets, frames, records |
//! | `reader.rs` | frames from a stream of bytes |
//! | `ring.rs` | records in memory shared by two processes |
//! | `rings.rs` | the memory of a master and a worker: two rings, and their notifications |
//! | `board.rs` | the part of it that says which task the worker runs |
//! | `spin.rs` | spinning for a moment before a sleep |

pub(super) mod board;
mod frames;
pub(super) mod reader;
pub(super) mod ring;
pub(super) mod rings;
pub(super) mod spin;

pub(super) use frames::{
    Call, Failure, ForkReply, ForkRequest, Frame, FrameKind, HEAD, Handshake, Head, LONG_PACKET,
    LONGEST_FAILURE, PACKET, RECORD_HEAD, REST, TemplateReply, begin, cut, finish, frame, head,
    item_head, next_item,
};
use frames::{LONGEST, MAGIC, u32_at, u64_at};
