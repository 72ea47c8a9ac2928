//! 3.4 Thermodynamic optimiser: analogies, each an ordinary statistic, sampled where the mid changes.
//!
//! * temperature: rank of the last hour's realised variance among the hours of thirty days, in [0, 1]; as long as nobody knows those (they are remembered beside
//!   the line), of the last bars' among those before
//! * entropy: permutation entropy of the mids
//! * energy flow: decayed mean of order flow times log price change; positive where flow moves the price with it
//! * equilibrium: an autoregression of the bars, used only where it reverts (Dickey and Fuller) in a sensible time, and no change of law was
//!   noticed just now (3.5, beside the line)
//! * free energy: probabilities of down, flat and up as p ∝ e^(−E/Θ), with the expected cost E of each as what is lost by
//!   being on that side, and Θ the noise over the horizon times (½ + temperature)

use kimera_numerics::{PermutationEntropy, Volatility, VolatilityConfig, decay_of_half_life, exp, ln};
use kimera_protocol::{Abstention, Features, InstrumentId, Message, Nanos, Opinion, Quote, Sketch, Topic};
use kimera_runtime::{Actor, Input, Outbox};

use super::send;
use crate::sketch;

/// Places in [`Features`].
const ORDER_FLOW: usize = 2;
const IMPACT: usize = 3;
/// Mids in the permutation entropy.
const ENTROPY_WINDOW: usize = 256;
/// Bars of the autoregression and of the temperature's rank.
const BARS: usize = 300;
/// Bars before the autoregression is looked at.
const BARS_MIN: usize = 60;
/// Bars summed for one realised variance.
const VARIANCE_BARS: usize = 10;
/// Half-life of the energy flow, in mid changes.
const FLOW_HALF_LIFE: f64 = 64.0;
/// Dickey and Fuller's 5 % point with a constant (MacKinnon 2010, one variable).
const REVERTS_BELOW: f64 = -2.86;
/// Least half-life, in bars, of a reversion that can be used.
const HALF_LIFE_MIN: f64 = 5.0;
/// Distance from equilibrium, in its deviations, from which it is expected back.
const FAR: f64 = 2.0;
/// Probability that the market has just changed from which what was an equilibrium is none.
const CHANGED: f64 = 0.5;

/// What the member needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThermodynamicConfig {
    /// Its number.
    pub member: usize,
    /// Instrument that is traded.
    pub traded: InstrumentId,
    /// Horizon of the forecast.
    pub horizon: Nanos,
    /// Volatility; its bar is the bar of everything here.
    pub volatility: VolatilityConfig,
    /// A book older than this is not used.
    pub stale_after: Nanos,
}

/// Probabilities p ∝ e^(−E/Θ) and the free energy F = −Θ ln Σ e^(−E/Θ): the policy that minimises ⟨E⟩ − Θ H.
#[must_use]
pub fn policy<const N: usize>(cost: [f64; N], theta: f64) -> ([f64; N], f64) {
    let least = cost.iter().fold(f64::INFINITY, |a, b| a.min(*b));
    let weights = cost.map(|e| exp(-(e - least) / theta));
    let sum = weights.iter().fold(0.0, |s, w| s + w);
    (weights.map(|w| w / sum), least - theta * ln(sum))
}

/// An autoregression of order one that reverts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reversion {
    equilibrium: f64,
    deviation: f64,
    /// Share of the way that a price is back when the horizon is over.
    back: f64,
}

kimera_protocol::state!(Reversion { equilibrium, deviation, back });

impl Reversion {
    /// Expected move over the horizon from a price, where it is far from equilibrium.
    fn expected(&self, price: f64) -> Option<f64> {
        let away = self.equilibrium - price;
        let far = (away / self.deviation).abs() > FAR;
        far.then_some(away * self.back)
    }
}

/// The last bars' closes, and what is made of them when one closes.
#[derive(Clone, Debug)]
struct Bars {
    closes: [f64; BARS],
    n: u64,
    /// Bars of a horizon.
    steps: f64,
    reversion: Option<Reversion>,
    temperature: Option<f64>,
}

kimera_protocol::state!(Bars { closes, n, reversion, temperature } fixed { steps });

impl Bars {
    fn new(steps: f64) -> Self {
        Self { closes: [0.0; BARS], n: 0, steps, reversion: None, temperature: None }
    }

    fn push(&mut self, close: f64) {
        self.closes[(self.n % BARS as u64) as usize] = close;
        self.n += 1;
    }

    /// After the last of the bars that have closed.
    fn fit(&mut self) {
        self.reversion = self.reverts();
        self.temperature = self.rank();
    }

    fn held(&self) -> usize {
        self.n.min(BARS as u64) as usize
    }

