//! 3.1 Contradiction detector: do independent estimates of one price agree?
//!
//! Three sources for the traded instrument: its own book (1.1), its order flow (mid plus impact times flow, 1.3), and the
//! other market's fair price plus the decayed basis. Their error covariance is learnt from what the mid was one interval
//! later. The level is I²; the direction is where the sources that are not the own book see the price, and it counts
//! for as much as they agree.

use kimera_numerics::gls::{Combiner, ESTIMATES_MAX, Square};
use kimera_numerics::{DecayedMean, ErrorCovariance};
use kimera_protocol::{Abstention, Derived, Features, InstrumentId, Message, Nanos, Quote, Sketch};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::sketch;

/// Sources.
const SOURCES: usize = 3;
/// Places in [`Features`].
const MICROPRICE: usize = 0;
const ORDER_FLOW: usize = 2;
const IMPACT: usize = 3;

/// What the member needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContradictionConfig {
    /// Its number.
    pub member: usize,
    /// Instrument that is traded, with its tick in 1e-8.
    pub traded: (InstrumentId, i64),
    /// The other market, with its tick in 1e-8.
    pub other: Option<(InstrumentId, i64)>,
    /// Between two samples, and between an estimate and the mid it is compared with.
    pub error_interval: Nanos,
    /// Half-life of the error covariance, in samples.
    pub error_half_life: f64,
    /// Errors of each source before it votes.
    pub errors_min: u64,
    /// Half-life of the basis.
    pub basis_half_life: Nanos,
    /// A source older than this is not alive.
    pub stale_after: Nanos,
}

/// The member.
pub struct Contradiction {
    config: ContradictionConfig,
    mid: Option<(f64, Nanos)>,
    sources: [Option<(f64, Nanos)>; SOURCES],
    /// The other market's fair price in our ticks.
    other: Option<(f64, Nanos)>,
    basis: DecayedMean,
    sampled: Option<([f64; SOURCES], Nanos)>,
    errors: ErrorCovariance,
    combiners: Derived<Combiners>,
}

kimera_protocol::state!(Contradiction { mid, sources, other, basis, sampled, errors, combiners } fixed { config });

/// What the error covariance alone decides, until the next sample.
#[derive(Clone, Copy, Debug)]
struct Combiners {
    covariance: Square,
    /// By the set of sources that are combined, a bit each.
    by_sources: [Option<Combiner>; 1 << SOURCES],
}

impl Combiners {
    fn new(errors: &ErrorCovariance) -> Self {
        let (covariance, _) = errors.shrunk();
        let by_sources = std::array::from_fn(|set: usize| {
            let (mut which, mut n) = ([0; SOURCES], 0);
            for source in (0..SOURCES).filter(|source| set & (1 << source) != 0) {
                which[n] = source;
                n += 1;
            }
            Combiner::new(&part(&covariance, &which[..n]), n)
        });
        Self { covariance, by_sources }
    }

    fn of(&self, which: &[usize]) -> Option<&Combiner> {
        let set = which.iter().fold(0, |set, source| set | 1 << source);
        self.by_sources.get(set)?.as_ref()
    }
}

