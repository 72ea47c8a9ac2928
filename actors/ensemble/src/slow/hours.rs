//! 3.4 and 3.8, the slow part that looks at months: hours of the traded market, its own and those that history has told of. How hot the last hour was
//! among those of thirty days, and how calm and how driven the market is among the hours of ninety.

use std::collections::{BTreeMap, VecDeque};

use kimera_numerics::{Estimate, ln};
use kimera_protocol::{HOUR, MINUTE, MINUTES_MIN, Nanos, Prime, Status, Topic};

use super::{Thought, rank_of};

/// Hours in a day.
const DAY: i64 = 24;
/// Hours that a temperature is ranked among and a top is looked for in, and those that the others are ranked among.
const MONTH: i64 = 30 * DAY;
const QUARTER: i64 = 90 * DAY;
/// Fewest hours that a temperature is ranked among, and fewest looks.
const TEMPERATURE_MIN: usize = 7 * DAY as usize;
const LOOKS_MIN: usize = 30 * DAY as usize;
/// Hours that may be missing before nothing is compared across the gap, and in a day.
const MISSING: i64 = 2;
/// Spans of the two averages whose distance is momentum, in hours.
const SPANS: (f64, f64) = (12.0, 26.0);
/// A temperature is of a minute, the others of an hour.
const VALID: (Nanos, Nanos) = (5 * MINUTE, 2 * HOUR);

/// An hour that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hour {
    close: f64,
    variance: f64,
    volume: f64,
}

impl Hour {
    /// Of the minutes that were seen, as if the others had been like them.
    fn whole(close: f64, variance: f64, volume: f64, minutes: u64) -> Self {
        let more = 60.0 / minutes.max(1) as f64;
        Self { close, variance: variance * more, volume: volume * more }
    }
}

/// What was looked at behind an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    /// The hour's number.
    number: i64,
    /// Realised variance of an hour, in the mean of a day.
    variance: f64,
    /// Share below the highest close of a month.
    fall: f64,
    /// Momentum in deviations, times a day's volume over the usual one.
    drive: f64,
}

/// The slow part.
#[derive(Default)]
pub struct Hours {
    /// By their number since 1970.
    hours: BTreeMap<i64, Hour>,
    /// Squared returns of the last minutes, with the minute's number.
    minutes: VecDeque<(i64, f64)>,
    /// The minute that is open, and the newest price in it.
    open: Option<(i64, f64)>,
    /// Price at the end of the minute before.
    close: Option<(i64, f64)>,
    /// The open hour: its number, minutes, sum of squares, volume.
    growing: (i64, u64, f64, f64),
    /// What is thought of the quarter in an hour, until another one is known.
    quarter: Option<(i64, Estimate, Estimate)>,
}

impl Hours {
    /// An hour of the past is told.
    pub(super) fn told(&mut self, prime: &Prime, now: Nanos) {
        if !prime.is_sensible(now) {
            return;
        }
        let of = Hour::whole(prime.close, prime.variance, prime.volume, prime.minutes);
        self.take(prime.begins.div_euclid(HOUR), of);
    }

    /// What is known already stays; what is older than a quarter goes.
    fn take(&mut self, number: i64, hour: Hour) {
        self.hours.entry(number).or_insert(hour);
        let newest = self.hours.last_key_value().map_or(number, |(newest, _)| *newest);
        while self.hours.first_key_value().is_some_and(|(oldest, _)| *oldest <= newest - QUARTER) {
            self.hours.pop_first();
        }
        self.quarter = None;
    }

    /// The stream has a hole: the hour that is open will not be whole.
    pub(super) fn forget(&mut self) {
        self.minutes.clear();
        (self.open, self.close) = (None, None);
        self.growing = (0, 0, 0.0, 0.0);
    }

