//! Numbers with fitting units, to three digits.

use crate::measure::sample::Spread;

/// The units of a quantity, each `step` times the unit before it.
pub(crate) struct Units {
    names: &'static [&'static str],
    step: f64,
}

pub(crate) const TIME: Units = Units { names: &["ns", "µs", "ms", "s"], step: 1000.0 };
pub(crate) const BYTES: Units = Units { names: &["B", "KiB", "MiB", "GiB", "TiB"], step: 1024.0 };

impl Units {
    /// Returns the index of the unit for this value. A value that would round up to the next unit
    /// is shown in that unit.
    fn steps(&self, value: f64) -> usize {
        let largest = self.names.len() - 1;
        (0..largest).find(|&steps| self.scaled(value, steps) < self.step - 0.5).unwrap_or(largest)
    }

    fn scaled(&self, value: f64, steps: usize) -> f64 {
        value / self.step.powi(steps as i32)
    }

    /// Formats a value: `3.80 ns`, `12.3 µs`, `2.07 s`, `1.05 MiB`.
    pub(crate) fn show(&self, value: f64) -> String {
        let steps = self.steps(value);
        format!("{} {}", digits(self.scaled(value, steps)), self.names[steps])
    }

    /// Formats a spread, `12.3 µs (11.9 … 14.0)`: the median, the minimum and the 95th percentile,
    /// in one unit.
    pub(crate) fn show_spread(&self, spread: &Spread) -> String {
        let steps = self.steps(spread.median);
        let [median, min, p95] =
            [spread.median, spread.min, spread.p95].map(|value| digits(self.scaled(value, steps)));
        format!("{median} {} ({min} … {p95})", self.names[steps])
    }
}

/// Formats a number of things: `1 file`, `2 files`.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Formats a ratio: `1.44 ×`, `266 ×`.
pub(crate) fn times(ratio: f64) -> String {
    format!("{} ×", digits(ratio))
}

/// Formats a value with three digits, or with all digits before the point if they are more.
fn digits(value: f64) -> String {
    let behind_point = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.behind_point$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_fitting_unit() {
        assert_eq!(TIME.show(3.8), "3.80 ns");
        assert_eq!(TIME.show(12.34), "12.3 ns");
        assert_eq!(TIME.show(999.4), "999 ns");
        assert_eq!(TIME.show(999.6), "1.00 µs");
        assert_eq!(TIME.show(2.07e9), "2.07 s");
        assert_eq!(TIME.show(4.2e12), "4200 s");
        assert_eq!(BYTES.show(4413.0), "4.31 KiB");
        assert_eq!(BYTES.show(1_100_000.0), "1.05 MiB");
    }

    #[test]
    fn a_spread_is_shown_in_the_medians_unit() {
        let spread = Spread::of(vec![990.0, 12_340.0, 2_000_000.0], 1);
        assert_eq!(TIME.show_spread(&spread), "12.3 µs (0.99 … 2000)");
    }
}
