//! 3.4 and 3.8, the slow part that looks at months: hours of the traded market, its own and those that history has told of. How hot the last hour was
//! among those of thirty days, and how calm and how driven the market is among the hours of ninety.

use std::collections::{BTreeMap, VecDeque};

use kimera_numerics::{Estimate, ln};
use kimera_protocol::{HOUR, MINUTES_MIN, Nanos, Prime, Status, Topic};

use super::Thought;

const MINUTE: Nanos = 60_000_000_000;
const DAY: i64 = 24;
/// Hours that a temperature is ranked among, and those that the others are.
const MONTH: i64 = 30 * DAY;
const QUARTER: i64 = 90 * DAY;
/// Fewest hours of each.
const TEMPERATURE_MIN: usize = 7 * DAY as usize;
const QUARTER_MIN: usize = 30 * DAY as usize;
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

/// What was looked at behind each hour of a quarter.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    /// Realised variance of a day.
    variance: f64,
    /// Share below the highest close.
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
        let of = Hour { close: prime.close, variance: prime.variance, volume: prime.volume };
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
            self.take(hour, Hour { close, variance, volume });
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
        let month = || self.hours.range(now - MONTH..=now);
        let n = month().count();
        if n < TEMPERATURE_MIN {
            return Estimate::warmup(n as u64);
        }
        let newest = match self.minutes.len() as u64 >= MINUTES_MIN {
            // As many minutes as an hour has.
            true => {
                let sum = self.minutes.iter().fold(0.0, |sum, (_, square)| sum + square);
                Some(sum * 60.0 / self.minutes.len() as f64)
            }
            false => self.hours.get(&(now - 1)).map(|hour| hour.variance),
        };
        let Some(newest) = newest else { return Estimate::degenerate(Status::Stale, n as u64) };
        let calmer = month().filter(|(_, hour)| hour.variance < newest).count();
        Estimate::ok(calmer as f64 / n as f64, n as u64)
    }
}

/// How calm and how driven the market is, among the hours that are known.
fn quarter_of(hours: &BTreeMap<i64, Hour>, now: i64) -> (Estimate, Estimate) {
    let of: Vec<Hour> = hours.values().copied().collect();
    let n = of.len() as u64;
    if of.len() < QUARTER_MIN {
        return (Estimate::warmup(n), Estimate::warmup(n));
    }
    let newest = hours.last_key_value().map_or(i64::MIN, |(newest, _)| *newest);
    if newest < now - 2 {
        let old = Estimate::degenerate(Status::Stale, n);
        return (old, old);
    }
    let looks = looks(&of);
    let Some((last, earlier)) = looks.split_last() else {
        return (Estimate::warmup(n), Estimate::warmup(n));
    };
    let rank = |value: fn(&Look) -> f64| {
        let below = earlier.iter().filter(|look| value(look) < value(last)).count() as f64;
        let even = earlier.iter().filter(|look| value(look) <= value(last)).count() as f64;
        (below + even) / (2.0 * earlier.len().max(1) as f64)
    };
    let heat = (rank(|l| l.variance) + rank(|l| l.fall)) / 2.0;
    (Estimate::ok(1.0 - heat, n), Estimate::ok(rank(|l| l.drive), n))
}

/// A look behind each hour from the second day on.
fn looks(of: &[Hour]) -> Vec<Look> {
    let step = |span: f64| 2.0 / (span + 1.0);
    let usual = of.iter().fold(0.0, |sum, hour| sum + hour.volume) / of.len().max(1) as f64;
    let first = of.first().map_or(1.0, |hour| hour.close);
    let (mut fast, mut slow, mut square, mut top) = (first, first, 0.0, first);
    let mut all = Vec::with_capacity(of.len());
    let mut before = first;
    for (i, hour) in of.iter().enumerate() {
        fast += step(SPANS.0) * (hour.close - fast);
        slow += step(SPANS.1) * (hour.close - slow);
        let change = hour.close - before;
        square += step(SPANS.1) * (change * change - square);
        top = f64::max(top, hour.close);
        before = hour.close;
        let Some(from) = (i + 1).checked_sub(DAY as usize) else { continue };
        let day = &of[from..=i];
        let sum = |value: fn(&Hour) -> f64| day.iter().fold(0.0, |sum, hour| sum + value(hour));
        let volume = sum(|h| h.volume) / (DAY as f64 * usual);
        let momentum = (fast - slow) / square.sqrt();
        let drive = momentum * volume;
        all.push(Look {
            variance: sum(|h| h.variance),
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
        let expected = below as f64 / 720.0;
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