    /// Close `age` bars back, 0 the newest.
    fn back(&self, age: usize) -> f64 {
        self.closes[((self.n - 1 - age as u64) % BARS as u64) as usize]
    }

    /// Sum of squared changes of the `VARIANCE_BARS` bars that end `age` bars back.
    fn variance(&self, age: usize) -> f64 {
        (age..age + VARIANCE_BARS).fold(0.0, |sum, i| {
            let d = self.back(i) - self.back(i + 1);
            sum + d * d
        })
    }

    /// Share of the earlier realised variances below the newest.
    fn rank(&self) -> Option<f64> {
        let last = self.held().checked_sub(VARIANCE_BARS + 1).filter(|n| *n >= VARIANCE_BARS)?;
        let newest = self.variance(0);
        let below = (1..=last).filter(|&age| self.variance(age) < newest).count();
        Some(below as f64 / last as f64)
    }

    /// The regression of a change on the price before it: b = 1 + slope, t = slope / its error.
    fn reverts(&self) -> Option<Reversion> {
        let n = self.held();
        if n < BARS_MIN {
            return None;
        }
        // Prices are taken about the newest, so that nothing large is squared.
        let (base, m) = (self.back(0), (n - 1) as f64);
        let (mut sx, mut sy, mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for age in 0..n - 1 {
            let (x, y) = (self.back(age + 1) - base, self.back(age) - self.back(age + 1));
            (sx, sy, sxx, sxy, syy) = (sx + x, sy + y, sxx + x * x, sxy + x * y, syy + y * y);
        }
        let (vx, vxy, vy) = (sxx - sx * sx / m, sxy - sx * sy / m, syy - sy * sy / m);
        if vx <= 0.0 {
            return None;
        }
        let slope = vxy / vx;
        let residual = (vy - slope * vxy).max(0.0) / (m - 2.0);
        let (b, t) = (1.0 + slope, slope / (residual / vx).sqrt());
        let half_life = -std::f64::consts::LN_2 / ln(b.max(1e-12));
        if !(t < REVERTS_BELOW && b > 0.0 && b < 1.0 && half_life >= HALF_LIFE_MIN) {
            return None;
        }
        let equilibrium = base + (sy / m - slope * sx / m) / -slope;
        let deviation = (residual / (1.0 - b * b)).sqrt();
        let back = 1.0 - exp(self.steps * ln(b));
        (deviation > 0.0 && equilibrium.is_finite()).then_some(Reversion { equilibrium, deviation, back })
    }
}

/// The member.
pub struct Thermodynamic {
    config: ThermodynamicConfig,
    mid: Option<(f64, Nanos)>,
    bar: Option<i64>,
    bars: Bars,
    entropy: PermutationEntropy,
    volatility: Volatility,
    decay: f64,
    /// √ of the seconds of a horizon.
    root_horizon: f64,
    energy: f64,
    flow: f64,
    /// The mid at which the last change was sampled.
    sampled: f64,
    /// The newest word on whether the market has changed.
    change: Opinion,
    /// The newest word on how hot it is among the hours of a month.
    heat: Opinion,
}

kimera_protocol::state!(Thermodynamic { mid, bar, bars, entropy, volatility, energy, flow, sampled, change, heat } fixed { config, decay, root_horizon });

impl Thermodynamic {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: ThermodynamicConfig) -> Self {
        Self {
            mid: None,
            bar: None,
            bars: Bars::new(config.horizon as f64 / config.volatility.bar.max(1) as f64),
            root_horizon: (config.horizon as f64 * 1e-9).sqrt(),
            entropy: PermutationEntropy::new(ENTROPY_WINDOW),
            volatility: Volatility::new(config.volatility),
            decay: decay_of_half_life(FLOW_HALF_LIFE),
            energy: 0.0,
            flow: 0.0,
            sampled: 0.0,
            change: Opinion::default(),
            heat: Opinion::default(),
            config,
        }
    }

    fn quote(&mut self, quote: &Quote, time: Nanos) {
        if quote.usable == 0 {
            return;
        }
        let mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
        self.volatility.moved(mid, time);
        let bar = time.div_euclid(self.config.volatility.bar.max(1));
        if let (Some(open), Some((last, _))) = (self.bar, self.mid) {
            // Bars without a price keep the last one; a long gap begins anew.
            if bar - open > BARS as i64 {
                self.bars = Bars::new(self.bars.steps);
            } else if bar > open {
                (open..bar).for_each(|_| self.bars.push(last));
                self.bars.fit();
            }
        }
        self.bar = Some(self.bar.map_or(bar, |open| open.max(bar)));
        self.mid = Some((mid, time));
    }