impl Contradiction {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: ContradictionConfig) -> Self {
        let step = 1.0 - kimera_numerics::decay_of_half_life(config.error_half_life.max(1e-9));
        Self {
            mid: None,
            sources: [None; SOURCES],
            other: None,
            basis: DecayedMean::new(config.basis_half_life),
            sampled: None,
            errors: ErrorCovariance::new(SOURCES, step),
            combiners: Derived::default(),
            config,
        }
    }

    fn features(&mut self, message: &Message, features: &Features) {
        let time = message.header.time;
        let usable = |i: usize| features.status(i).is_usable();
        if message.instrument() == self.config.traded.0 {
            let Some((mid, _)) = self.mid.filter(|m| m.1 == time) else { return };
            if usable(MICROPRICE) {
                self.sources[0] = Some((features.microprice, time));
            }
            if usable(ORDER_FLOW) && usable(IMPACT) {
                self.sources[1] = Some((mid + features.order_flow_impact * features.order_flow, time));
            }
            self.compare_markets(mid, time);
            self.sample(mid, time);
        } else if let Some((_, tick)) = self.config.other.filter(|o| o.0 == message.instrument())
            && usable(MICROPRICE)
        {
            let ticks = features.microprice * tick as f64 / self.config.traded.1 as f64;
            self.other = Some((ticks, time));
            if let Some((mid, _)) = self.mid.filter(|m| self.is_fresh(m.1, time)) {
                self.compare_markets(mid, time);
            }
        }
    }

    fn is_fresh(&self, seen: Nanos, now: Nanos) -> bool {
        now.saturating_sub(seen) <= self.config.stale_after
    }

    fn compare_markets(&mut self, mid: f64, time: Nanos) {
        if let Some((other, seen)) = self.other
            && self.is_fresh(seen, time)
        {
            self.basis.add(mid - other, time);
            self.sources[2] = self.basis.get().map(|basis| (other + basis, time));
        }
    }

    /// Once an interval: how wrong was each source one interval ago?
    fn sample(&mut self, mid: f64, time: Nanos) {
        let interval = self.config.error_interval;
        if self.sampled.is_some_and(|(_, at)| time.saturating_sub(at) < interval) {
            return;
        }
        if let Some((then, at)) = self.sampled
            && time.saturating_sub(at) < 2 * interval
        {
            self.errors.add(&then.map(|f| f - mid));
            self.combiners.forget();
        }
        let live: Option<Vec3> =
            self.live(time).map(|(values, _)| values).filter(|_| self.live_count(time) == SOURCES);
        self.sampled = live.map(|values| (values, time));
    }

    fn live_count(&self, time: Nanos) -> usize {
        self.sources.iter().flatten().filter(|s| self.is_fresh(s.1, time)).count()
    }

    /// The sources that are alive: their values, packed to the front, and which they are.
    fn live(&self, time: Nanos) -> Option<(Vec3, [usize; SOURCES])> {
        let (mut values, mut which, mut n) = ([0.0; SOURCES], [0; SOURCES], 0);
        for (i, source) in self.sources.iter().enumerate() {
            if let Some((value, _)) = source.filter(|s| self.is_fresh(s.1, time)) {
                (values[n], which[n]) = (value, i);
                n += 1;
            }
        }
        (n > 0).then_some((values, which))
    }

    /// What it has found, the level, and how far the sources see the price from the mid, in two standard errors.
    fn judge(&mut self, time: Nanos) -> Result<(Option<Sketch>, f64, f64), Abstention> {
        let (mid, _) = self.mid.filter(|m| self.is_fresh(m.1, time)).ok_or(Abstention::Degenerate)?;
        let n = self.live_count(time);
        let (values, which) = self.live(time).filter(|_| n >= 2).ok_or(Abstention::NoSources)?;
        if self.errors.n() < self.config.errors_min {
            return Err(Abstention::Warmup);
        }
        let combiners = self.combiners.get(|| Combiners::new(&self.errors));
        let combine = |f: &[f64], which: &[usize]| combiners.of(which).and_then(|c| c.combine(f));
        let all = combine(&values[..n], &which[..n]).ok_or(Abstention::Degenerate)?;
        // The direction comes from the sources that are not the own book.
        let others: usize = which[..n].iter().position(|&i| i != 0).unwrap_or(0);
        let (rest, rest_which) = (&values[others..n], &which[others..n]);
        let (mean, error) = if rest.len() == 1 {
            (rest[0], combiners.covariance[rest_which[0]][rest_which[0]].sqrt())
        } else {
            combiners.of(rest_which).and_then(|c| c.mean(rest)).ok_or(Abstention::Degenerate)?
        };
        if error <= 0.0 || error.is_nan() {
            return Err(Abstention::Degenerate);
        }
        let away = (mean - mid) / (2.0 * error);
        Ok((sketch::tilt(away, all.heterogeneity), all.heterogeneity, away))
    }
}