    /// A bar that ends at `time` has ended with a price, in the quote asset, and a volume; what is thought where a minute has ended with it.
    pub(super) fn ended(&mut self, price: f64, volume: f64, time: Nanos, say: &mut Vec<Thought>) {
        let minute = time.saturating_sub(1).div_euclid(MINUTE);
        let before = self.open.replace((minute, price)).filter(|(open, _)| *open < minute);
        if let Some((open, close)) = before {
            self.minute(open, close, say);
        }
        let hour = minute.div_euclid(60);
        if self.growing.0 != hour {
            self.growing = (hour, 0, 0.0, 0.0);
        }
        self.growing.3 += volume;
    }

    /// A minute is over with its last price.
    fn minute(&mut self, number: i64, close: f64, say: &mut Vec<Thought>) {
        if let Some((_, before)) = self.close.filter(|(at, _)| *at == number - 1) {
            let square = ln(close / before) * ln(close / before);
            self.minutes.push_back((number, square));
            if self.growing.0 == number.div_euclid(60) {
                self.growing.1 += 1;
                self.growing.2 += square;
            }
        }
        self.close = Some((number, close));
        while self.minutes.front().is_some_and(|(at, _)| *at <= number - 60) {
            self.minutes.pop_front();
        }
        let (hour, n, variance, volume) = self.growing;
        if number.rem_euclid(60) == 59 && hour == number.div_euclid(60) && n >= MINUTES_MIN {
            self.take(hour, Hour::whole(close, variance, volume, n));
        }
        say.push(Thought::new(Topic::Temperature, self.temperature(number)).valid_for(VALID.0));
        let now = number.div_euclid(60);
        let (_, calm, drive) = match self.quarter.filter(|(hour, ..)| *hour == now) {
            Some(known) => known,
            None => {
                let (calm, drive) = quarter_of(&self.hours, now);
                *self.quarter.insert((now, calm, drive))
            }
        };
        say.push(Thought::new(Topic::Calm, calm).valid_for(VALID.1));
        say.push(Thought::new(Topic::Drive, drive).valid_for(VALID.1));
    }

    /// Share of the hours of a month that were calmer than the last sixty minutes; without those, than the newest hour, where it has only just ended.
    fn temperature(&self, minute: i64) -> Estimate {
        let now = minute.div_euclid(60);
        // As many minutes as an hour has; without those the hour that has only just ended, which is not ranked among itself.
        let is_whole = self.minutes.len() as u64 >= MINUTES_MIN;
        let upper = if is_whole { now } else { now - 1 };
        let month: Vec<f64> = self.hours.range(upper - MONTH..upper).map(|(_, hour)| hour.variance).collect();
        let n = month.len() as u64;
        if month.len() < TEMPERATURE_MIN {
            return Estimate::warmup(n);
        }
        let newest = if is_whole {
            let sum = self.minutes.iter().fold(0.0, |sum, (_, square)| sum + square);
            Some(sum * 60.0 / self.minutes.len() as f64)
        } else {
            self.hours.get(&upper).map(|hour| hour.variance)
        };
        let Some(newest) = newest else { return Estimate::degenerate(Status::Stale, n) };
        Estimate::ok(rank_of(newest, month.into_iter()), n)
    }
}

/// How calm and how driven the market is, among the looks at the hours that are known.
fn quarter_of(hours: &BTreeMap<i64, Hour>, now: i64) -> (Estimate, Estimate) {
    let looks = looks(hours);
    let n = looks.len() as u64;
    let Some((last, earlier)) = looks.split_last().filter(|(_, earlier)| earlier.len() >= LOOKS_MIN) else {
        return (Estimate::warmup(n), Estimate::warmup(n));
    };
    if last.number < now - MISSING {
        let old = Estimate::degenerate(Status::Stale, n);
        return (old, old);
    }
    let rank = |value: fn(&Look) -> f64| rank_of(value(last), earlier.iter().map(value));
    let heat = (rank(|l| l.variance) + rank(|l| l.fall)) / 2.0;
    (Estimate::ok(1.0 - heat, n), Estimate::ok(rank(|l| l.drive), n))
}

