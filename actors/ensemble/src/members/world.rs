//! 3.10 Macro analyser: what the dollar, yields, inflation and shares have done says what the asset should have done since; that what is missing follows is this
//! member's assumption, and what its forecasts are worth says whether it holds.
//!
//! From one release of the series to the next the asset's return is explained by their changes, with betas that walk at random (Kalman 1960). A release is
//! every series once, as they come; it ends when one of them comes again. Readings are taken as they were published, never before; those of the past, with the
//! price that was paid then, prime the betas. The vote leans to where the asset would stand by the newest release, in standard deviations of what the betas have
//! left unexplained (which grows with the time that has passed), and counts for as much as they explain. Without readings, or where one of the series has
//! become old, it abstains.

use kimera_numerics::kalman::TimeVaryingBetas;
use kimera_numerics::ln;
use kimera_protocol::reading::{Series, WORLD_SERIES as SERIES};
use kimera_protocol::{Abstention, InstrumentId, Kind, Message, Nanos, Quote, Reading, Sketch};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::sketch;

/// What each beta may walk by from one release to the next, as a variance.
const WALK: f64 = 1e-5;
/// Variance of each beta before anything is known.
const UNKNOWN: f64 = 1.0;
/// Weight of a new residual in what the betas leave unexplained, and in how much there is to explain.
const STEP: f64 = 0.03;
/// Returns that say how much there is to explain before any beta is learnt: one alone may be next to nothing, and would make what follows certain.
const WARM: u64 = 10;
/// Changes beyond these are taken for mistakes: percentage points of a yield, logarithm of a price's ratio, and the asset's own return.
const CHANGE_MAX: (f64, f64) = (2.0, 0.2);
const RETURN_MAX: f64 = 1.0;
/// What the asset costs now is what it cost at a publication so long ago at most.
const PROMPT: Nanos = 60_000_000_000;

/// What the member needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MacroConfig {
    /// Its number.
    pub member: usize,
    /// Instrument that is traded, with its tick in the quote asset.
    pub traded: (InstrumentId, f64),
    /// A series whose newest reading is older than this is too old: 36 hours.
    pub stale_after: Nanos,
    /// Releases that must have been explained before it votes.
    pub observations_min: u64,
}

/// Every series once, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Release {
    /// When its newest reading was published.
    published: Nanos,
    /// Series that it has, a bit each, and their values.
    heard: u64,
    values: [f64; SERIES],
    /// Change of each since the release before; 0 of those that one of the two has not.
    changes: [f64; SERIES],
    /// What the asset cost at its newest reading; 0 where nobody knows.
    price: f64,
    /// One of the changes is none that a series makes.
    is_strange: bool,
}

kimera_protocol::state!(Release { published, heard, values, changes, price, is_strange });

/// The member.
pub struct Macro {
    config: MacroConfig,
    /// The newest mid, in the quote asset.
    mid: Option<f64>,
    /// When each series was published last.
    told: [Option<Nanos>; SERIES],
    /// The release before, and the one that is open.
    before: Release,
    release: Option<Release>,
    betas: TimeVaryingBetas<SERIES>,
    /// Returns seen from release to release.
    seen: u64,
    /// Decayed means: of the squares of what the betas left unexplained, of the squares of returns, and of the time between releases.
    unexplained: f64,
    returns: f64,
    span: f64,
}

kimera_protocol::state!(Macro { mid, told, before, release, betas, seen, unexplained, returns, span } fixed { config });

impl Macro {
    /// Nothing read yet.
    #[must_use]
    pub fn new(config: MacroConfig) -> Self {
        Self {
            mid: None,
            told: [None; SERIES],
            before: Release::default(),
            release: None,
            betas: TimeVaryingBetas::new(WALK, UNKNOWN),
            seen: 0,
            unexplained: 0.0,
            returns: 0.0,
            span: 0.0,
            config,
        }
    }

    fn read(&mut self, reading: &Reading, now: Nanos) {
        let Some(series) = Series::from_code(reading.series)
            .filter(|series| series.is_of_the_world() && reading.is_sensible())
        else {
            return;
        };
        let (at, bit) = (series as usize, 1u64 << series as u64);
        if self.told[at].is_some_and(|told| reading.published <= told) {
            return; // older, or the same again: a file is read from its beginning behind a restart
        }
        self.told[at] = Some(reading.published);
        if let Some(ended) = self.release.take_if(|r| r.heard & bit != 0) {
            self.close(ended);
        }
        let before = &self.before;
        let release = self.release.get_or_insert_default();
        if before.heard & bit != 0 {
            let (value, last) = (reading.value, before.values[at]);
            let (change, most) = match series.is_positive() {
                true => (ln(value / last), CHANGE_MAX.1),
                false => (value - last, CHANGE_MAX.0),
            };
            if change.abs() <= most {
                release.changes[at] = change;
            } else {
                release.is_strange = true;
            }
        }
        release.heard |= bit;
        release.values[at] = reading.value;
        release.published = release.published.max(reading.published);
        let mid = self.mid.filter(|_| now.saturating_sub(reading.published) <= PROMPT).unwrap_or(0.0);
        let price = if reading.price > 0.0 { reading.price } else { mid };
        if price > 0.0 {
            release.price = price;
        }
    }

