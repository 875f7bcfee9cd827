//! The timers of one carrier's coroutines: a hierarchical timer wheel that counts nanoseconds.
//!
//! Eleven wheels of 64 slots turn with the 64 bits of a time, six bits each. A timer is on the
//! wheel of the highest digit in which its deadline differs from the time that the wheels have
//! reached, in the slot of that digit. A word for each wheel marks the slots in use.
//!
//! ```text
//!   digit         10 … 3      2      1      0
//!   reached        0 … 7     12     33     60
//!   deadline       0 … 7     12     33     61      wheel 0, slot 61: due in 1 ns
//!   deadline       0 … 7     40      5      2      wheel 2, slot 40: due in about 115 µs
//! ```
//!
//! So every timer on a lower wheel is due before all timers on a higher one, and the first slot in
//! use of a wheel is due first. Each slot stores the earliest deadline in it. When that has come,
//! the wheels turn to it, and the slot's timers move to lower wheels, in order; those on wheel 0
//! are due to the nanosecond. Each timer moves ten times at most, and about twice if there are few.
//!
//! Insert and cancel cost O(1). The time to sleep until is found in two words. Timers expire in the
//! order of their deadlines, those for the same nanosecond in the order of their insertion. A
//! cancelled timer may leave its deadline behind as its slot's earliest; the carrier then wakes
//! once for nothing.
//!
//! After G. Varghese and T. Lauck, "Hashed and hierarchical timing wheels" (1987), with the slots
//! of a radix heap (R. Ahuja, K. Mehlhorn, J. Orlin and R. Tarjan, 1990). These make the fine grain
//! affordable: the wheels turn from deadline to deadline, not from tick to tick.

pub(super) mod shared;
pub(super) mod slab;

use std::time::{Duration, Instant};

use slab::{Key, NONE, Slab};

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const WHEELS: usize = u64::BITS.div_ceil(BITS) as usize;

/// A list of timers in the order of their insertion.
#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    tail: u32,
    /// No timer in the slot is due before.
    earliest: u64,
}

const EMPTY: Slot = Slot { head: NONE, tail: NONE, earliest: u64::MAX };

/// Pending timers, by time; `T` is the waiting party.
pub(super) struct Timers<T> {
    /// The origin of times, which are in nanoseconds; those after 584 years count as the last one.
    epoch: Instant,
    /// The time that the wheels have reached: no timer is due before.
    reached: u64,
    /// The wheels that have slots in use, and the slots in use of each wheel.
    wheels_in_use: u16,
    in_use: [u64; WHEELS],
    slots: [[Slot; SLOTS]; WHEELS],
    slab: Slab<T>,
}

impl<T> Timers<T> {
    pub(super) fn new(epoch: Instant) -> Timers<T> {
        Timers {
            epoch,
            reached: 0,
            wheels_in_use: 0,
            in_use: [0; WHEELS],
            slots: [[EMPTY; SLOTS]; WHEELS],
            slab: Slab::new(),
        }
    }

    /// Adds a timer for `deadline`. `now` is at or after every time that was passed before.
    pub(super) fn insert(&mut self, now: Instant, deadline: Instant, payload: T) -> Key {
        if self.is_empty() {
            self.reached = self.reached.max(self.time(now));
        }
        let deadline = self.time(deadline).max(self.reached);
        let key = self.slab.insert(deadline, payload);
        let index = self.slab.find(key).expect("just inserted");
        self.link(index, deadline);
        key
    }

    /// Removes a timer; `None` if it has expired already.
    pub(super) fn cancel(&mut self, key: Key) -> Option<T> {
        let index = self.slab.find(key)?;
        self.unlink(index);
        Some(self.slab.remove(index))
    }

    /// Returns the payload of a pending timer.
    pub(super) fn payload_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slab.payload_mut(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Returns a time before which no timer is due; `None` if there is no timer.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        // A deadline beyond the clock's range is as good as none.
        self.epoch.checked_add(Duration::from_nanos(self.next_time()?))
    }

    /// Returns the same, in nanoseconds since the epoch.
    pub(super) fn next_time(&self) -> Option<u64> {
        let (wheel, slot) = self.first()?;
        Some(self.slots[wheel][slot].earliest)
    }