/// A look behind each hour that has a day, with no more than two hours missing in it, and a month before it: each sees as much as any other.
fn looks(hours: &BTreeMap<i64, Hour>) -> Vec<Look> {
    let step = |span: f64| 2.0 / (span + 1.0);
    let Some((first, _)) = hours.first_key_value() else { return Vec::new() };
    let usual = hours.values().fold(0.0, |sum, hour| sum + hour.volume) / hours.len() as f64;
    let mut all = Vec::with_capacity(hours.len());
    let mut day: VecDeque<(i64, Hour)> = VecDeque::with_capacity(DAY as usize + 1);
    // Closes that no later one is above: the first of them is the month's highest.
    let mut tops: VecDeque<(i64, f64)> = VecDeque::new();
    let (mut fast, mut slow, mut square) = (0.0, 0.0, 0.0);
    for (number, hour) in hours {
        match day.back().filter(|(before, _)| number - before <= MISSING + 1) {
            Some((_, before)) => {
                let change = hour.close - before.close;
                fast += step(SPANS.0) * (hour.close - fast);
                slow += step(SPANS.1) * (hour.close - slow);
                square += step(SPANS.1) * (change * change - square);
            }
            None => {
                day.clear();
                (fast, slow, square) = (hour.close, hour.close, 0.0);
            }
        }
        day.push_back((*number, *hour));
        while day.front().is_some_and(|(oldest, _)| *oldest <= number - DAY) {
            day.pop_front();
        }
        while tops.back().is_some_and(|(_, close)| *close <= hour.close) {
            tops.pop_back();
        }
        tops.push_back((*number, hour.close));
        while tops.front().is_some_and(|(oldest, _)| *oldest <= number - MONTH) {
            tops.pop_front();
        }
        let has_day = day.len() as i64 >= DAY - MISSING;
        let has_month = number - first >= MONTH - 1;
        let Some((_, top)) = tops.front().filter(|_| has_day && has_month) else { continue };
        let of_day = |value: fn(&Hour) -> f64| {
            day.iter().fold(0.0, |sum, (_, hour)| sum + value(hour)) / day.len() as f64
        };
        let drive = (fast - slow) / square.sqrt() * of_day(|h| h.volume) / usual;
        all.push(Look {
            number: *number,
            variance: of_day(|h| h.variance),
            fall: 1.0 - hour.close / top,
            drive: if drive.is_finite() { drive } else { 0.0 },
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_numerics::seeded::SeededNormals;

    /// A price that walks by `size` a minute.
    struct Walk {
        normals: SeededNormals,
        price: f64,
    }

    impl Walk {
        fn new(seed: u64) -> Self {
            Self { normals: SeededNormals::new(seed), price: 100.0 }
        }

        fn next(&mut self, size: f64) -> f64 {
            self.price *= 1.0 + size * self.normals.normal();
            self.price
        }
    }

    /// Hours of the past as they are told, the last of them the one before `now`.
    fn history(of: &mut Hours, walk: &mut Walk, hours: i64, now: i64, size: f64) {
        for number in now - hours..now {
            let mut variance = 0.0;
            for _ in 0..60 {
                let before = walk.price;
                let ret = ln(walk.next(size) / before);
                variance += ret * ret;
            }
            let begins = number * HOUR;
            let prime =
                Prime { begins, close: walk.price, variance, volume: 5.0, minutes: 60, ..Prime::default() };
            of.told(&prime, begins + HOUR);
        }
    }

    /// Minutes as they end; what was thought last.
    fn minutes(of: &mut Hours, walk: &mut Walk, from: i64, n: i64, size: f64) -> Vec<Thought> {
        let mut last = Vec::new();
        for minute in from..from + n {
            let mut say = Vec::new();
            of.ended(walk.next(size), 5.0 / 60.0, (minute + 1) * MINUTE, &mut say);
            if !say.is_empty() {
                last = say;
            }
        }
        last
    }

    fn value(of: &[Thought], topic: Topic) -> Estimate {
        of.iter().find(|t| t.topic == topic).expect("it is thought of").estimate
    }

    const NOW: i64 = 480_000;

    #[test]
    fn temperature_is_the_rank_of_the_last_hour_among_a_month() {
        let (mut of, mut walk) = (Hours::default(), Walk::new(1));
        history(&mut of, &mut walk, 720, NOW, 1e-3);
        let first = minutes(&mut of, &mut walk, NOW * 60, 2, 1e-3);
        let newest = of.hours.get(&(NOW - 1)).unwrap().variance;
        let below = of.hours.values().filter(|h| h.variance < newest).count();
        let expected = below as f64 / 719.0; // it is not ranked among itself
        assert!((value(&first, Topic::Temperature).value - expected).abs() < 1e-12, "the hour before counts");
        let hot = minutes(&mut of, &mut walk, NOW * 60 + 2, 70, 3e-3);
        assert!(value(&hot, Topic::Temperature).value > 0.99, "{hot:?}");
        let cool = minutes(&mut of, &mut walk, NOW * 60 + 72, 70, 2e-4);
        assert!(value(&cool, Topic::Temperature).value < 0.01, "{cool:?}");
        assert!(of.hours.contains_key(&NOW) && of.hours.contains_key(&(NOW + 1)), "its own hours count too");
        let (mut few, mut walk) = (Hours::default(), Walk::new(1));
        history(&mut few, &mut walk, 100, NOW, 1e-3);
        let early = minutes(&mut few, &mut walk, NOW * 60, 2, 1e-3);
        assert_eq!(value(&early, Topic::Temperature).status, Status::Warmup);
    }

    /// In a market whose law does not change each fifth of the ranks is as likely as another.
    #[test]
    fn in_a_stationary_market_the_ranks_are_even() {
        let (mut of, mut walk) = (Hours::default(), Walk::new(7));
        history(&mut of, &mut walk, 720, NOW, 1e-3);
        let mut high = 0;
        for hour in 0..400 {
            let said = minutes(&mut of, &mut walk, (NOW + hour) * 60, 60, 1e-3);
            high += i32::from(value(&said, Topic::Temperature).value > 0.8);
        }
        // 20 % of 400, four deviations.
        assert!((48..=112).contains(&high), "{high}");
    }

    /// Hours whose closes walk.
    fn walked(seed: u64, n: i64) -> BTreeMap<i64, Hour> {
        let mut walk = Walk::new(seed);
        (0..n).map(|i| (i, Hour { close: walk.next(0.01), variance: 1e-4, volume: 1.0 })).collect()
    }

    /// Each look sees as far back as any other, so that in a walk the newest is as likely high as low.
    #[test]
    fn falls_and_drives_of_a_walk_are_ranked_evenly() {
        let mut sums = [0.0; 2];
        for seed in 0..200 {
            let looks = looks(&walked(seed, QUARTER));
            let (last, earlier) = looks.split_last().unwrap();
            assert_eq!((last.number, earlier.len() as i64), (QUARTER - 1, QUARTER - MONTH));
            for (sum, value) in sums.iter_mut().zip([(|l| l.fall) as fn(&Look) -> f64, |l| l.drive]) {
                *sum += rank_of(value(last), earlier.iter().map(value)) / 200.0;
            }
        }
        // A rank's deviation is 0.29, of 200 of them 0.02; four of those.
        assert!(sums.iter().all(|mean| (mean - 0.5).abs() < 0.082), "{sums:?}");
    }

    #[test]
    fn across_a_gap_nothing_is_compared() {
        let mut hours = walked(5, MONTH + 200);
        hours.retain(|hour, _| !(800..802).contains(hour));
        let numbers = |hours: &BTreeMap<i64, Hour>| looks(hours).iter().map(|l| l.number).collect::<Vec<_>>();
        assert!(numbers(&hours).contains(&802), "two hours may be missing");
        hours.retain(|hour, _| !(802..812).contains(hour));
        let after: Vec<_> = numbers(&hours).into_iter().filter(|number| *number > 800).collect();
        assert_eq!(after[0], 812 + DAY - MISSING - 1, "a day of hours comes first");
        let seen = looks(&hours);
        let first = seen.iter().find(|l| l.number == after[0]).unwrap();
        assert!(first.drive.abs() < 5.0, "the averages have begun anew: {first:?}");
    }

    #[test]
    fn an_hour_that_lacks_minutes_counts_as_a_whole_one() {
        let mut of = Hours::default();
        let told =
            Prime { begins: HOUR, close: 1.0, variance: 0.5, volume: 10.0, minutes: 50, ..Prime::default() };
        of.told(&told, 2 * HOUR);
        assert_eq!(of.hours[&1], Hour { close: 1.0, variance: 0.6, volume: 12.0 });
    }

    #[test]
    fn a_fall_is_no_calm_and_has_no_drive() {
        let mut falls = (Hours::default(), Walk::new(3));
        history(&mut falls.0, &mut falls.1, 1_500, NOW - 48, 1e-3);
        let mut rises = (Hours::default(), Walk::new(3));
        history(&mut rises.0, &mut rises.1, 1_500, NOW - 48, 1e-3);
        for hour in NOW - 48..NOW {
            for ((hours, walk), change) in [(&mut falls, 0.99), (&mut rises, 1.004)] {
                let before = walk.price;
                walk.price *= change;
                let variance = ln(walk.price / before) * ln(walk.price / before);
                let begins = hour * HOUR;
                let close = walk.price;
                let prime = Prime { begins, close, variance, volume: 9.0, minutes: 60, ..Prime::default() };
                hours.told(&prime, begins + HOUR);
            }
        }
        let of = |(hours, walk): &mut (Hours, Walk)| {
            let said = minutes(hours, walk, NOW * 60, 2, 1e-4);
            (value(&said, Topic::Calm), value(&said, Topic::Drive))
        };
        let ((calm, drive), (other_calm, other_drive)) = (of(&mut falls), of(&mut rises));
        assert!(calm.status.is_usable() && calm.value < 0.05 && drive.value < 0.05, "{calm:?} {drive:?}");
        assert!(other_calm.value > calm.value && other_drive.value > 0.95, "{other_calm:?} {other_drive:?}");
        let late = minutes(&mut falls.0, &mut falls.1, (NOW + 5) * 60, 2, 1e-4);
        assert_eq!(value(&late, Topic::Calm).status, Status::Stale, "five hours are missing");
    }

    #[test]
    fn what_is_no_hour_of_the_past_is_not_taken() {
        let mut of = Hours::default();
        let good =
            Prime { begins: HOUR, close: 1.0, variance: 0.1, volume: 1.0, minutes: 60, ..Prime::default() };
        for wrong in [
            Prime { begins: HOUR + 1, ..good },
            Prime { close: 0.0, ..good },
            Prime { close: f64::NAN, ..good },
            Prime { variance: -1.0, ..good },
            Prime { volume: f64::INFINITY, ..good },
            Prime { minutes: 49, ..good },
        ] {
            of.told(&wrong, 2 * HOUR);
        }
        of.told(&good, 2 * HOUR - 1);
        assert!(of.hours.is_empty(), "it was not over yet");
        of.told(&good, 2 * HOUR);
        of.told(&Prime { close: 2.0, ..good }, 2 * HOUR);
        assert_eq!(of.hours.values().map(|h| h.close).collect::<Vec<_>>(), [1.0], "what is known stays");
    }
}
