//! 3.10 Macro analyser: what the dollar, yields, inflation and shares have done says what the asset should have done since; what is missing is expected to
//! follow.
//!
//! Between two publications of the same series the asset's return is explained by their changes, with betas that walk at random (Kalman 1960). Readings are
//! taken as they were published, never before; those of the past, with the price that was paid then, prime the betas. The vote leans to where the asset would
//! stand by the newest readings, in standard deviations of what the betas have left unexplained, and counts for as much as they explain. Without readings,
//! or behind old ones, it abstains.

use kimera_numerics::kalman::TimeVaryingBetas;
use kimera_numerics::ln;
use kimera_protocol::reading::{SERIES, Series};
use kimera_protocol::{Abstention, InstrumentId, Kind, Message, Nanos, Quote, Reading, Sketch};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::sketch;

/// What each beta may walk by from one publication to the next, as a variance.
const WALK: f64 = 1e-5;
/// Variance of each beta before anything is known.
const UNKNOWN: f64 = 1.0;
/// Weight of a new residual in what the betas leave unexplained, and in how much there is to explain.
const STEP: f64 = 0.03;

/// What the member needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MacroConfig {
    /// Its number.
    pub member: usize,
    /// Instrument that is traded, with its tick in the quote asset.
    pub traded: (InstrumentId, f64),
    /// Readings older than this are too old: 36 hours.
    pub stale_after: Nanos,
    /// Publications that must have been explained before it votes.
    pub observations_min: u64,
}

/// A series when it was published last, and what the asset cost then; 0 where nobody knew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Last {
    value: f64,
    published: Nanos,
    price: f64,
}

kimera_protocol::state!(Last { value, published, price });

/// What was published at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Release {
    published: Nanos,
    /// Series that were, a bit each, and their values.
    heard: u64,
    values: [f64; SERIES],
    /// Change of each series since the publication before; 0 of those that were not published then, or are not now: all are over one span of time, that of the asset's
    /// return.
    changes: [f64; SERIES],
    /// When that was, and what the asset cost then; 0 where nobody knew.
    since: Option<Nanos>,
    from: f64,
    /// What the asset costs at this one; 0 where nobody knows.
    price: f64,
}

kimera_protocol::state!(Release { published, heard, values, changes, since, from, price });

/// The member.
pub struct Macro {
    config: MacroConfig,
    /// The newest mid, in the quote asset.
    mid: Option<f64>,
    last: [Option<Last>; SERIES],
    release: Option<Release>,
    betas: TimeVaryingBetas<SERIES>,
    /// Decayed squares: of what the betas left unexplained, and of the returns.
    unexplained: f64,
    returns: f64,
}

kimera_protocol::state!(Macro { mid, last, release, betas, unexplained, returns } fixed { config });

impl Macro {
    /// Nothing read yet.
    #[must_use]
    pub fn new(config: MacroConfig) -> Self {
        Self {
            mid: None,
            last: [None; SERIES],
            release: None,
            betas: TimeVaryingBetas::new(WALK, UNKNOWN),
            unexplained: 0.0,
            returns: 0.0,
            config,
        }
    }

    fn read(&mut self, reading: &Reading) {
        let Some(series) = Series::from_code(reading.series).filter(|_| reading.is_sensible()) else {
            return;
        };
        let (at, bit) = (series as usize, 1u64 << series as u64);
        let is_known = self.release.is_some_and(|r| {
            reading.published < r.published || (reading.published == r.published && r.heard & bit != 0)
        });
        if is_known {
            return; // older, or the same again: a file is read from its beginning behind a restart
        }
        if let Some(earlier) = self.release.filter(|r| r.published < reading.published) {
            self.close(&earlier);
            self.release = None;
        }
        let release =
            self.release.get_or_insert(Release { published: reading.published, ..Release::default() });
        if let Some(last) =
            self.last[at].filter(|last| release.since.is_none_or(|since| since == last.published))
        {
            (release.since, release.from) = (Some(last.published), last.price);
            release.changes[at] =
                if series.is_a_price() { ln(reading.value / last.value) } else { reading.value - last.value };
        }
        release.heard |= bit;
        release.values[at] = reading.value;
        if release.price <= 0.0 {
            release.price = if reading.price > 0.0 { reading.price } else { self.mid.unwrap_or(0.0) };
        }
    }