    /// Takes the first timer whose time has come.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<T> {
        let now = self.time(now);
        loop {
            let (wheel, slot) = self.first()?;
            let earliest = self.slots[wheel][slot].earliest;
            if earliest > now {
                return None;
            }
            // This changes no digit above this wheel's, and there it becomes the slot's own. So all
            // other timers are where they should be.
            self.reached = earliest;
            if wheel == 0 {
                let index = self.slots[0][slot].head;
                self.unlink(index);
                return Some(self.slab.remove(index));
            }
            self.spread(wheel, slot);
        }
    }

    pub(super) fn needs_trim(&self) -> bool {
        self.slab.needs_trim()
    }

    /// Gives unused memory back.
    pub(super) fn trim(&mut self) {
        self.slab.trim();
    }

    /// Moves the timers of a slot, whose digit the wheels have reached, to lower wheels.
    fn spread(&mut self, wheel: usize, slot: usize) {
        let mut index = self.slots[wheel][slot].head;
        self.clear(wheel, slot);
        while index != NONE {
            let node = self.slab.get(index);
            let (deadline, next) = (node.deadline, node.next);
            self.link(index, deadline);
            index = next;
        }
    }

    /// Returns the wheel and slot of a timer for `deadline`. It stays there until that slot is
    /// spread.
    fn slot_of(&self, deadline: u64) -> (usize, usize) {
        let differing = (deadline ^ self.reached) | 1;
        let wheel = differing.ilog2() / BITS;
        let digit = (deadline >> (wheel * BITS)) as usize % SLOTS;
        (wheel as usize, digit)
    }

    /// Returns the wheel and slot of the first timer.
    fn first(&self) -> Option<(usize, usize)> {
        if self.wheels_in_use == 0 {
            return None;
        }
        let wheel = self.wheels_in_use.trailing_zeros() as usize;
        Some((wheel, self.in_use[wheel].trailing_zeros() as usize))
    }

    /// Puts a timer at the end of its slot.
    fn link(&mut self, index: u32, deadline: u64) {
        let (wheel, number) = self.slot_of(deadline);
        let slot = &mut self.slots[wheel][number];
        let tail = std::mem::replace(&mut slot.tail, index);
        slot.earliest = slot.earliest.min(deadline);
        let node = self.slab.get_mut(index);
        (node.previous, node.next) = (tail, NONE);
        if tail != NONE {
            self.slab.get_mut(tail).next = index;
        } else {
            slot.head = index;
            self.in_use[wheel] |= 1 << number;
            self.wheels_in_use |= 1 << wheel;
        }
    }

    fn unlink(&mut self, index: u32) {
        let node = self.slab.get(index);
        let (previous, next) = (node.previous, node.next);
        let (wheel, number) = self.slot_of(node.deadline);
        if previous == NONE && next == NONE {
            return self.clear(wheel, number);
        }
        match previous {
            NONE => self.slots[wheel][number].head = next,
            previous => self.slab.get_mut(previous).next = next,
        }
        match next {
            NONE => self.slots[wheel][number].tail = previous,
            next => self.slab.get_mut(next).previous = previous,
        }
    }

    /// Marks a slot as not in use.
    fn clear(&mut self, wheel: usize, number: usize) {
        self.slots[wheel][number] = EMPTY;
        self.in_use[wheel] &= !(1 << number);
        if self.in_use[wheel] == 0 {
            self.wheels_in_use &= !(1 << wheel);
        }
    }

    /// Converts a time to nanoseconds since the epoch.
    fn time(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        let nanoseconds = u64::from(since.subsec_nanos());
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Pseudo-random numbers, the same for the same seed (xorshift*, Marsaglia 2003).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn below(&mut self, end: u64) -> u64 {
            self.next() % end
        }

        /// Returns a duration from zero to about a hundred years, all orders of magnitude alike.
        fn duration(&mut self) -> Duration {
            let bits = self.below(62);
            Duration::from_nanos(self.next() & ((1 << bits) - 1))
        }
    }

    /// The specification of the wheels: a sorted map.
    #[derive(Default)]
    struct Model {
        pending: BTreeMap<(Instant, u64), u64>,
    }

    impl Model {
        fn pop_expired(&mut self, now: Instant) -> Option<u64> {
            let first = self.pending.first_entry()?;
            (first.key().0 <= now).then(|| first.remove())
        }
    }

    fn runs_as_the_model(seed: u64, steps: u64, most: usize) {
        let mut random = Random(seed);
        let epoch = Instant::now();
        let (mut timers, mut model) = (Timers::new(epoch), Model::default());
        let mut keys: Vec<(Key, (Instant, u64))> = Vec::new();
        let mut now = epoch;
        let mut last_deadline = now;
        for step in 0..steps {
            match random.below(10) {
                0..5 if keys.len() < most => {
                    // Every fourth deadline equals another one; the others range from the past to
                    // years on.
                    let deadline = match random.below(8) {
                        0 | 1 => last_deadline,
                        2 => now,
                        _ => now + random.duration(),
                    };
                    let deadline = deadline.max(now);
                    last_deadline = deadline;
                    let key = timers.insert(now, deadline, step);
                    model.pending.insert((deadline, step), step);
                    keys.push((key, (deadline, step)));
                }
                // Cancelling a timer that has expired long ago must change nothing.
                0..8 if !keys.is_empty() => {
                    let (key, in_model) =
                        keys.swap_remove(random.below(keys.len() as u64) as usize);
                    timers.cancel(key);
                    model.pending.remove(&in_model);
                }
                8 => {
                    now += random.duration() / 1000;
                }
                _ => {
                    // To the nanosecond before the next deadline, when it must not expire, or on
                    // it.
                    if let Some((&(deadline, _), _)) = model.pending.first_key_value() {
                        let before = deadline - Duration::from_nanos(random.below(2));
                        now = now.max(before);
                    }
                }
            }
            let next = model.pending.first_key_value().map(|(key, _)| key.0);
            assert_eq!(timers.next_deadline().is_some(), next.is_some(), "seed {seed}");
            assert!(timers.next_deadline() <= next, "seed {seed}: asleep past a deadline");
            loop {
                let expired = timers.pop_expired(now);
                assert_eq!(expired, model.pop_expired(now), "seed {seed}, step {step}");
                if expired.is_none() {
                    break;
                }
            }
            assert!(timers.next_deadline().is_none_or(|next| next > now), "seed {seed}");
            if step % 1000 == 0 {
                timers.trim();
            }
        }
    }

    #[test]
    fn the_wheels_do_what_a_sorted_map_does() {
        let (seeds, steps) = if cfg!(miri) { (2, 300) } else { (40, 5_000) };
        for seed in 1..=seeds {
            runs_as_the_model(seed, steps, 4);
            runs_as_the_model(seed, steps, 300);
        }
    }

    #[test]
    fn the_bound_is_exact_without_cancels_and_errs_once_for_a_cancel() {
        let epoch = Instant::now();
        let mut timers = Timers::new(epoch);
        let at = |nanoseconds| epoch + Duration::from_nanos(nanoseconds);
        let mut random = Random(3);
        let mut sorted: Vec<u64> = (0..1000).map(|_| random.below(1 << 40)).collect();
        let keys: Vec<_> = sorted.iter().map(|&n| (n, timers.insert(epoch, at(n), n))).collect();
        sorted.sort_unstable();
        assert_eq!(timers.next_deadline(), Some(at(sorted[0])));
        let (_, first) = keys.iter().find(|(n, _)| *n == sorted[0]).unwrap();
        timers.cancel(*first);
        assert!(timers.next_deadline() <= Some(at(sorted[1])));
        assert_eq!(timers.pop_expired(at(sorted[0])), None);
        for &n in &sorted[1..] {
            assert_eq!(timers.next_deadline(), Some(at(n)));
            assert_eq!(timers.pop_expired(at(n - 1)), None);
            assert_eq!(timers.pop_expired(at(n)), Some(n));
        }
        assert!(timers.is_empty() && timers.next_deadline().is_none());
    }

    #[test]
    fn deadlines_beyond_the_last_time_wait_with_it_and_do_not_wrap() {
        let epoch = Instant::now();
        let mut timers = Timers::new(epoch);
        let year = Duration::from_secs(365 * 24 * 3600);
        let far = timers.insert(epoch, epoch + 10_000 * year, "far");
        timers.insert(epoch, epoch + 500 * year, "500 years");
        assert_eq!(timers.pop_expired(epoch + 499 * year), None);
        assert_eq!(timers.next_deadline(), Some(epoch + 500 * year));
        assert_eq!(timers.pop_expired(epoch + 500 * year), Some("500 years"));
        assert_eq!(timers.pop_expired(epoch + 580 * year), None);
        timers.cancel(far);
        assert!(timers.is_empty());
    }

    #[test]
    fn a_million_come_and_go_and_leave_no_memory() {
        let count = if cfg!(miri) { 1000 } else { 1_000_000 };
        let epoch = Instant::now();
        let mut timers = Timers::new(epoch);
        let mut random = Random(9);
        let mut keys: Vec<_> = (0..count)
            .map(|n| timers.insert(epoch, epoch + Duration::from_nanos(random.below(1 << 36)), n))
            .collect();
        let half = keys.split_off(keys.len() / 2);
        keys.into_iter().for_each(|key| _ = timers.cancel(key));
        let later = epoch + Duration::from_nanos(1 << 36);
        let expired = std::iter::from_fn(|| timers.pop_expired(later)).count();
        assert_eq!(expired, half.len());
        half.into_iter().for_each(|key| _ = timers.cancel(key));
        assert!(timers.is_empty() && (timers.needs_trim() || cfg!(miri)));
        timers.trim();
        assert!(!timers.needs_trim());
    }
}