    /// Where the mid has changed since the last mark.
    fn features(&mut self, features: &Features) {
        let usable = features.status(ORDER_FLOW).is_usable() && features.status(IMPACT).is_usable();
        self.flow = if usable { features.order_flow_impact * features.order_flow } else { 0.0 };
        let Some((mid, _)) = self.mid else { return };
        if (mid - self.sampled).abs() < 0.25 {
            return;
        }
        self.entropy.add(mid);
        if self.sampled > 0.0 && mid > 0.0 && features.status(ORDER_FLOW).is_usable() {
            let flow = features.order_flow * ln(mid / self.sampled);
            self.energy += (1.0 - self.decay) * (flow - self.energy);
        }
        self.sampled = mid;
    }

    /// What it has found, the temperature and the entropy.
    fn judge(&self, time: Nanos) -> Result<(Option<Sketch>, f64, f64), Abstention> {
        let fresh = |seen: Nanos| time.saturating_sub(seen) <= self.config.stale_after;
        let (mid, _) = self.mid.filter(|m| fresh(m.1)).ok_or(Abstention::Degenerate)?;
        let entropy = self.entropy.normalised().ok_or(Abstention::Warmup)?;
        let temperature = self.heat.usable(time).or(self.bars.temperature).ok_or(Abstention::Warmup)?;
        let sigma = self.volatility.per_root_second().ok_or(Abstention::Warmup)?;
        let noise = sigma * self.root_horizon;
        let has_changed = self.change.usable(time).is_some_and(|p| p > CHANGED);
        let reversion = self.bars.reversion.filter(|_| !has_changed);
        let drift = match reversion.and_then(|r| r.expected(mid)) {
            Some(back) => back,
            // Flow that has moved the price with it is expected to go on by what it is worth.
            None if self.energy > 0.0 => self.flow,
            None => 0.0,
        };
        let drift = drift.clamp(-noise, noise);
        Ok((sketch::free_energy(drift / noise, temperature), temperature, entropy))
    }
}

