//! The stage of the main line: joins the members' votes at every mark, pools them, learns from what became of them.

use kimera_numerics::calibration::Calibration;
use kimera_numerics::{Volatility, VolatilityConfig};
use kimera_protocol::vote::UNKNOWN;
use kimera_protocol::{
    Consensus, Features, InstrumentId, MEMBERS_MAX, Message, Nanos, Quote, Sketch, Vote, Weights,
};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::cache::{Answer, DecisionCache, Key};
use crate::outcomes::{Open, Outcomes, Said};
use crate::pool::{Forecast, Pooled, conflict, pool};
use crate::shadows::{Shadows, Weighing, brier};
use crate::sketch;
use crate::weights::{WeightSet, floored, update};

/// Most outputs of one input: the features, the consensus, and weights that have changed.
pub const OUTPUTS_MAX: usize = 3;

/// Outcomes with a direction before it is asked which one is commoner.
const BASE_MIN: u64 = 100;

/// What the stage needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct EnsembleConfig {
    /// Names of the members, in the order of their numbers.
    pub members: Vec<String>,
    /// Their weights at the start; they sum to 1.
    pub prior: WeightSet,
    /// Instrument whose price is forecast.
    pub traded: InstrumentId,
    /// Horizon of a forecast.
    pub horizon: Nanos,
    /// Between two forecasts whose outcome is waited for.
    pub forecast_interval: Nanos,
    /// Distance of the barriers, as a multiple of the volatility over the horizon.
    pub barrier_sigmas: f64,
    /// Outcomes between two changes of the weights.
    pub reweight_every: u64,
    /// Who decides about them.
    pub weighing: Weighing,
    /// Volatility, for the barriers.
    pub volatility: VolatilityConfig,
    /// Places of the decision cache; 0 switches it off, which changes nothing that is said.
    pub cache_entries: usize,
}

/// What the stage counts for those who watch.
#[derive(Clone)]
pub struct EnsembleMeters {
    votes: Box<[Counter]>,
    abstained: Box<[Counter]>,
    weights: Box<[Counter]>,
    resolved: Counter,
    weight_epoch: Counter,
    regrets: Box<[Counter]>,
    /// Hits, misses and what was too old.
    cache: [Counter; 3],
}

kimera_protocol::state!(EnsembleMeters { votes, abstained, weights, resolved, weight_epoch, regrets } fixed { cache });

impl EnsembleMeters {
    /// Counters `ensemble.votes.<member>`, `ensemble.abstained.<member>`, `ensemble.weight.<member>` (the bits of a float),
    /// `ensemble.resolved`, `ensemble.weight_epoch`, `ensemble.regret.<rule>` (the bits of a float) of each way to weigh them, and what the decision cache
    /// did: `ensemble.cache.hits`, `.misses`, `.expired`.
    #[must_use]
    pub fn new(counters: &Counters, members: &[String]) -> Self {
        let each =
            |what: &str| members.iter().map(|m| counters.counter(&format!("ensemble.{what}.{m}"))).collect();
        Self {
            votes: each("votes"),
            abstained: each("abstained"),
            weights: each("weight"),
            resolved: counters.counter("ensemble.resolved"),
            weight_epoch: counters.counter("ensemble.weight_epoch"),
            regrets: Weighing::ALL.map(|w| counters.counter(&format!("ensemble.regret.{}", w.name()))).into(),
            cache: ["hits", "misses", "expired"]
                .map(|how| counters.counter(&format!("ensemble.cache.{how}"))),
        }
    }
}

/// What members' forecasts of one round were worth.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Sum of squared distances from the outcome, by member, over the forecasts it voted on.
    brier: WeightSet,
    voted: [u32; MEMBERS_MAX],
    classes: [u32; 3],
}

kimera_protocol::state!(Round { brier, voted, classes });

impl Round {
    fn add(&mut self, open: &Said, class: usize) {
        self.classes[class] += 1;
        for (m, vote) in open.votes.iter().enumerate() {
            let Some(p) = vote else { continue };
            self.brier[m] += brier(p, class);
            self.voted[m] += 1;
        }
    }

    fn resolved(&self) -> u64 {
        self.classes.iter().map(|c| u64::from(*c)).sum()
    }

