//! What a session's round trips were worth: whose expectancy over thirty days lies below 0 at 95 % takes no more risk (model book, section 6).
//!
//! It is looked at whenever so many trips more have ended, not after each: at every look one of twenty sessions that neither earn nor lose is demoted by
//! chance, and looks at nearly the same trips would add up.

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
    /// Trips since it was looked at.
    since: u32,
    is_demoted: bool,
}

kimera_protocol::state!(Record { days, before, since, is_demoted });

impl Default for Record {
    fn default() -> Self {
        Self { days: [Day::default(); DAYS], before: 0, since: 0, is_demoted: false }
    }
}

impl Record {
    /// Nothing is held any more, and this is the result of everything so far, less fees, in 1e-16. Every so many trips an expectancy below 0 at 95 %
    /// demotes; 0 trips: never.
    pub fn is_flat_at(&mut self, result: i128, time: Nanos, trips_min: u32) {
        let trip = real(result.saturating_sub(self.before)) * 1e-16;
        self.before = result;
        let number = time.div_euclid(DAY).saturating_add(1);
        let day = &mut self.days[number.rem_euclid(DAYS as i64) as usize];
        if day.number != number {
            *day = Day { number, ..Day::default() };
        }
        (day.trips, day.sum, day.squares) = (day.trips + 1, day.sum + trip, day.squares + trip * trip);
        self.since += 1;
        if trips_min > 0 && self.since >= trips_min {
            self.since = 0;
            self.is_demoted |= self.loses(number, u64::from(trips_min));
        }
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

    /// Its expectancy lies below 0: only ways out are left.
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
        let mix = |d: u64, w: u64| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let start = mix(
            self.before as u64 ^ (self.before >> 64) as u64,
            u64::from(self.since) << 1 | u64::from(self.is_demoted),
        );
        self.days.iter().fold(start, |d, day| {
            mix(mix(mix(d, day.number as u64 ^ day.trips << 32), day.sum.to_bits()), day.squares.to_bits())
        })
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
    fn whose_expectancy_lies_below_nothing_is_demoted_and_nobody_else() {
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
        assert!(record.since == 28, "thirty were looked at: two days' worth is too few");
        trips(&mut record, 42 * DAY, 2, [-3, -1]);
        assert!(record.is_demoted());
        let before = record.before;
        record.lift();
        assert!(!record.is_demoted() && record.before == before);
        trips(&mut record, 43 * DAY, 29, [-3, -1]);
        assert!(!record.is_demoted(), "it begins anew");
    }

    /// Trips that neither earn nor lose: at a look every thirty, one of twenty by chance at each; thirty days hold what is looked at again.
    #[test]
    fn chance_demotes_as_rarely_as_is_said() {
        let mut normals = kimera_numerics::seeded::SeededNormals::new(11);
        let mut demoted = 0;
        for _ in 0..400 {
            let (mut record, mut result) = (Record::default(), 0i128);
            for trip in 0..30 {
                result += (normals.normal() * 1e16) as i128;
                record.is_flat_at(result, trip * DAY / 24, 30);
            }
            demoted += u32::from(record.is_demoted());
        }
        assert!((8..=34).contains(&demoted), "{demoted} of 400; twenty are to be expected");
    }

    #[test]
    fn two_records_that_differ_are_told_apart() {
        let (mut one, mut other) = (Record::default(), Record::default());
        trips(&mut one, 0, 4, [5, -5]);
        trips(&mut other, DAY, 4, [5, -5]);
        assert!(one.before == other.before && one.digest() != other.digest());
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