impl Actor for Thermodynamic {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message: &Message = input.message;
        let traded = message.instrument() == self.config.traded;
        if let Some(quote) = message.body::<Quote>() {
            if traded {
                self.quote(quote, message.header.time);
            }
        } else if let Some(features) = message.body::<Features>() {
            if traded {
                self.features(features);
            }
            if message.is_mark() {
                let judged = self.judge(message.header.time);
                let levels = judged.map_or((0.0, 0.0), |(_, temperature, entropy)| (temperature, entropy));
                send(self.config.member, judged.map(|j| j.0), levels, message, out);
            }
        } else if let Some(opinion) = message.body::<Opinion>()
            && traded
        {
            let held = match Topic::from_code(opinion.topic) {
                Some(Topic::ChangePoint) => &mut self.change,
                Some(Topic::Temperature) => &mut self.heat,
                _ => return,
            };
            if opinion.basis >= held.basis {
                *held = *opinion;
            }
        }
    }

    fn digest(&self) -> u64 {
        let words = [
            self.change.digest(),
            self.heat.digest(),
            self.bars.n,
            self.energy.to_bits(),
            self.sampled.to_bits(),
            self.flow.to_bits(),
        ];
        words.iter().fold(0, |d: u64, w| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{SECOND, handle, mark, p};

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        // Model book 3.4.
        let (p, f) = policy([0.0, 1.0], 1.0);
        near(f, -0.313_262);
        near(p[0], 0.731_059);
        let (p, f) = policy([-0.001, 0.0, 0.001], 0.0005);
        near(p[0], 0.866_813);
        near(p[1], 0.117_310);
        near(p[2], 0.015_876_2);
        near(f, -0.001_071_47);
        assert!(
            policy([0.0, 1.0], 1e-6).0[0] > 0.999_999 && (policy([0.0, 1.0], 1e9).0[0] - 0.5).abs() < 1e-6
        );
    }

    fn member() -> Thermodynamic {
        Thermodynamic::new(ThermodynamicConfig {
            member: 1,
            traded: InstrumentId(1),
            horizon: 10 * SECOND,
            volatility: VolatilityConfig { bar: SECOND, half_life_bars: 30.0, bars_min: 10 },
            stale_after: SECOND,
        })
    }

    fn random(seed: u64) -> impl FnMut() -> f64 {
        let mut x = seed | 1;
        move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        }
    }

    #[test]
    fn it_warms_up_and_then_votes() {
        let (mut m, mut next, mut mid) = (member(), random(3), 10_000.0);
        let mut last = None;
        for i in 0..200i64 {
            mid += (next() * 10.0).round();
            let vote = mark(&mut m, 1, i * SECOND, mid as i64, mid, 3.0);
            assert!(i > 5 || vote.abstains == Abstention::Warmup as u64);
            last = Some(vote);
        }
        let vote = last.unwrap();
        assert_eq!(vote.abstains, 0);
        assert!((0.0..=1.0).contains(&vote.level) && (0.0..=1.0).contains(&vote.second), "{vote:?}");
        let other = mark(&mut m, 0, 199 * SECOND, 5, 5.0, 0.0);
        assert_eq!(other.sketch, vote.sketch, "another instrument's mark repeats what is known");
        let stale = mark(&mut m, 0, 300 * SECOND, 5, 5.0, 0.0);
        assert_eq!(stale.abstains, Abstention::Degenerate as u64);
    }

    #[test]
    fn far_from_an_equilibrium_it_is_expected_back_and_a_walk_has_none() {
        let (mut bars, mut next, mut x) = (Bars::new(10.0), random(11), 0.0);
        for _ in 0..300 {
            x = 0.93 * x + next();
            bars.push(1_000.0 + x);
        }
        let reversion = bars.reverts().expect("it was made to revert");
        assert!((reversion.equilibrium - 1_000.0).abs() < 0.5 && (0.18..0.76).contains(&reversion.back));
        assert_eq!(reversion.expected(1_000.5), None, "near its equilibrium nothing is expected");
        let back = reversion.expected(1_004.0).expect("far above");
        assert!((-4.5..-1.0).contains(&back), "{back}");
        let walks = (1..200u64).filter(|seed| {
            let (mut bars, mut next, mut x) = (Bars::new(10.0), random(seed * 77), 1_000.0);
            (0..300).for_each(|_| {
                x += next();
                bars.push(x);
            });
            bars.reverts().is_some()
        });
        let walks = walks.count();
        assert!(walks <= 20, "{walks} of 199 walks are taken for equilibria; the level is 5 %");
    }

    #[test]
    fn behind_a_change_the_old_equilibrium_is_none() {
        let (mut m, mut next, mut x) = (member(), random(11), 0.0);
        for i in 0..300i64 {
            x = 0.93 * x + 100.0 * next();
            mark(&mut m, 1, i * SECOND, 10_000 + x as i64, 10_000.0, 0.0);
        }
        let far = |m: &mut Thermodynamic| mark(m, 1, 300 * SECOND, 10_400, 10_400.0, 0.0);
        let before = far(&mut m);
        assert!(p(&before)[0] > p(&before)[2], "it is expected back: {before:?}");
        let said = |value, basis| Opinion {
            topic: Topic::ChangePoint as u64,
            value,
            status: kimera_protocol::Status::Ok as u64,
            basis,
            valid_until: 305 * SECOND,
            ..Opinion::default()
        };
        handle(&mut m, 1, 300 * SECOND, 0, said(0.9, 5));
        let changed = far(&mut m);
        assert!((p(&changed)[0] - p(&changed)[2]).abs() < 1e-12, "{changed:?}");
        handle(&mut m, 1, 300 * SECOND, 0, said(0.1, 4));
        assert_eq!(far(&mut m).sketch, changed.sketch, "an older word changes nothing");
        handle(&mut m, 1, 300 * SECOND, 0, said(0.1, 6));
        assert_eq!(far(&mut m).sketch, before.sketch);
    }

    #[test]
    fn where_a_month_is_known_its_temperature_counts() {
        let (mut m, mut next, mut mid) = (member(), random(3), 10_000.0);
        for i in 0..300i64 {
            mid += (next() * 10.0).round();
            mark(&mut m, 1, i * SECOND, mid as i64, mid, 3.0);
        }
        let own = mark(&mut m, 1, 300 * SECOND, mid as i64, mid, 3.0).level;
        let heat = Opinion {
            topic: Topic::Temperature as u64,
            value: 0.93,
            status: kimera_protocol::Status::Ok as u64,
            basis: 7,
            valid_until: 400 * SECOND,
            ..Opinion::default()
        };
        handle(&mut m, 1, 300 * SECOND, 0, heat);
        assert!((mark(&mut m, 1, 301 * SECOND, mid as i64, mid, 3.0).level - 0.93).abs() < 1e-12);
        (302..405).for_each(|i| {
            mark(&mut m, 1, i * SECOND, mid as i64, mid, 3.0);
        });
        let late = mark(&mut m, 1, 405 * SECOND, mid as i64, mid, 3.0).level;
        assert!((late - 0.93).abs() > 1e-3 && (own - 0.93).abs() > 1e-3, "too old: its own is back, {late}");
    }

    #[test]
    fn temperature_is_a_rank() {
        let mut bars = Bars::new(10.0);
        (0..100).for_each(|i| bars.push(f64::from(i % 2)));
        (0..20).for_each(|i| bars.push(5.0 * f64::from(i % 2)));
        assert!(bars.rank().unwrap() > 0.8);
        (0..60).for_each(|_| bars.push(1.0));
        assert!(bars.rank().unwrap() < 0.01, "nothing is below no variance");
    }
}