    /// A release has ended: what the asset did since the one before is explained by what the series did.
    fn close(&mut self, release: Release) {
        let before = std::mem::replace(&mut self.before, release);
        let came = ln(release.price / before.price);
        if !(before.price > 0.0 && release.price > 0.0) || release.is_strange || came.abs() > RETURN_MAX {
            self.betas.skip();
            return;
        }
        self.seen += 1;
        let span = release.published.saturating_sub(before.published).max(1) as f64;
        let step = if self.seen <= WARM { 1.0 / self.seen as f64 } else { STEP };
        self.span += step * (span - self.span);
        if self.seen <= WARM {
            self.returns += step * (came * came - self.returns);
            self.unexplained = self.returns;
            return;
        }
        let missed = came - self.betas.expected(&release.changes);
        let noise = self.unexplained.max(1e-3 * self.returns).max(1e-12);
        if self.betas.observe(&release.changes, came, noise).is_some() {
            self.unexplained += step * (missed * missed - self.unexplained);
            self.returns += step * (came * came - self.returns);
        }
    }

    /// What it has found, how much the betas explain, and what they expect since the release before.
    fn judge(&self, now: Nanos) -> Result<(Option<Sketch>, f64, f64), Abstention> {
        let release = self.release.ok_or(Abstention::NoData)?;
        let is_old = |told: &Nanos| now.saturating_sub(*told) > self.config.stale_after;
        if self.told.iter().flatten().any(is_old) {
            return Err(Abstention::NoSources);
        }
        if self.betas.n() < self.config.observations_min {
            return Err(Abstention::Warmup);
        }
        let mid = self.mid.ok_or(Abstention::NoSources)?;
        let deviation = self.unexplained.sqrt();
        let expected = self.betas.expected(&release.changes);
        let is_known = deviation > 0.0 && self.returns > 0.0 && self.before.price > 0.0;
        if !is_known || release.is_strange || !expected.is_finite() {
            return Err(Abstention::Degenerate);
        }
        let explained = (1.0 - self.unexplained / self.returns).clamp(0.0, 1.0);
        // What is left unexplained is that of a usual span; it grows with the root of time.
        let span = now.saturating_sub(self.before.published) as f64;
        let deviation = deviation * (span / self.span).max(1.0).sqrt();
        let away = (expected - ln(mid / self.before.price)) / (2.0 * deviation);
        Ok((sketch::tilt(away, 1.0 - explained), explained, expected))
    }
}

