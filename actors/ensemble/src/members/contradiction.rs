//! 3.1 Contradiction detector: do independent estimates of one price agree?
//!
//! Five sources for the traded instrument: its own book (1.1), its order flow (mid plus impact times flow, 1.3), the
//! other market's fair price plus the decayed basis, the best prices of the whole market over its venues, and the other
//! market's fair price by the line that both prices keep to (6.9, fitted beside the line, used while they are found to belong together). The last two
//! come and go: they are asked as soon as their errors are known together with those of the others. The error covariance is learnt from what the mid was one
//! interval later. The level is I²; the direction is where the sources see the price that the own book is no part of (the composite has it among
//! its venues: it counts for the level alone), and it counts for as much as they agree.

use kimera_numerics::gls::{Combiner, ESTIMATES_MAX, Square};
use kimera_numerics::{DecayedMean, ErrorCovariance, exp, ln};
use kimera_protocol::{
    Abstention, Derived, Features, InstrumentId, Message, Nanos, Opinion, Quote, Sketch, Topic,
};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::sketch;

/// Sources, and how many of them, the first, are always there when the markets are.
const SOURCES: usize = 5;
const CORE: usize = 3;
const BASIS: usize = 2;
const COMPOSITE: usize = 3;
const COINTEGRATION: usize = 4;
/// What may be there besides, as a set: neither, the composite, the line, both.
const TIERS: usize = 1 << (SOURCES - CORE);
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
    /// The other market's fair price in its own ticks.
    other: Option<(f64, Nanos)>,
    basis: DecayedMean,
    /// The newest word on the line that both prices keep to.
    line: Opinion,
    /// What each source said at the last sample, and which were alive, a bit each.
    sampled: Option<(Values, Nanos)>,
    sampled_set: u64,
    /// Errors of the core and of what is there besides, by [`TIERS`].
    tiers: [ErrorCovariance; TIERS],
    combiners: Derived<Combiners>,
}

kimera_protocol::state!(Contradiction { mid, sources, other, basis, line, sampled, sampled_set, tiers, combiners } fixed { config });

/// What the error covariances alone decide, until the next sample: each combination is made where it is asked for first.
#[derive(Clone, Debug)]
struct Combiners {
    covariances: [Option<Square>; TIERS],
    /// Sources are a bit each; the tier follows from them and from what is known of their errors.
    made: [Option<(usize, usize, Option<Combiner>)>; MADE],
}

/// Combinations that are held: all sources and all but the own book, now and a moment ago.
const MADE: usize = 4;

impl Combiners {
    fn new() -> Self {
        Self { covariances: [None; TIERS], made: [None; MADE] }
    }

    fn covariance(&mut self, tier: usize, tiers: &[ErrorCovariance; TIERS]) -> &Square {
        self.covariances[tier].get_or_insert_with(|| tiers[tier].shrunk().0)
    }

