//! What crosses between master, template and worker, and the memory and spinning that carries it.
//!
//! | file | contents |
//! |---|---|
//! | `frames.rs` | the protocol: packets, frames, records |
//! | `reader.rs` | frames from a stream of bytes |
//! | `ring.rs` | records in memory shared by two processes |
//! | `rings.rs` | the pair of rings of a master and a worker, and who is notified of what |
//! | `board.rs` | the shared page that says which task each worker runs |
//! | `spin.rs` | looking a while before sleeping |

pub(super) mod board;
mod frames;
pub(super) mod reader;
pub(super) mod ring;
pub(super) mod rings;
pub(super) mod spin;

pub(super) use frames::{
    Call, Failure, ForkReply, ForkRequest, Frame, FrameKind, HEAD, Handshake, Head, LONG_PACKET,
    LONGEST, MAGIC, PACKET, RECORD_HEAD, REST, TemplateSays, begin, finish, frame, half, head,
    item_head, next_item, word,
};
