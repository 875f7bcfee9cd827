//! The rows of the table, one file each.

mod crowd;
mod idle;
mod os_thread;
mod spawn_join;
mod yielding;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ALL: [&Row; 5] =
    [&yielding::ROW, &crowd::ROW, &spawn_join::ROW, &os_thread::ROW, &idle::ROW];
