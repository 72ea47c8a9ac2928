//! 3.8 and 3.9, the slow part that hears what the crowd does: funding, longs against shorts, an index of fear and greed from outside.

use std::collections::BTreeMap;

use kimera_numerics::Estimate;
use kimera_protocol::{DAY, HOUR, MINUTE, Nanos, Reading, Series, Status, Topic};

use super::{Thought, rank_of};

/// Readings are ranked among those of so long.
const WINDOW: Nanos = 90 * DAY;
/// One that is older says nothing of now.
const STALE: Nanos = 36 * HOUR;
/// Fewest readings that one is ranked among.
const MIN: usize = 30;
/// Of a series the newest reading in so long is held.
const STEP: Nanos = 30 * MINUTE;
/// How long what is said may be used.
const VALID: Nanos = 5 * MINUTE;

/// The slow part.
#[derive(Default)]
pub struct Crowd {
    funding: BTreeMap<Nanos, f64>,
    long_short: BTreeMap<Nanos, f64>,
    index: BTreeMap<Nanos, f64>,
    /// The minute in which something was said last.
    said: i64,
}

impl Crowd {
    /// A reading is heard; those of the past may come again behind a start.
    pub(super) fn read(&mut self, reading: &Reading, now: Nanos) {
        if !reading.is_sensible() || reading.published > now {
            return;
        }
        let of = match Series::from_code(reading.series) {
            Some(Series::Funding) => &mut self.funding,
            Some(Series::LongShort) => &mut self.long_short,
            Some(Series::FearGreed) => &mut self.index,
            _ => return,
        };
        let from = reading.published - reading.published.rem_euclid(STEP);
        let same = of.range(from..from.saturating_add(STEP)).next().map(|(published, _)| *published);
        if same.is_some_and(|held| held > reading.published) {
            return;
        }
        same.map(|held| of.remove(&held));
        of.insert(reading.published, reading.value);
        let newest = of.last_key_value().map_or(now, |(newest, _)| *newest);
        while of.first_key_value().is_some_and(|(oldest, _)| *oldest < newest.saturating_sub(WINDOW)) {
            of.pop_first();
        }
    }

    /// Once a minute, what is thought at a time; nothing where nobody reads anything.
    pub(super) fn ended(&mut self, time: Nanos, say: &mut Vec<Thought>) {
        let minute = time.div_euclid(MINUTE);
        if self.said == minute {
            return;
        }
        self.said = minute;
        if !(self.funding.is_empty() && self.long_short.is_empty()) {
            let ranks = [rank(&self.funding, time), rank(&self.long_short, time)];
            let known = || ranks.iter().filter(|rank| rank.status.is_usable());
            let crowding = match known().count() {
                0 => *ranks.iter().max_by_key(|rank| rank.n).unwrap_or(&ranks[0]),
                n => {
                    let sum = known().fold(0.0, |sum, rank| sum + rank.value);
                    Estimate::ok(sum / n as f64, known().map(|rank| rank.n).sum())
                }
            };
            say.push(Thought::new(Topic::Crowding, crowding).valid_for(VALID));
        }
        if let Some((published, value)) = self.index.last_key_value() {
            let n = self.index.len() as u64;
            let index = match time.saturating_sub(*published) <= STALE {
                true => Estimate::ok(value / 100.0, n),
                false => Estimate::degenerate(Status::Stale, n),
            };
            say.push(Thought::new(Topic::OutsideIndex, index).valid_for(VALID));
        }
    }
}

/// Rank of the newest reading among those before, ties half.
fn rank(of: &BTreeMap<Nanos, f64>, time: Nanos) -> Estimate {
    let n = of.len();
    let Some((published, newest)) = of.last_key_value() else { return Estimate::warmup(0) };
    if time.saturating_sub(*published) > STALE {
        return Estimate::degenerate(Status::Stale, n as u64);
    }
    if n <= MIN {
        return Estimate::warmup(n as u64);
    }
    Estimate::ok(rank_of(*newest, of.range(..published).map(|(_, value)| *value)), n as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(series: Series, value: f64, published: Nanos) -> Reading {
        Reading { series: series as u64, value, published, ..Reading::default() }
    }

    fn said(of: &mut Crowd, time: Nanos) -> Vec<(Topic, Estimate)> {
        let mut say = Vec::new();
        of.ended(time, &mut say);
        say.into_iter().map(|t| (t.topic, t.estimate)).collect()
    }

    #[test]
    fn a_reading_is_ranked_among_those_of_ninety_days_and_grows_old() {
        let mut of = Crowd::default();
        assert!(said(&mut of, MINUTE).is_empty(), "nobody reads anything");
        // A hundred days of funding from −50 to 49: ten of them are too old to count.
        for day in 1..=100 {
            of.read(&reading(Series::Funding, (day - 51) as f64 * 0.01, day * DAY), 100 * DAY);
        }
        let high = said(&mut of, 100 * DAY);
        assert_eq!((high[0].0, high[0].1.value, high[0].1.n), (Topic::Crowding, 1.0, 91));
        assert!(said(&mut of, 100 * DAY + MINUTE - 1).is_empty(), "once a minute");
        of.read(&reading(Series::Funding, 0.04, 101 * DAY), 101 * DAY);
        of.read(&reading(Series::LongShort, 2.0, 101 * DAY), 101 * DAY);
        let middle = said(&mut of, 101 * DAY)[0].1;
        // −40 to 49 without 4, and 4 again: 44 are below it, it is even with one.
        assert!(
            (middle.value - 44.5 / 90.0).abs() < 1e-12,
            "{middle:?}: one ratio of longs is ranked among nothing"
        );
        let old = said(&mut of, 101 * DAY + STALE + MINUTE)[0].1;
        assert_eq!(old.status, Status::Stale);
    }

    #[test]
    fn readings_of_minutes_are_held_for_ninety_days_by_half_hours() {
        let mut of = Crowd::default();
        let step = 5 * MINUTE;
        for i in 0..=(100 * DAY / step) {
            of.read(&reading(Series::LongShort, i as f64, i * step), i * step);
        }
        assert!((4_320..=4_321).contains(&of.long_short.len()), "{}", of.long_short.len());
        let (oldest, value) = of.long_short.first_key_value().unwrap();
        assert!(*oldest <= 10 * DAY + STEP && *value == (*oldest / step) as f64, "{oldest}");
        // An earlier one of the same half hour, told again, is not the newest.
        let held = of.long_short.clone();
        of.read(&reading(Series::LongShort, 0.0, 50 * DAY), 100 * DAY);
        assert_eq!(of.long_short, held);
    }

    #[test]
    fn an_index_from_outside_is_passed_on_while_it_is_new() {
        let mut of = Crowd::default();
        of.read(&reading(Series::FearGreed, 20.0, DAY), DAY - 1);
        assert!(said(&mut of, DAY).is_empty(), "it was not published yet");
        of.read(&reading(Series::FearGreed, 20.0, DAY), DAY);
        of.read(&reading(Series::FearGreed, 120.0, DAY + 1), 2 * DAY);
        assert_eq!(said(&mut of, 2 * DAY), [(Topic::OutsideIndex, Estimate::ok(0.2, 1))]);
        assert_eq!(said(&mut of, DAY + STALE + MINUTE)[0].1.status, Status::Stale);
    }
}
