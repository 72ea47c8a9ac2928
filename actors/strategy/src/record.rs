//! What a session's round trips were worth: whoever loses with enough certainty takes no more risk (model book, section 6: a rolling expectancy of thirty
//! days below 0 at 95 %).

use kimera_numerics::real;
use kimera_protocol::Nanos;

/// Days that count.
const DAYS: usize = 30;
const DAY: Nanos = 86_400_000_000_000;
/// One-sided 95 % of a normal distribution.
const CERTAIN: f64 = 1.644_853_626_951_472_2;

/// Round trips of a day: how many, their sum and the sum of their squares, in the quote asset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Day {
    /// Which; days are counted from 1 on, so that 0 is none.
    number: i64,
    trips: u64,
    sum: f64,
    squares: f64,
}

kimera_protocol::state!(Day { number, trips, sum, squares });

/// Round trips of the last thirty days. One ends whenever nothing is held any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    days: [Day; DAYS],
    /// Result at the end of the last trip, 1e-16 of the quote asset.
    before: i128,
    is_demoted: bool,
}

kimera_protocol::state!(Record { days, before, is_demoted });

impl Default for Record {
    fn default() -> Self {
        Self { days: [Day::default(); DAYS], before: 0, is_demoted: false }
    }
}

impl Record {
    /// Nothing is held any more, and this is the result of everything so far, less fees, in 1e-16. With so many trips or more an expectancy below 0 at
    /// 95 % demotes; 0 trips: never.
    pub fn is_flat_at(&mut self, result: i128, time: Nanos, trips_min: u32) {
        let trip = real(result.saturating_sub(self.before)) * 1e-16;
        self.before = result;
        let number = time.div_euclid(DAY).saturating_add(1);
        let day = &mut self.days[number.rem_euclid(DAYS as i64) as usize];
        if day.number != number {
            *day = Day { number, ..Day::default() };
        }
        (day.trips, day.sum, day.squares) = (day.trips + 1, day.sum + trip, day.squares + trip * trip);
        self.is_demoted |= trips_min > 0 && self.loses(number, u64::from(trips_min));
    }

    /// Student's statistic by its normal limit: mean + 1.645 · deviation / √n < 0.
    fn loses(&self, today: i64, trips_min: u64) -> bool {
        let counted = self.days.iter().filter(|day| (0..DAYS as i64).contains(&(today - day.number)));
        let (n, sum, squares) = counted
            .fold((0, 0.0, 0.0), |(n, sum, squares), d| (n + d.trips, sum + d.sum, squares + d.squares));
        if n < trips_min.max(2) {
            return false;
        }
        let n = n as f64;
        let mean = sum / n;
        let variance = ((squares - n * mean * mean) / (n - 1.0)).max(0.0);
        mean + CERTAIN * (variance / n).sqrt() < 0.0
    }

    /// It has lost with certainty enough: only ways out are left.
    #[inline]
    #[must_use]
    pub fn is_demoted(&self) -> bool {
        self.is_demoted
    }

    /// A person has started it again: it begins with no trip counted. What it had earned stays what it is.
    pub fn lift(&mut self) {
        *self = Self { before: self.before, ..Self::default() };
    }

    /// A word that tells two records apart that differ.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.before as u64 ^ u64::from(self.is_demoted) << 63
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: i128 = 10_000_000_000_000_000;

    /// Trips an hour apart that earn by turns.
    fn trips(record: &mut Record, from: Nanos, n: i64, earns: [i128; 2]) -> i128 {
        let mut result = record.before;
        for i in 0..n {
            result += earns[(i % 2) as usize] * UNIT;
            record.is_flat_at(result, from + i * DAY / 24, 30);
        }
        result
    }

    #[test]
    fn who_loses_with_certainty_is_demoted_and_nobody_else() {
        let of = |n, earns| {
            let mut record = Record::default();
            trips(&mut record, 0, n, earns);
            record.is_demoted()
        };
        assert!(!of(29, [-3, -1]) && of(30, [-3, -1]), "thirty trips at least");
        assert!(!of(400, [10, -9]) && !of(400, [3, -3]));
        // Mean −½, deviation 10.5: certain from n = (1.645 · 10.5 / 0.5)² ≈ 1,200 on.
        assert!(!of(400, [10, -11]));
        let mut never = Record::default();
        (0..100).for_each(|i| never.is_flat_at(-i * UNIT, 0, 0));
        assert!(!never.is_demoted());
    }

    #[test]
    fn what_is_older_than_thirty_days_is_forgotten_and_a_person_may_lift_it() {
        let mut record = Record::default();
        trips(&mut record, 0, 29, [-3, -1]);
        // Forty days later nothing of it counts.
        trips(&mut record, 40 * DAY, 29, [-3, -1]);
        assert!(!record.is_demoted());
        trips(&mut record, 42 * DAY, 1, [-3, -1]);
        assert!(record.is_demoted());
        let before = record.before;
        record.lift();
        assert!(!record.is_demoted() && record.before == before);
        trips(&mut record, 43 * DAY, 29, [-3, -1]);
        assert!(!record.is_demoted(), "it begins anew");
    }

    #[test]
    fn days_far_apart_and_before_the_epoch_are_days() {
        let mut record = Record::default();
        for time in [Nanos::MIN, -DAY, -1, 0, DAY, Nanos::MAX] {
            record.is_flat_at(UNIT, time, 2);
        }
        assert!(!record.is_demoted());
    }
}