type Vec3 = [f64; SOURCES];

/// The rows and columns of `which`.
fn part(full: &Square, which: &[usize]) -> Square {
    let mut out = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
    for (i, &from) in which.iter().enumerate() {
        for (j, &column) in which.iter().enumerate() {
            out[i][j] = full[from][column];
        }
    }
    out
}

impl Actor for Contradiction {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        if let Some(quote) = message.body::<Quote>() {
            if quote.usable != 0 && message.instrument() == self.config.traded.0 {
                let mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
                self.mid = Some((mid, message.header.time));
            }
        } else if let Some(features) = message.body::<Features>() {
            self.features(message, features);
            if message.is_mark() {
                let judged = self.judge(message.header.time);
                let levels = judged.map_or((0.0, 0.0), |(_, level, away)| (level, away));
                send(self.config.member, judged.map(|j| j.0), levels, message, out);
            }
        }
    }

    fn digest(&self) -> u64 {
        let value = |s: Option<(f64, Nanos)>| s.map_or(0, |(v, _)| v.to_bits());
        let start = self.errors.n() ^ self.basis.get().unwrap_or_default().to_bits();
        self.sources.iter().fold(start, |d, s| d.rotate_left(17) ^ value(*s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{SECOND, mark, p};

    fn member() -> Contradiction {
        Contradiction::new(ContradictionConfig {
            member: 0,
            traded: (InstrumentId(1), 10),
            other: Some((InstrumentId(0), 1)),
            error_interval: SECOND,
            error_half_life: 1_000.0,
            errors_min: 20,
            basis_half_life: 60 * SECOND,
            stale_after: SECOND,
        })
    }

    /// Thirty seconds in which every source is a little wrong.
    fn warmed() -> Contradiction {
        let mut m = member();
        for i in 0..30i64 {
            let (time, wobble) = (i * SECOND, (i % 3 - 1) as f64);
            mark(&mut m, 0, time, 9_000, 10.0 * (900.0 + wobble), 0.0);
            let vote = mark(&mut m, 1, time + 1, 1_000, 1_000.0 - wobble, wobble);
            let expected = if i < 20 { Abstention::Warmup as u64 } else { 0 };
            assert_eq!(vote.abstains, if i == 20 { vote.abstains } else { expected }, "{i}");
        }
        m
    }

    #[test]
    fn sources_that_agree_leave_it_even_and_those_that_do_not_are_seen() {
        let mut m = warmed();
        mark(&mut m, 0, 30 * SECOND, 9_000, 9_000.0, 0.0);
        let calm = mark(&mut m, 1, 30 * SECOND + 1, 1_000, 1_000.0, 0.0);
        assert!(calm.level < 0.2 && calm.second.abs() < 0.3, "{calm:?}");
        // The other market is 5 ticks of ours higher, and the flow says so too.
        mark(&mut m, 0, 31 * SECOND, 9_050, 9_050.0, 0.0);
        let up = mark(&mut m, 1, 31 * SECOND + 1, 1_000, 1_000.0, 5.0);
        assert!(up.level > 0.6 && up.second > 0.9, "{up:?}");
        assert!(p(&up)[2] > p(&up)[0] && (p(&up).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let mut other = warmed();
        mark(&mut other, 0, 31 * SECOND, 8_950, 8_950.0, 0.0);
        let down = mark(&mut other, 1, 31 * SECOND + 1, 1_000, 1_000.0, -5.0);
        assert!(p(&down)[0] > p(&down)[2] && down.second < -0.9, "{down:?}");
    }

    #[test]
    fn fewer_than_two_sources_alive_is_no_vote() {
        let mut m = warmed();
        let quote_only = mark(&mut m, 0, 90 * SECOND, 9_000, f64::NAN, 0.0);
        assert_eq!(quote_only.abstains, Abstention::Degenerate as u64, "our own book is an hour old");
    }
}
