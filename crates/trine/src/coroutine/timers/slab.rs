//! The memory of a carrier's pending timers: numbered nodes in chunks that never move.
//!
//! ```text
//!   chunks ───► [ node node free node … 256 ]   used 3, free ─► 2
//!               [ free free free free … 256 ]   used 0: its memory goes back at the next trim
//!               [ ]                             given back; grows again when it is needed
//!   with_room ► chunks that are not full, the one to fill next at the end
//! ```
//!
//! Taking and returning a node costs O(1) and allocates only for a new chunk. A key names its timer
//! permanently: nodes are used again, the timer's serial number is not.

/// Nodes in a chunk: 10 KiB of them, with a payload of 16 bytes.
const CHUNK: usize = 256;
/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// One pending timer, as a link of the list of its slot.
pub(super) struct Node<T> {
    pub(super) deadline: u64,
    /// The number of the timer; 0 in a free node.
    serial: u64,
    /// The next in the list; in a free node, the next free one of the chunk.
    pub(super) next: u32,
    pub(super) previous: u32,
    /// `None` in a free node.
    payload: Option<T>,
}

/// The name of one timer, also when it has expired.
#[derive(Clone, Copy, Debug)]
pub(in crate::coroutine) struct Key {
    index: u32,
    serial: u64,
}

struct Chunk<T> {
    /// Grows up to `CHUNK`; without memory while the chunk is given back.
    nodes: Vec<Node<T>>,
    free: u32,
    used: usize,
}

pub(super) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// The chunks that are not full.
    with_room: Vec<usize>,
    /// Timers inserted so far.
    serial: u64,
    used: usize,
    /// Chunks that have memory and no timer.
    unused: usize,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Slab<T> {
        Slab { chunks: Vec::new(), with_room: Vec::new(), serial: 0, used: 0, unused: 0 }
    }

    /// Makes a node for a new timer, not linked yet.
    pub(super) fn insert(&mut self, deadline: u64, payload: T) -> Key {
        let number = self.with_room.last().copied().unwrap_or_else(|| self.add_chunk());
        let chunk = &mut self.chunks[number];
        self.serial += 1;
        let serial = self.serial;
        let payload = Some(payload);
        let node = Node { deadline, serial, next: NONE, previous: NONE, payload };
        if chunk.used == 0 && chunk.nodes.capacity() > 0 {
            self.unused -= 1;
        }
        let within = if chunk.free != NONE {
            let within = chunk.free as usize;
            chunk.free = std::mem::replace(&mut chunk.nodes[within], node).next;
            within
        } else {
            if chunk.nodes.capacity() == 0 {
                chunk.nodes.reserve_exact(CHUNK);
            }
            chunk.nodes.push(node);
            chunk.nodes.len() - 1
        };
        chunk.used += 1;
        if chunk.used == CHUNK {
            self.with_room.pop();
        }
        self.used += 1;
        // A chunk is added only while its nodes have numbers.
        Key { index: (number * CHUNK + within) as u32, serial }
    }

    #[cold]
    fn add_chunk(&mut self) -> usize {
        let number = self.chunks.len();
        assert!(number < NONE as usize / CHUNK, "more than four thousand million waits");
        self.chunks.push(Chunk { nodes: Vec::new(), free: NONE, used: 0 });
        self.with_room.push(number);
        number
    }

    /// Returns the node of a pending timer.
    pub(super) fn find(&self, key: Key) -> Option<u32> {
        let chunk = self.chunks.get(key.index as usize / CHUNK)?;
        let node = chunk.nodes.get(key.index as usize % CHUNK)?;
        (node.serial == key.serial).then_some(key.index)
    }

    /// Returns the payload of a pending timer.
    pub(super) fn payload_mut(&mut self, key: Key) -> Option<&mut T> {
        let index = self.find(key)?;
        self.get_mut(index).payload.as_mut()
    }

    pub(super) fn get(&self, index: u32) -> &Node<T> {
        &self.chunks[index as usize / CHUNK].nodes[index as usize % CHUNK]
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut Node<T> {
        &mut self.chunks[index as usize / CHUNK].nodes[index as usize % CHUNK]
    }

    /// Frees the node of a timer that is linked nowhere any more.
    pub(super) fn remove(&mut self, index: u32) -> T {
        let number = index as usize / CHUNK;
        let within = index as usize % CHUNK;
        let chunk = &mut self.chunks[number];
        let node = &mut chunk.nodes[within];
        node.serial = 0;
        node.next = std::mem::replace(&mut chunk.free, within as u32);
        let payload = node.payload.take().expect("the index of a wait that is pending");
        if chunk.used == CHUNK {
            self.with_room.push(number);
        }
        chunk.used -= 1;
        if chunk.used == 0 {
            self.unused += 1;
        }
        self.used -= 1;
        payload
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Returns true if more than two chunks are unused.
    pub(super) fn needs_trim(&self) -> bool {
        self.unused > 2
    }

    /// Gives the memory of unused chunks back.
    pub(super) fn trim(&mut self) {
        self.unused = 0;
        if self.used == 0 {
            (self.chunks, self.with_room) = (Vec::new(), Vec::new());
            return;
        }
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.used == 0) {
            *chunk = Chunk { nodes: Vec::new(), free: NONE, used: 0 };
        }
        // Chunks with memory are filled first, the fullest before the others.
        self.with_room.sort_by_key(|&number| self.chunks[number].used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_wait_and_no_later_one_in_the_same_place() {
        let mut nodes = Slab::new();
        let first = nodes.insert(1, 'a');
        assert_eq!(nodes.remove(nodes.find(first).unwrap()), 'a');
        let second = nodes.insert(2, 'b');
        assert_eq!(first.index, second.index);
        assert_eq!(nodes.find(first), None);
        nodes.remove(nodes.find(second).unwrap());
        nodes.trim();
        assert_eq!(nodes.find(second), None);
        let third = nodes.insert(3, 'c');
        assert_eq!(second.index, third.index);
        assert_eq!(nodes.find(second), None);
    }

    #[test]
    fn memory_without_use_is_given_back_around_those_that_stay() {
        let memory = |nodes: &Slab<usize>| -> usize {
            nodes.chunks.iter().map(|chunk| chunk.nodes.capacity()).sum()
        };
        let mut nodes = Slab::new();
        let keys: Vec<_> = (0..100 * CHUNK).map(|n| nodes.insert(0, n)).collect();
        assert!(!nodes.needs_trim());
        let (stay, go): (Vec<_>, Vec<_>) = keys.iter().partition(|key| key.index % 5000 == 7);
        go.iter().for_each(|&key| _ = nodes.remove(nodes.find(key).unwrap()));
        assert_eq!(memory(&nodes), 100 * CHUNK);
        assert!(nodes.needs_trim());
        nodes.trim();
        assert_eq!(memory(&nodes), stay.len() * CHUNK);
        assert!(!nodes.needs_trim());
        // New nodes fill the chunks that are there, then those that were given back.
        let more: Vec<_> = (0..stay.len()).map(|n| nodes.insert(0, n)).collect();
        assert_eq!(memory(&nodes), stay.len() * CHUNK);
        let many: Vec<_> = (0..100 * CHUNK).map(|n| nodes.insert(0, n)).collect();
        assert!(nodes.chunks.len() <= 102);
        for key in stay.into_iter().chain(more).chain(many) {
            nodes.remove(nodes.find(key).unwrap());
        }
        nodes.trim();
        assert!(nodes.is_empty() && nodes.chunks.capacity() == 0 && !nodes.needs_trim());
    }
}