    /// Combines a set of sources by the errors of a tier; none where nothing can be made of them.
    fn of(&mut self, set: usize, tier: usize, tiers: &[ErrorCovariance; TIERS]) -> Option<&Combiner> {
        let known = |held: &Option<(usize, usize, Option<Combiner>)>| {
            held.as_ref().is_none_or(|(s, t, _)| (*s, *t) == (set, tier))
        };
        let place = self.made.iter().position(known).unwrap_or(MADE - 1);
        if self.made[place].as_ref().is_none_or(|(s, t, _)| (*s, *t) != (set, tier)) {
            let covariance = part(self.covariance(tier, tiers), set_of(tier), set);
            self.made[place] = Some((set, tier, Combiner::new(&covariance, set.count_ones() as usize)));
        }
        self.made[place].as_ref().and_then(|(_, _, combiner)| combiner.as_ref())
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
            line: Opinion::default(),
            sampled: None,
            sampled_set: 0,
            tiers: std::array::from_fn(|tier| ErrorCovariance::new(set_of(tier).count_ones() as usize, step)),
            combiners: Derived::default(),
            config,
        }
    }

    fn quote(&mut self, quote: &Quote, time: Nanos) {
        let mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
        self.mid = Some((mid, time));
        let is_known = quote.composite_bid > 0 && quote.composite_ask > 0;
        let both = quote.composite_bid as f64 + quote.composite_ask as f64;
        self.sources[COMPOSITE] = is_known.then(|| (both / (2.0 * self.config.traded.1 as f64), time));
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
        } else if self.config.other.is_some_and(|o| o.0 == message.instrument()) && usable(MICROPRICE) {
            self.other = Some((features.microprice, time));
            if let Some((mid, _)) = self.mid.filter(|m| self.is_fresh(m.1, time)) {
                self.compare_markets(mid, time);
            }
        }
    }

    fn is_fresh(&self, seen: Nanos, now: Nanos) -> bool {
        now.saturating_sub(seen) <= self.config.stale_after
    }

    fn compare_markets(&mut self, mid: f64, time: Nanos) {
        let Some((_, tick)) = self.config.other else { return };
        let Some((price, _)) = self.other.filter(|other| self.is_fresh(other.1, time)) else { return };
        let other = price * tick as f64 / self.config.traded.1 as f64;
        self.basis.add(mid - other, time);
        self.sources[BASIS] = self.basis.get().map(|basis| (other + basis, time));
        let slope = self.line.usable(time).filter(|_| price > 0.0);
        let implied = slope.map(|beta| exp(self.line.second + beta * ln(price)));
        self.sources[COINTEGRATION] = implied.filter(|price| price.is_finite()).map(|price| (price, time));
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
            let were = self.sampled_set as usize;
            for (tier, errors) in self.tiers.iter_mut().enumerate() {
                let of = set_of(tier);
                if were & of == of {
                    let (missed, n) = packed(&then.map(|f| f - mid), of);
                    errors.add(&missed[..n]);
                }
            }
            self.combiners.forget();
        }
        let live = self.live(time);
        self.sampled = (live & set_of(0) == set_of(0)).then(|| (self.values(), time));
        self.sampled_set = live as u64;
    }

    /// The sources that are alive, a bit each.
    fn live(&self, time: Nanos) -> usize {
        let alive = |s: &Option<(f64, Nanos)>| s.is_some_and(|s| self.is_fresh(s.1, time));
        self.sources.iter().enumerate().fold(0, |set, (i, s)| set | usize::from(alive(s)) << i)
    }

    fn values(&self) -> Values {
        self.sources.map(|s| s.map_or(0.0, |(value, _)| value))
    }

    /// What it has found, the level, and how far the sources see the price from the mid, in two standard errors.
    fn judge(&mut self, time: Nanos) -> Result<(Option<Sketch>, f64, f64), Abstention> {
        let (mid, _) = self.mid.filter(|m| self.is_fresh(m.1, time)).ok_or(Abstention::Degenerate)?;
        let live = self.live(time);
        if live.count_ones() < 2 {
            return Err(Abstention::NoSources);
        }
        // As many of those that come and go as are alive, and known well enough together.
        let known = |tier: &usize| self.tiers[*tier].n() >= self.config.errors_min;
        let alive = live >> CORE;
        let tier = [alive, alive & 1, alive & 2, 0].into_iter().find(known).ok_or(Abstention::Warmup)?;
        let set = live & set_of(tier);
        if set.count_ones() < 2 {
            return Err(Abstention::NoSources);
        }
        let values = self.values();
        let (tiers, combiners) = (&self.tiers, self.combiners.get(Combiners::new));
        let (all, n) = packed(&values, set);
        let heterogeneity = combiners
            .of(set, tier, tiers)
            .and_then(|c| c.combine(&all[..n]))
            .ok_or(Abstention::Degenerate)?
            .heterogeneity;
        // The direction comes from the sources that the own book is no part of.
        let others = set & !(1 | 1 << COMPOSITE);
        let (rest, n) = packed(&values, others);
        if n == 0 {
            return Err(Abstention::NoSources);
        }
        let (mean, error) = if n == 1 {
            let i = place_in(set_of(tier), others.trailing_zeros() as usize);
            (rest[0], combiners.covariance(tier, tiers)[i][i].sqrt())
        } else {
            let mean = combiners.of(others, tier, tiers).and_then(|c| c.mean(&rest[..n]));
            let (mean, error) = mean.ok_or(Abstention::Degenerate)?;
            // Errors that move together give some weights below 0: nobody is led beyond what any source says.
            let (least, most) =
                rest[..n].iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
            (mean.max(least).min(most), error)
        };
        if error <= 0.0 || error.is_nan() {
            return Err(Abstention::Degenerate);
        }
        let away = (mean - mid) / (2.0 * error);
        Ok((sketch::tilt(away, heterogeneity), heterogeneity, away))
    }
}