    /// Another release follows: what the asset did up to this one is explained by what the series did.
    fn close(&mut self, release: &Release) {
        for (i, last) in self.last.iter_mut().enumerate().filter(|(i, _)| release.heard & 1 << i != 0) {
            let (published, price) = (release.published, release.price);
            *last = Some(Last { value: release.values[i], published, price });
        }
        if release.from <= 0.0 || release.price <= 0.0 {
            self.betas.skip();
            return;
        }
        let came = ln(release.price / release.from);
        let missed = came - self.betas.expected(&release.changes);
        let first = self.betas.n() == 0;
        let noise = if first { came * came } else { self.unexplained };
        if self.betas.observe(&release.changes, came, noise.max(1e-12)).is_none() {
            return;
        }
        let step = if first { 1.0 } else { STEP };
        self.unexplained += step * (missed * missed - self.unexplained);
        self.returns += step * (came * came - self.returns);
    }

    /// What it has found, how much the betas explain, and what they expect since the release before.
    fn judge(&self, now: Nanos) -> Result<(Option<Sketch>, f64, f64), Abstention> {
        let release = self.release.ok_or(Abstention::NoData)?;
        if now.saturating_sub(release.published) > self.config.stale_after {
            return Err(Abstention::NoSources);
        }
        if self.betas.n() < self.config.observations_min {
            return Err(Abstention::Warmup);
        }
        let mid = self.mid.ok_or(Abstention::NoSources)?;
        let deviation = self.unexplained.sqrt();
        if deviation <= 0.0 || self.returns <= 0.0 || release.from <= 0.0 {
            return Err(Abstention::Degenerate);
        }
        let explained = (1.0 - self.unexplained / self.returns).clamp(0.0, 1.0);
        let expected = self.betas.expected(&release.changes);
        let away = (expected - ln(mid / release.from)) / (2.0 * deviation);
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
            self.read(reading);
        }
    }

    fn digest(&self) -> u64 {
        let of =
            self.release.map_or(0, |r| r.published as u64 ^ r.heard << 60 ^ r.from.to_bits().rotate_left(19));
        let start = self.betas.n() ^ self.unexplained.to_bits() ^ of;
        self.betas.betas().iter().fold(start, |d, b| d.rotate_left(17) ^ b.to_bits())
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
        // It has followed: nothing is missing any more.
        let there = ticks(price * 0.98);
        let vote = mark(&mut m, 1, time + SECOND, there, there as f64, 0.0);
        assert!((p(&vote)[0] - p(&vote)[2]).abs() < 0.15, "{vote:?}");
    }

    /// The dollar in the evening, the yield an hour later: each is compared with what the asset did since its own evening before.
    #[test]
    fn what_is_published_at_other_times_has_spans_of_its_own() {
        let (mut m, mut x, mut price, mut dollar, mut rate) = (member(), 3u64, 60_000.0, 100.0, 4.0);
        for day in 0..400 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let (a, b) = ((x % 200) as f64 / 1e4 - 0.01, ((x >> 20) % 200) as f64 / 1e3 - 0.1);
            (dollar, rate) = (dollar * (1.0 + a), rate + b);
            price *= 1.0 - 2.0 * a - 0.1 * b;
            tell(&mut m, Series::Dollar, dollar, price, day * DAY);
            tell(&mut m, Series::TwoYear, rate, price, day * DAY + 3_600 * SECOND);
        }
        let betas = m.betas.betas();
        assert!((betas[Series::Dollar as usize] + 2.0).abs() < 0.4, "{betas:?}");
        assert!((betas[Series::TwoYear as usize] + 0.1).abs() < 0.05, "{betas:?}");
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
        let (mut m, time, ..) = primed(100);
        let before = m.digest();
        let (again, ..) = primed(100);
        assert_eq!(again.digest(), before);
        tell(&mut m, Series::Dollar, 150.0, 1.0, time - DAY);
        tell(&mut m, Series::Dollar, 150.0, 1.0, 5 * DAY);
        for (series, value, price) in
            [(9, 1.0, 1.0), (2, -1.0, 1.0), (2, f64::NAN, 1.0), (0, 1.0, f64::INFINITY)]
        {
            let reading = Reading { series, value, price, published: time + DAY, ..Reading::default() };
            assert!(handle(&mut m, 1, time, 0, reading).is_none());
        }
        assert_eq!(m.digest(), before);
        // A release without a price is explained by nothing, and neither is the one behind it.
        let n = m.betas.n();
        m.mid = None;
        (1..4).for_each(|day| tell(&mut m, Series::Dollar, 100.0, 0.0, time + day * DAY));
        assert_eq!(m.betas.n(), n + 1, "the one that was open had its price");
    }
}
