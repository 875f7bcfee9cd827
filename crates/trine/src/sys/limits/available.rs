//! The memory that can be taken now.

use std::fs;

use super::cgroup;

/// Returns how many bytes of memory can be taken without swapping out other programs, in this
/// control group and on this machine; `None` if the system does not report it.
///
/// The kernel itself promises any amount, and kills some process when it cannot keep the promise.
pub(crate) fn available_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| field(&info, name).map(|kib| kib * 1024);
    let machine = bytes("MemAvailable:")?.saturating_add(bytes("SwapFree:").unwrap_or(0));
    let rooms = cgroup::own_groups().filter_map(|group| Some(room_in_group(&group)?.0));
    Some(rooms.fold(machine, u64::min))
}

/// Returns how many bytes can be taken in a control group, and its limit; `None` if it has none.
pub(super) fn room_in_group(group: &str) -> Option<(u64, u64)> {
    let most = cgroup::number(group, "memory.max")?;
    let used = cgroup::number(group, "memory.current")?;
    let caches = cgroup::text(group, "memory.stat");
    let caches = field(&caches?, "inactive_file").unwrap_or(0);
    Some((most.saturating_sub(used.saturating_sub(caches)), most))
}

/// Returns the number behind `name` in a text of names and numbers.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines
        .find_map(|mut words| if words.next()? == name { words.next()?.parse().ok() } else { None })
}