    /// Brier skill score of each member against the round's own base rates (Brier 1950; Murphy 1973); 0 for who did not
    /// vote.
    fn skill(&self) -> WeightSet {
        let n = self.resolved().max(1) as f64;
        let uncertainty = self.classes.iter().fold(0.0, |sum, c| {
            let share = f64::from(*c) / n;
            sum + share * (1.0 - share)
        });
        std::array::from_fn(|m| {
            let voted = f64::from(self.voted[m]);
            if voted > 0.0 && uncertainty > 0.0 { 1.0 - self.brier[m] / voted / uncertainty } else { 0.0 }
        })
    }
}

/// The stage.
pub struct Ensemble {
    config: EnsembleConfig,
    weights: WeightSet,
    weight_epoch: u64,
    /// What members have found at this mark; nothing of those who abstain.
    sketches: [Sketch; MEMBERS_MAX],
    cache: DecisionCache<Answered>,
    /// By member: its place among the levels that are said with the consensus (contradiction, temperature); beyond them where it has none.
    level_of: [u8; MEMBERS_MAX],
    levels: [f32; 2],
    outcomes: Outcomes,
    round: Round,
    shadows: Shadows,
    /// Outcomes that went down, and up.
    sides: [u64; 2],
    calibration: Calibration,
    volatility: Volatility,
    mid: Option<f64>,
    last_forecast: Nanos,
    resolved: u64,
    weights_to_tell: bool,
    meters: EnsembleMeters,
}

kimera_protocol::state!(Ensemble { weights, weight_epoch, levels, cache, outcomes, round, shadows, sides, calibration, volatility, mid, last_forecast, resolved, weights_to_tell, meters } fixed { config, level_of, sketches });

/// What is remembered of sketches and weights: everything said at a mark that depends on nothing else.
#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    p: Forecast,
    agreement: f64,
    conflict: f64,
}

/// What sketches say; nothing of those that cannot be read.
fn votes(sketches: &[Sketch]) -> [Option<Forecast>; MEMBERS_MAX] {
    let mut votes = [None; MEMBERS_MAX];
    votes.iter_mut().zip(sketches).for_each(|(vote, sketch)| *vote = sketch::read(*sketch));
    votes
}

/// Strength of the direction of a forecast: the probability of the likelier side, given that it is not flat.
fn raw_confidence(p: &Forecast) -> f64 {
    let sides = p[0] + p[2];
    if sides > 0.0 { p[0].max(p[2]) / sides } else { 0.5 }
}

/// Cognitive pressure (model book 4.9): (1 − confidence) / (1 − base rate), 1 at most. How probable an error is, against always saying what is commoner;
/// 1 where either is no probability.
#[must_use]
pub fn pressure(confidence: f64, base_rate: f64) -> f64 {
    let ratio = (1.0 - confidence) / (1.0 - base_rate);
    if ratio.is_finite() && (0.0..=1.0).contains(&confidence) { ratio.clamp(0.0, 1.0) } else { 1.0 }
}

impl Ensemble {
    /// Members with their prior weights and no outcome yet.
    #[must_use]
    pub fn new(config: EnsembleConfig, meters: EnsembleMeters) -> Self {
        let ensemble = Self {
            weights: config.prior,
            weight_epoch: 0,
            sketches: [Sketch::NONE; MEMBERS_MAX],
            cache: DecisionCache::new(config.cache_entries),
            level_of: std::array::from_fn(|member| match config.members.get(member).map(String::as_str) {
                Some("contradiction") => 0,
                Some("thermodynamic") => 1,
                _ => u8::MAX,
            }),
            levels: [UNKNOWN; 2],
            outcomes: Outcomes::new(config.horizon),
            round: Round::default(),
            shadows: Shadows::new(config.members.len()),
            sides: [0; 2],
            calibration: Calibration::default(),
            volatility: Volatility::new(config.volatility),
            mid: None,
            last_forecast: Nanos::MIN,
            resolved: 0,
            weights_to_tell: false,
            meters,
            config,
        };
        ensemble.publish();
        ensemble
    }

    /// How often the commoner direction came; an even chance before much has.
    fn base_rate(&self) -> f64 {
        let [down, up] = self.sides;
        let n = down + up;
        if n >= BASE_MIN { down.max(up) as f64 / n as f64 } else { 0.5 }
    }

    fn publish(&self) {
        for (counter, weight) in self.meters.weights.iter().zip(&self.weights) {
            counter.set(weight.to_bits());
        }
        self.meters.weight_epoch.set(self.weight_epoch);
    }