type Values = [f64; SOURCES];

/// The core, and what a tier has besides.
fn set_of(tier: usize) -> usize {
    ((1 << CORE) - 1) | (tier << CORE)
}

/// The values of a set, to the front, and how many they are.
fn packed(values: &Values, set: usize) -> (Values, usize) {
    let (mut out, mut n) = ([0.0; SOURCES], 0);
    for (i, value) in values.iter().enumerate() {
        if set & (1 << i) != 0 {
            out[n] = *value;
            n += 1;
        }
    }
    (out, n)
}

/// Place of a source among those of a set.
fn place_in(set: usize, source: usize) -> usize {
    (set & ((1 << source) - 1)).count_ones() as usize
}

/// The rows and columns of a set within those of a larger one.
fn part(full: &Square, whole: usize, set: usize) -> Square {
    let mut out = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
    let of = || (0..SOURCES).filter(|i| set & (1 << i) != 0).map(|i| place_in(whole, i));
    for (row, from) in out.iter_mut().zip(of()) {
        for (value, column) in row.iter_mut().zip(of()) {
            *value = full[from][column];
        }
    }
    out
}

impl Actor for Contradiction {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        if let Some(quote) = message.body::<Quote>() {
            if quote.usable != 0 && message.instrument() == self.config.traded.0 {
                self.quote(quote, message.header.time);
            }
        } else if let Some(features) = message.body::<Features>() {
            self.features(message, features);
            if message.is_mark() {
                let judged = self.judge(message.header.time);
                let levels = judged.map_or((0.0, 0.0), |(_, level, away)| (level, away));
                send(self.config.member, judged.map(|j| j.0), levels, message, out);
            }
        } else if let Some(opinion) = message.body::<Opinion>()
            && message.instrument() == self.config.traded.0
            && opinion.topic == Topic::Cointegration as u64
            && opinion.basis >= self.line.basis
        {
            self.line = *opinion;
        }
    }

    fn digest(&self) -> u64 {
        let value = |s: Option<(f64, Nanos)>| s.map_or(0, |(v, _)| v.to_bits());
        let start = self.tiers.iter().fold(self.line.digest(), |d, t| d.rotate_left(9) ^ t.n());
        let start = start ^ self.sampled_set.rotate_left(48) ^ self.basis.get().unwrap_or_default().to_bits();
        self.sources.iter().fold(start, |d, s| d.rotate_left(17) ^ value(*s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{SECOND, handle, mark, p};

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
    fn sources_that_come_and_go_are_asked_when_they_are_known() {
        let said = |beta: f64, basis: u64, valid_until: Nanos| Opinion {
            topic: Topic::Cointegration as u64,
            value: beta,
            second: -beta * ln(9_000.0) + ln(1_000.0),
            status: kimera_protocol::Status::Ok as u64,
            basis,
            valid_until,
            ..Opinion::default()
        };
        // Both markets stand at 1,000 of our ticks by basis and line; the other one is then 0.9 % dearer, for which the line of slope one knows nine ticks.
        let after = |line: Option<Opinion>, seconds: i64| {
            let mut m = warmed();
            if let Some(line) = line {
                handle(&mut m, 1, 30 * SECOND, 0, line);
            }
            for i in 30..30 + seconds {
                let (time, wobble) = (i * SECOND, (i % 3 - 1) as f64);
                mark(&mut m, 0, time, 9_000, 9_000.0 + 10.0 * wobble, 0.0);
                mark(&mut m, 1, time + 1, 1_000, 1_000.0 - wobble, wobble);
            }
            let time = (30 + seconds) * SECOND;
            mark(&mut m, 0, time, 9_081, 9_081.0, 0.0);
            let vote = mark(&mut m, 1, time + 1, 1_000, 1_000.0, 1.0);
            (vote.level, vote.second, m.sources[COINTEGRATION].map(|s| s.0), m.tiers.map(|tier| tier.n()))
        };
        let (level, away, none, n) = after(None, 40);
        assert!(n[0] >= 68 && n[1] == 0 && n[2] == 0, "{n:?}: a line that nobody says is no source");
        assert_eq!(none, None);
        let (_, _, _, few) = after(Some(said(1.0, 5, i64::MAX)), 15);
        assert!(few[2] < 20 && few[2] > 10, "{few:?}");
        let (with_few, ..) = after(Some(said(1.0, 5, i64::MAX)), 15);
        let (without, ..) = after(None, 15);
        assert!((with_few - without).abs() < 1e-12, "too little is known of its errors: nobody asks it");
        let (with_line, with_away, implied, n) = after(Some(said(1.0, 5, i64::MAX)), 40);
        assert!(n[2] > 20 && (implied.unwrap() - 1_009.0).abs() < 1e-9, "{n:?} {implied:?}");
        // Every source is above the mid, and so is the direction: basis and line err together, and the line with its smaller weight
        // would lead it below all of them.
        let (steep, steep_away, implied, _) = after(Some(said(2.0, 5, i64::MAX)), 40);
        assert!((implied.unwrap() - 1_018.081).abs() < 1e-9, "{implied:?}");
        assert!(away > 0.0 && with_away > 0.0 && steep_away > 0.0, "{away} {with_away} {steep_away}");
        assert!(
            with_line != level && steep != with_line,
            "what the line says counts: {level} {with_line} {steep}"
        );
        let (old, old_away, implied, _) = after(Some(said(1.0, 5, 55 * SECOND)), 40);
        assert!((old - level).abs() < 1e-12 && (old_away - away).abs() < 1e-12, "it has grown old");
        assert_eq!(implied, None);
    }

    /// A mark of the traded market at 1,000 with a composite so many ticks from there.
    fn composed(
        m: &mut Contradiction,
        time: Nanos,
        wobble: f64,
        composite: Option<i64>,
    ) -> kimera_protocol::Vote {
        mark(m, 0, time, 9_000, 9_000.0 + 10.0 * wobble, 0.0);
        let level = |price| kimera_protocol::Level {
            price: kimera_protocol::Price(price),
            size: kimera_protocol::Quantity(1),
        };
        let mut quote = Quote { bid: level(999), ask: level(1_001), usable: 1, ..Quote::default() };
        if let Some(away) = composite {
            (quote.composite_bid, quote.composite_ask) = (10 * (999 + away), 10 * (1_001 + away));
        }
        handle(m, 1, time + 1, 0, quote);
        let mut features =
            Features { microprice: 1_000.0 - wobble, order_flow: wobble, ..Features::default() };
        features.order_flow_impact = 1.0;
        (0..4).for_each(|i| features.set_status(i, kimera_protocol::Status::Ok));
        handle(m, 1, time + 1, kimera_protocol::Flags::MARK, features).unwrap()
    }

    #[test]
    fn the_composite_counts_for_the_level_and_not_for_the_direction() {
        let after = |last: Option<i64>| {
            let mut m = warmed();
            for i in 30..80 {
                composed(&mut m, i * SECOND, (i % 3 - 1) as f64, Some(i % 2));
            }
            assert!(m.tiers[1].n() >= 20 && m.tiers[2].n() == 0);
            let vote = composed(&mut m, 80 * SECOND, 0.0, last);
            (vote.level, vote.second, m.sources[COMPOSITE].map(|s| s.0))
        };
        let (level, away, seen) = after(Some(0));
        let (high, high_away, higher) = after(Some(12));
        assert_eq!((seen, higher), (Some(1_000.0), Some(1_012.0)));
        assert!(high > level + 0.3, "twelve ticks are a contradiction: {high} {level}");
        assert!((high_away - away).abs() < 1e-12, "it has our own book in it: {high_away} {away}");
        assert_eq!(after(None).2, None, "what is not known any more is no source");
    }

    #[test]
    fn fewer_than_two_sources_alive_is_no_vote() {
        let mut m = warmed();
        let quote_only = mark(&mut m, 0, 90 * SECOND, 9_000, f64::NAN, 0.0);
        assert_eq!(quote_only.abstains, Abstention::Degenerate as u64, "our own book is an hour old");
    }
}