impl Actor for Macro {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message: &Message = input.message;
        if let Some(quote) = message.body::<Quote>() {
            let (traded, tick) = self.config.traded;
            if quote.usable != 0 && message.instrument() == traded {
                let mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
                self.mid = Some(mid * tick).filter(|mid| *mid > 0.0);
            }
        } else if message.is_mark() && message.kind() == Some(Kind::Features) {
            let judged = self.judge(message.header.time);
            let levels = judged.map_or((0.0, 0.0), |(_, explained, expected)| (explained, expected));
            send(self.config.member, judged.map(|j| j.0), levels, message, out);
        } else if let Some(reading) = message.body::<Reading>() {
            self.read(reading, message.header.time);
        }
    }

    /// As long as nothing has been read it is nobody in particular: 0, as whoever abstains in its place.
    fn digest(&self) -> u64 {
        if self.told.iter().all(Option::is_none) {
            return 0;
        }
        let mix = |d: u64, w: u64| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let floats = [self.mid.unwrap_or(0.0), self.unexplained, self.returns, self.span];
        let start = floats
            .iter()
            .chain(self.betas.betas())
            .fold(self.betas.n() ^ self.seen, |d, x| mix(d, x.to_bits()));
        let start = self.told.iter().fold(start, |d, told| mix(d, told.map_or(0, |t| t as u64)));
        [Some(self.before), self.release].iter().flatten().fold(start, |d, r| {
            let d = mix(mix(d, r.published as u64), r.heard << 1 | u64::from(r.is_strange));
            r.values.iter().chain(&r.changes).chain([&r.price]).fold(d, |d, x| mix(d, x.to_bits()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{SECOND, handle, mark, p};

    const DAY: Nanos = 86_400 * SECOND;
    const TICK: f64 = 0.1;

    fn member() -> Macro {
        Macro::new(MacroConfig {
            member: 4,
            traded: (InstrumentId(1), TICK),
            stale_after: 36 * 3_600 * SECOND,
            observations_min: 30,
        })
    }

    fn tell(m: &mut Macro, series: Series, value: f64, price: f64, published: Nanos) {
        let reading = Reading { series: series as u64, value, price, published, ..Reading::default() };
        assert!(handle(m, 1, published, 0, reading).is_none());
    }

    /// Days on which the asset does −2 times what the dollar does, and something of its own; the day behind them, the dollar and the price there.
    fn primed(days: i64) -> (Macro, Nanos, f64, f64) {
        let (mut m, mut x, mut dollar, mut price) = (member(), 3u64, 100.0, 60_000.0);
        for day in 0..days {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let (step, own) = ((x % 200) as f64 / 1e4 - 0.01, ((x >> 20) % 200) as f64 / 1e5 - 0.001);
            dollar *= 1.0 + step;
            price *= 1.0 - 2.0 * step + own;
            tell(&mut m, Series::Dollar, dollar, price, day * DAY);
            tell(&mut m, Series::TwoYear, 4.0 + own * 100.0, price, day * DAY);
        }
        (m, days * DAY, dollar, price)
    }

    fn ticks(price: f64) -> i64 {
        (price / TICK).round() as i64
    }

    #[test]
    fn it_learns_what_moves_with_what_and_expects_what_is_missing() {
        let (mut m, time, dollar, price) = primed(200);
        assert!((m.betas.betas()[Series::Dollar as usize] + 2.0).abs() < 0.1, "{:?}", m.betas.betas());
        // The dollar has risen by a per cent, and the asset has not moved.
        tell(&mut m, Series::Dollar, dollar * 1.01, price, time);
        let mid = ticks(price);
        let vote = mark(&mut m, 1, time + SECOND, mid, mid as f64, 0.0);
        assert!(vote.abstains == 0 && p(&vote)[0] > p(&vote)[2] + 0.3, "{vote:?}");
        assert!(vote.level > 0.9 && (vote.second + 0.02).abs() < 0.002, "{vote:?}");
        // It has followed, by as much as is expected: nothing is missing any more.
        let there = ticks(price * (1.0 + vote.second));
        let vote = mark(&mut m, 1, time + SECOND, there, there as f64, 0.0);
        assert!((p(&vote)[0] - p(&vote)[2]).abs() < 0.15, "{vote:?}");
    }

    /// The dollar in the evening, the yield an hour later: one release.
    #[test]
    fn what_is_published_at_other_times_is_one_release() {
        let (mut m, mut x, mut price, mut dollar, mut rate) = (member(), 3u64, 60_000.0, 100.0, 4.0);
        let hour = 3_600 * SECOND;
        for day in 0..400 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let (a, b) = ((x % 200) as f64 / 1e4 - 0.01, ((x >> 20) % 200) as f64 / 1e3 - 0.1);
            (dollar, rate) = (dollar * (1.0 + a), rate + b);
            price *= 1.0 - 2.0 * a - 0.1 * b;
            tell(&mut m, Series::Dollar, dollar, price, day * DAY);
            tell(&mut m, Series::TwoYear, rate, price, day * DAY + hour);
        }
        let betas = *m.betas.betas();
        assert!((betas[Series::Dollar as usize] + 2.0).abs() < 0.2, "{betas:?}");
        assert!((betas[Series::TwoYear as usize] + 0.1).abs() < 0.03, "{betas:?}");
        // The dollar falls and the asset follows; the yield comes an hour later and has not moved: nothing is missing.
        tell(&mut m, Series::Dollar, dollar * 0.99, price * 1.02, 400 * DAY);
        tell(&mut m, Series::TwoYear, rate, price * 1.02, 400 * DAY + hour);
        let expected = mark(&mut m, 1, 400 * DAY + hour + SECOND, 1, 1.0, 0.0).second;
        assert!((expected - 0.02).abs() < 0.001, "what the dollar says is not forgotten: {expected}");
        let there = ticks(price * (1.0 + expected + expected * expected / 2.0));
        let vote = mark(&mut m, 1, 400 * DAY + hour + SECOND, there, there as f64, 0.0);
        assert!((p(&vote)[2] - p(&vote)[0]).abs() < 0.3, "{vote:?}");
        // Shares that were read once and never again are old: it cannot know what they have done.
        tell(&mut m, Series::Equity, 5_000.0, 0.0, 400 * DAY + hour);
        tell(&mut m, Series::Dollar, dollar, price, 402 * DAY);
        tell(&mut m, Series::TwoYear, rate, price, 402 * DAY);
        let vote = mark(&mut m, 1, 402 * DAY + SECOND, there, there as f64, 0.0);
        assert_eq!(vote.abstains, Abstention::NoSources as u64);
    }

    /// A price that is said twice at the beginning, and a mistake in the middle.
    #[test]
    fn neither_a_still_beginning_nor_a_mistake_is_learnt_from() {
        let learnt = |mistake: bool| {
            let (mut m, mut x, mut dollar, mut price) = (member(), 3u64, 100.0, 60_000.0);
            for day in 0..300 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let (step, own) = ((x % 200) as f64 / 1e4 - 0.01, ((x >> 20) % 200) as f64 / 1e4 - 0.01);
                dollar *= 1.0 + step;
                if day != 1 {
                    price *= 1.0 - 2.0 * step + own;
                }
                let wrong = if mistake && day == 150 { 100.0 } else { 1.0 };
                tell(&mut m, Series::Dollar, wrong * dollar, price, day * DAY);
            }
            m.betas.betas()[Series::Dollar as usize]
        };
        for mistake in [false, true] {
            assert!((learnt(mistake) + 2.0).abs() < 0.35, "{} {mistake}", learnt(mistake));
        }
        // While it stands nothing is said.
        let (mut m, time, dollar, price) = primed(200);
        tell(&mut m, Series::Dollar, 100.0 * dollar, price, time);
        let vote = mark(&mut m, 1, time + SECOND, ticks(price), price, 0.0);
        assert_eq!(vote.abstains, Abstention::Degenerate as u64);
    }

    #[test]
    fn a_price_of_now_is_none_of_long_ago() {
        let mut m = member();
        mark(&mut m, 1, 100 * DAY, 600_000, 600_000.0, 0.0);
        for day in 0..60 {
            let reading = Reading {
                series: 2,
                value: 100.0 + day as f64 * 0.1,
                published: day * DAY,
                ..Reading::default()
            };
            assert!(handle(&mut m, 1, 100 * DAY, 0, reading).is_none());
        }
        assert_eq!((m.betas.n(), m.seen), (0, 0), "nobody knows what it cost then");
    }

    #[test]
    fn it_says_why_it_says_nothing() {
        let of = |m: &mut Macro, time| mark(m, 1, time, 600_000, 600_000.0, 0.0).abstains;
        assert_eq!(of(&mut member(), 0), Abstention::NoData as u64);
        let (mut few, time, ..) = primed(30);
        assert_eq!(of(&mut few, time), Abstention::Warmup as u64, "the last one is not closed");
        let (mut m, time, ..) = primed(200);
        assert_eq!(of(&mut m, time), 0);
        assert_eq!(of(&mut m, time + 13 * 3_600 * SECOND), Abstention::NoSources as u64, "37 hours old");
        let mut still = member();
        (0..60).for_each(|day| tell(&mut still, Series::Equity, 100.0, 5.0, day * DAY));
        assert_eq!(of(&mut still, 59 * DAY), Abstention::Degenerate as u64);
    }

    #[test]
    fn the_same_again_and_what_makes_no_sense_change_nothing() {
        use kimera_protocol::{Loader, Saver, State};
        let (mut m, time, ..) = primed(100);
        let before = (Saver::of(&m), m.digest());
        tell(&mut m, Series::Dollar, 150.0, 1.0, time - DAY);
        tell(&mut m, Series::Dollar, 150.0, 1.0, 5 * DAY);
        for (series, value, price) in
            [(9, 1.0, 1.0), (2, -1.0, 1.0), (2, f64::NAN, 1.0), (0, 101.0, 1.0), (0, 1.0, f64::INFINITY)]
        {
            let reading = Reading { series, value, price, published: time + DAY, ..Reading::default() };
            assert!(handle(&mut m, 1, time, 0, reading).is_none());
        }
        assert_eq!((Saver::of(&m), m.digest()), before);
        // A state that is taken out in the middle of a release goes on alike.
        tell(&mut m, Series::Dollar, 100.0, 50_000.0, time);
        let mut other = member();
        other.load(&mut Loader::new(&Saver::of(&m))).unwrap();
        for m in [&mut m, &mut other] {
            tell(m, Series::TwoYear, 4.1, 50_000.0, time + SECOND);
            tell(m, Series::Dollar, 101.0, 50_500.0, time + DAY);
        }
        assert_eq!((Saver::of(&m), m.digest()), (Saver::of(&other), other.digest()));
        // A release without a price explains nothing, and neither does the one behind it.
        let n = m.betas.n();
        m.mid = None;
        (2..5).for_each(|day| tell(&mut m, Series::Dollar, 100.0, 0.0, time + day * DAY));
        assert_eq!(m.betas.n(), n + 1, "the one that was open had its price");
    }
}