    /// The mid moves: forecasts may be decided by it.
    fn quote(&mut self, quote: &Quote, time: Nanos) {
        if quote.usable == 0 {
            return;
        }
        let mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
        self.mid = Some(mid);
        self.volatility.moved(mid, time);
        let (round, calibration, resolved) = (&mut self.round, &mut self.calibration, &mut self.resolved);
        let (shadows, sides, weights) = (&mut self.shadows, &mut self.sides, &self.weights);
        self.outcomes.moved(mid, time, |open, class| {
            round.add(&open.of, class);
            shadows.resolved(&open.of, class, weights);
            if class != 1 {
                sides[class / 2] += 1;
            }
            *resolved += 1;
            // A forecast without a direction, or a price that went nowhere, says nothing about direction.
            if class != 1 && (open.of.pooled[2] - open.of.pooled[0]).abs() > 1e-12 {
                let up = open.of.pooled[2] > open.of.pooled[0];
                calibration.add(raw_confidence(&open.of.pooled), up == (class == 2));
            }
        });
        if self.round.resolved() >= self.config.reweight_every {
            self.reweight();
        }
        self.meters.resolved.set(self.resolved);
    }

    #[cold]
    fn reweight(&mut self) {
        let members = self.config.members.len();
        self.weights = match self.shadows.weights(self.config.weighing) {
            Some(weights) => floored(weights, members),
            None => update(&self.weights, &self.config.prior, &self.round.skill(), members),
        };
        for (meter, weighing) in self.meters.regrets.iter().zip(Weighing::ALL) {
            meter.set(self.shadows.regret(weighing).to_bits());
        }
        self.round = Round::default();
        self.weight_epoch += 1;
        self.weights_to_tell = true;
        self.publish();
    }

    fn take_votes(&mut self, joined: &[&Message]) -> u64 {
        self.sketches = [Sketch::NONE; MEMBERS_MAX];
        self.levels = [UNKNOWN; 2];
        let mut voted = 0;
        for vote in joined.iter().filter_map(|m| m.body::<Vote>()) {
            let member = vote.member as usize;
            if member >= self.config.members.len() {
                continue;
            }
            if vote.abstains == 0 && sketch::is_readable(vote.sketch) {
                self.sketches[member] = vote.sketch;
                if let Some(level) = self.levels.get_mut(usize::from(self.level_of[member])) {
                    *level = vote.level as f32;
                }
                voted |= 1 << member;
                self.meters.votes[member].add(1);
            } else {
                self.meters.abstained[member].add(1);
            }
        }
        voted
    }

    /// What the sketches come to: remembered or computed, which is the same.
    fn answer(&mut self, time: Nanos) -> Option<Answered> {
        let (sketches, weights) = (&self.sketches, &self.weights[..self.config.members.len()]);
        let key = Key { sketches: sketches.map(Sketch::word), weight_epoch: self.weight_epoch };
        let (answered, how) = self.cache.get(&key, time, || {
            let votes = &votes(sketches)[..weights.len()];
            let Pooled { p, agreement, .. } = pool(votes, weights)?;
            Some(Answered { p, agreement, conflict: conflict(votes) })
        });
        let [hits, misses, expired] = &self.meters.cache;
        match how {
            Answer::Hit => hits.add(1),
            Answer::Miss => misses.add(1),
            Answer::Expired => expired.add(1),
        }
        answered
    }

    /// What the ensemble says now, and a forecast to be judged later, once an interval.
    fn consensus(&mut self, traded: bool, time: Nanos, voted: u64) -> Consensus {
        let mut consensus = Consensus {
            voted,
            resolved: self.resolved,
            weight_epoch: self.weight_epoch,
            pressure: 1.0,
            levels: self.levels,
            ..Consensus::default()
        };
        if voted == 0 {
            return consensus;
        }
        let Some(Answered { p, agreement, conflict }) = self.answer(time) else { return consensus };
        consensus.p = p;
        consensus.score = p[2] - p[0];
        consensus.agreement = agreement;
        consensus.conflict = conflict;
        // Not remembered: they follow every outcome.
        consensus.confidence = self.calibration.confidence(raw_confidence(&p));
        consensus.pressure = pressure(consensus.confidence, self.base_rate());
        let due = time.saturating_sub(self.last_forecast) >= self.config.forecast_interval;
        if traded
            && due
            && let (Some(mid), Some(sigma)) = (self.mid, self.volatility.per_root_second())
        {
            let seconds = self.config.horizon as f64 * 1e-9;
            let barrier = self.config.barrier_sigmas * sigma * seconds.sqrt();
            let of = Said { votes: votes(&self.sketches), pooled: p };
            self.outcomes.open(Open { time, mid, barrier, of });
            self.last_forecast = time;
        }
        consensus
    }

    fn tell_weights(&mut self, message: &Message, out: &mut Outbox) {
        if std::mem::take(&mut self.weights_to_tell) {
            let weights = Weights {
                weights: self.weights,
                members: self.config.members.len() as u64,
                resolved: self.resolved,
                weight_epoch: self.weight_epoch,
                reserved: 0,
            };
            out.send(Port::Record, message.instrument(), weights);
        }
    }
}

impl Actor for Ensemble {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        out.forward(Port::Line, message);
        let traded = message.instrument() == self.config.traded;
        if let Some(quote) = message.body::<Quote>() {
            if traded {
                self.quote(quote, message.header.time);
            }
        } else if message.body::<Features>().is_some() && message.is_mark() {
            let voted = self.take_votes(input.joined);
            let consensus = self.consensus(traded, message.header.time, voted);
            out.send(Port::Line, message.instrument(), consensus);
            self.tell_weights(message, out);
        }
    }

    fn digest(&self) -> u64 {
        let start = self.resolved ^ self.weight_epoch.rotate_left(32);
        self.weights.iter().fold(start, |d, w| d.rotate_left(9) ^ w.to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::SECOND;
    use kimera_protocol::{Flags, Header, Kind, Level, Price, Quantity};
    use proptest::prelude::*;

    fn stage() -> Ensemble {
        let names: Vec<_> = ["good", "bad", "silent"].map(str::to_owned).to_vec();
        let mut prior = [0.0; MEMBERS_MAX];
        prior[..3].copy_from_slice(&[0.4, 0.4, 0.2]);
        let config = EnsembleConfig {
            members: names.clone(),
            prior,
            traded: InstrumentId(1),
            horizon: 2 * SECOND,
            forecast_interval: SECOND,
            barrier_sigmas: 0.5,
            reweight_every: 100,
            weighing: Weighing::Skill,
            volatility: VolatilityConfig { bar: SECOND, half_life_bars: 30.0, bars_min: 3 },
            cache_entries: crate::cache::ENTRIES,
        };
        Ensemble::new(config, EnsembleMeters::new(&Counters::detached(), &names))
    }

    fn handle<B: kimera_protocol::Body>(
        stage: &mut Ensemble,
        time: Nanos,
        flags: u8,
        body: B,
        votes: &[Message],
    ) -> Vec<Message> {
        let header = Header { seq: 1, time, instrument: 1, flags, ..Header::default() };
        let message = Message::new(header, body);
        let mut out = Outbox::new(OUTPUTS_MAX);
        out.begin(&message);
        let joined: Vec<_> = votes.iter().collect();
        stage.handle(Input { message: &message, joined: &joined }, &mut out);
        out.staged().map(|(_, m)| *m).collect()
    }

    fn quote(mid: i64) -> Quote {
        let level = |price| Level { price: Price(price), size: Quantity(1) };
        Quote { bid: level(mid - 1), ask: level(mid + 1), usable: 1, ..Quote::default() }
    }

    fn vote(member: u64, p: Forecast, abstains: u64) -> Message {
        let sketch = sketch::odds(p).unwrap_or_default();
        Message::new(Header::default(), Vote { member, sketch, abstains, ..Vote::default() })
    }

    /// A price that goes up and down in steps of ten, and members that know, are wrong, and say nothing.
    #[test]
    fn who_is_right_gains_weight_and_confidence_follows() {
        let mut stage = stage();
        let (mut told, mut last) = (Vec::new(), Consensus::default());
        for i in 0..400i64 {
            let rising = (i / 4) % 2 == 0;
            let mid = 10_000 + if rising { i % 4 } else { 3 - i % 4 } * 10;
            let time = i * SECOND;
            assert_eq!(handle(&mut stage, time, 0, quote(mid), &[]).len(), 1);
            // The next step, seen from here.
            let up = (i % 4 == 3) != rising;
            let right = if up { [0.1, 0.1, 0.8] } else { [0.8, 0.1, 0.1] };
            let wrong = [right[2], right[1], right[0]];
            let votes = [vote(0, right, 0), vote(1, wrong, 0), vote(2, [0.0; 3], 4)];
            let out = handle(&mut stage, time, Flags::MARK, Features::default(), &votes);
            let kinds: Vec<_> = out.iter().filter_map(Message::kind).collect();
            assert_eq!(kinds[..2], [Kind::Features, Kind::Consensus]);
            told.extend(out.iter().filter_map(|m| m.body::<Weights>().copied()));
            last = *out[1].body::<Consensus>().unwrap();
        }
        assert!(last.resolved > 300 && last.voted == 0b011, "{last:?}");
        assert_eq!(told.len() as u64, last.weight_epoch);
        assert!(told.len() >= 3);
        let weights = told.last().unwrap().weights;
        assert!(weights[0] > 0.55 && weights[1] < 0.3, "{weights:?}");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn pressure_is_error_against_the_commoner_side() {
        // Model book 4.9.
        for (confidence, base, expected) in [(0.5, 0.4, 0.833_333), (0.65, 0.4, 0.583_333), (0.4, 0.4, 1.0)] {
            assert!((pressure(confidence, base) - expected).abs() < 1e-6);
        }
        assert_eq!((pressure(0.3, 0.5), pressure(1.0, 0.5), pressure(1.0, 1.0)), (1.0, 0.0, 1.0));
        assert_eq!((pressure(f64::NAN, 0.5), pressure(0.5, f64::NAN), pressure(1.5, 0.5)), (1.0, 1.0, 1.0));
    }

    #[test]
    fn without_a_vote_there_is_no_forecast() {
        let mut stage = stage();
        handle(&mut stage, 0, 0, quote(100), &[]);
        let strange = [vote(7, [0.2, 0.3, 0.5], 0), vote(0, [2.0, 0.0, 0.0], 0)];
        let out = handle(&mut stage, 0, Flags::MARK, Features::default(), &strange);
        let consensus = out[1].body::<Consensus>().unwrap();
        assert_eq!((consensus.p, consensus.voted, consensus.score), ([0.0; 3], 0, 0.0));
        assert_eq!((consensus.pressure, consensus.conflict), (1.0, 0.0));
        assert_eq!(stage.outcomes.newest(), None);
    }

    proptest! {
        /// Switched on, small or off: what is said and what is learnt is the same, and a stage brought back without its cache goes on alike.
        #[test]
        fn the_cache_changes_nothing(seed in 1u64.., places in 0usize..12) {
            let with = |cache_entries| {
                let mut stage = stage();
                stage.config.reweight_every = 20;
                stage.cache = DecisionCache::new(cache_entries);
                stage
            };
            let (mut on, mut off, mut x) = (with(places), with(0), seed);
            let mut next = |n: u64| { x ^= x << 13; x ^= x >> 7; x ^= x << 17; (x >> 20) % n };
            for i in 0..400 {
                let time = i * SECOND / 4;
                let quote = quote(1_000 + next(40) as i64);
                let sketches = [next(2), next(2), next(2)].map(|k| Sketch::new(kimera_protocol::Form::ALL[(k % 3) as usize], k as i16 * 16, k as i16));
                let votes: Vec<_> = (0..3).map(|m| {
                    let vote = Vote { member: m, sketch: sketches[m as usize], abstains: u64::from(next(9) == 0), ..Vote::default() };
                    Message::new(Header::default(), vote)
                }).collect();
                for stage in [&mut on, &mut off] {
                    handle(stage, time, 0, quote, &[]);
                }
                let said = [&mut on, &mut off].map(|stage| handle(stage, time, Flags::MARK, Features::default(), &votes));
                prop_assert_eq!(&said[0], &said[1], "at {}", i);
                prop_assert_eq!(on.digest(), off.digest());
                if i == 200 {
                    let bytes = kimera_protocol::Saver::of(&on);
                    on = with(places);
                    kimera_protocol::State::load(&mut on, &mut kimera_protocol::Loader::new(&bytes)).unwrap();
                }
            }
            prop_assert!(off.weight_epoch > 1, "the weights have changed on the way");
            let [off_hits, on_hits] = [&off, &on].map(|stage| stage.meters.cache[0].get());
            prop_assert!(off_hits == 0 && (places == 0 || on_hits > 0), "{} {}", off_hits, on_hits);
        }
    }
}
