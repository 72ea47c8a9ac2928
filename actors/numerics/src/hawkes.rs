//! Trades that bring trades: the exponential Hawkes process (Hawkes, Biometrika 58, 1971; likelihood after Ozaki 1979).

use kimera_protocol::{Nanos, Status};

use crate::estimate::Estimate;
use crate::{exp, ln};

/// `λ(t) = μ + Σ α e^{−β (t − tᵢ)}`, events a second (model book 1.12). Each event brings `α/β` others on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HawkesParameters {
    /// Rate without any event.
    pub base: f64,
    /// By how much an event raises the rate.
    pub jump: f64,
    /// How fast that decays.
    pub decay: f64,
}

/// Above it the process has no mean: the branching ratio is held there.
pub const BRANCHING_MAX: f64 = 0.99;

impl HawkesParameters {
    /// Events that one event brings, directly; below one where there is a mean.
    #[must_use]
    pub fn branching(&self) -> f64 {
        self.jump / self.decay
    }

    /// Mean rate in the long run; held where the branching ratio is too near to one.
    #[must_use]
    pub fn mean_rate(&self) -> Estimate {
        let branching = self.branching();
        if !(self.decay > 0.0 && self.base >= 0.0 && self.jump >= 0.0) {
            return Estimate::degenerate(Status::ZeroVariance, 0);
        }
        let rate = self.base / (1.0 - branching.min(BRANCHING_MAX));
        let status = if branching > BRANCHING_MAX { Status::Clamped } else { Status::Ok };
        Estimate { status, ..Estimate::ok(rate, 0) }
    }

    /// Log likelihood of events at `times` (seconds, in order) up to `end`, and the compensator `∫λ`.
    #[must_use]
    pub fn log_likelihood(&self, times: &[f64], end: f64) -> (f64, f64) {
        let (mut excitement, mut last) = (0.0, 0.0);
        let (mut logs, mut compensator) = (0.0, self.base * end);
        for (i, &time) in times.iter().enumerate() {
            if i > 0 {
                excitement = exp(-self.decay * (time - last).max(0.0)) * (1.0 + excitement);
            }
            logs += ln(self.base + self.jump * excitement);
            compensator += self.branching() * (1.0 - exp(-self.decay * (end - time)));
            last = time;
        }
        (logs - compensator, compensator)
    }
}

/// Events below which there is no fit.
pub const EVENTS_MIN: usize = 50;
/// Steps of a fit, and the relative gain in likelihood below which it ends.
const STEPS_MAX: usize = 300;
const GAIN_MIN: f64 = 1e-9;

/// Parameters under which events at `times` (seconds, in order) up to `end` are likeliest, by expectation and maximisation over who brought whom
/// (Veen and Schoenberg, Journal of the American Statistical Association 103, 2008); of events near the end it is taken as known what they
/// have yet to bring. Starts at a branching
/// ratio of one half; a ratio above [`BRANCHING_MAX`] is held there and said as [`Status::Clamped`].
///
/// None of fewer than [`EVENTS_MIN`] events, or of events that take no time.
#[must_use]
pub fn fit(times: &[f64], end: f64) -> Option<(HawkesParameters, Status)> {
    let span = times.first().map(|first| end - first)?;
    if times.len() < EVENTS_MIN || !(span.is_finite() && span > 0.0) {
        return None;
    }
    let since: Vec<f64> = times.iter().map(|time| time - times[0]).collect();
    let rate = since.len() as f64 / span;
    let mut at = HawkesParameters { base: 0.5 * rate, jump: 0.5 * rate, decay: rate };
    let mut before = f64::NEG_INFINITY;
    for _ in 0..STEPS_MAX {
        let (next, likelihood) = improved(at, &since, span);
        if !likelihood.is_finite() || likelihood - before < GAIN_MIN * likelihood.abs() {
            break;
        }
        before = likelihood;
        if !(next.base > 0.0 && next.jump > 0.0 && next.decay > 0.0 && next.decay.is_finite()) {
            break;
        }
        at = next;
    }
    let status = if at.branching() > BRANCHING_MAX { Status::Clamped } else { Status::Ok };
    Some((HawkesParameters { jump: at.jump.min(BRANCHING_MAX * at.decay), ..at }, status))
}

/// One step, and the log likelihood before it.
fn improved(at: HawkesParameters, times: &[f64], end: f64) -> (HawkesParameters, f64) {
    let branching = at.branching();
    // Σ e^{−βΔ}, and Σ Δ e^{−βΔ}, over all events before.
    let (mut excitement, mut delayed, mut last) = (0.0, 0.0, 0.0);
    let (mut immigrants, mut offspring, mut waited) = (0.0, 0.0, 0.0);
    let (mut seen, mut unseen, mut logs) = (0.0, 0.0, 0.0);
    for (i, &time) in times.iter().enumerate() {
        if i > 0 {
            let gap = (time - last).max(0.0);
            let kept = exp(-at.decay * gap);
            delayed = kept * (delayed + gap * (1.0 + excitement));
            excitement = kept * (1.0 + excitement);
        }
        let rate = at.base + at.jump * excitement;
        immigrants += at.base / rate;
        offspring += at.jump * excitement / rate;
        waited += at.jump * delayed / rate;
        logs += ln(rate);
        let left = (end - time).max(0.0);
        let kept = exp(-at.decay * left);
        seen += 1.0 - kept;
        unseen += branching * left * kept;
        last = time;
    }
    let likelihood = logs - at.base * end - branching * seen;
    let decay = offspring / (waited + unseen);
    let next = HawkesParameters { base: immigrants / end, jump: offspring / seen * decay, decay };
    (next, likelihood)
}

/// The rate of one kind of event, moved by each of them.
#[derive(Clone, Copy, Debug)]
pub struct Hawkes {
    parameters: HawkesParameters,
    /// `Σ e^{−β (t − tᵢ)}` at the last event, that one included.
    excitement: f64,
    last: Option<Nanos>,
    events: u64,
}

kimera_protocol::state!(Hawkes { excitement, last, events } fixed { parameters });

impl Hawkes {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(parameters: HawkesParameters) -> Self {
        Self { parameters, excitement: 0.0, last: None, events: 0 }
    }

    fn excitement_at(&self, time: Nanos) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        let seconds = time.saturating_sub(last).max(0) as f64 / 1e9;
        self.excitement * exp(-self.parameters.decay * seconds)
    }

    /// An event. Events of one moment come one behind the other, with nothing between them.
    pub fn add(&mut self, time: Nanos) {
        self.excitement = 1.0 + self.excitement_at(time);
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        self.events += 1;
    }

    /// Events a second to be expected, behind everything so far.
    #[must_use]
    pub fn rate(&self, time: Nanos) -> f64 {
        self.parameters.base + self.parameters.jump * self.excitement_at(time)
    }
}

/// Buyers' and sellers' rates against one another: in [−1, 1], positive where buyers come faster.
#[must_use]
pub fn imbalance(buys: &Hawkes, sells: &Hawkes, time: Nanos) -> Estimate {
    let (buying, selling) = (buys.rate(time), sells.rate(time));
    let n = buys.events + sells.events;
    if n == 0 {
        return Estimate::warmup(0);
    }
    if buying + selling <= 0.0 {
        return Estimate::degenerate(Status::ZeroVariance, n);
    }
    Estimate::ok((buying - selling) / (buying + selling), n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: HawkesParameters = HawkesParameters { base: 0.5, jump: 0.8, decay: 1.6 };

    #[test]
    fn published_values() {
        let (likelihood, compensator) = PUBLISHED.log_likelihood(&[0.0, 1.0, 2.0], 3.0);
        assert!((compensator - 2.874_56).abs() < 1e-5 && (likelihood + 4.346_02).abs() < 1e-5);
        assert!(
            (PUBLISHED.branching() - 0.5).abs() < 1e-12 && (PUBLISHED.mean_rate().value - 1.0).abs() < 1e-12
        );
        let mut hawkes = Hawkes::new(PUBLISHED);
        for (second, rate) in [(0, 0.5), (1, 0.661_517), (2, 0.694_127)] {
            assert!((hawkes.rate(second * 1_000_000_000) - rate).abs() < 1e-6, "just before the event");
            hawkes.add(second * 1_000_000_000);
        }
    }

    /// By Ogata's thinning: times, and the compensator's steps between them.
    fn simulated(events: usize) -> (Vec<f64>, Vec<f64>) {
        let mut word = 0x1234_5678_9abc_def1u64;
        let mut unit = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            ((word >> 11) + 1) as f64 / (1u64 << 53) as f64
        };
        let (mut now, mut excitement, mut last) = (0.0f64, 0.0f64, 0.0f64);
        let (mut times, mut residuals) = (Vec::new(), Vec::new());
        let decayed = |excitement: f64, seconds: f64| excitement * exp(-PUBLISHED.decay * seconds);
        while residuals.len() < events {
            let bound = PUBLISHED.base + PUBLISHED.jump * decayed(excitement, now - last);
            now -= ln(unit()) / bound;
            let rate = PUBLISHED.base + PUBLISHED.jump * decayed(excitement, now - last);
            if unit() * bound <= rate {
                let lasted = now - last;
                let integral = PUBLISHED.base * lasted
                    + PUBLISHED.branching() * (excitement - decayed(excitement, lasted));
                residuals.push(integral);
                excitement = decayed(excitement, lasted) + 1.0;
                last = now;
                times.push(now);
            }
        }
        (times, residuals)
    }

    /// The steps are exponential with mean one, and the rate is the mean rate.
    #[test]
    fn residuals_of_what_is_simulated_are_exponential() {
        let (times, mut residuals) = simulated(20_000);
        let now = times[times.len() - 1];
        assert!(
            (residuals.len() as f64 / now - 1.0).abs() < 0.05,
            "mean rate {}",
            residuals.len() as f64 / now
        );
        residuals.sort_unstable_by(f64::total_cmp);
        let n = residuals.len() as f64;
        let distance = residuals
            .iter()
            .enumerate()
            .fold(0.0f64, |d, (i, x)| d.max((1.0 - exp(-x) - i as f64 / n).abs()));
        assert!(distance < 1.63 / n.sqrt(), "Kolmogorov-Smirnov distance {distance} (1 % level)");
    }

    #[test]
    fn a_fit_finds_what_was_simulated() {
        let (times, _) = simulated(8_000);
        let (first, end) = (times[0], times[times.len() - 1]);
        let (found, status) = fit(&times, end).unwrap();
        assert!(status == Status::Ok && (found.branching() - 0.5).abs() < 0.05, "{found:?}");
        assert!((found.base - 0.5).abs() < 0.05 && (found.decay - 1.6).abs() < 0.25, "{found:?}");
        let since: Vec<_> = times.iter().map(|time| time - first).collect();
        let likelihood = |p: HawkesParameters| p.log_likelihood(&since, end - first).0;
        assert!(
            likelihood(found) >= likelihood(PUBLISHED),
            "the likeliest is no less likely than the true one"
        );
        for (by, other) in [(1.02, 1.0), (0.98, 1.0), (1.0, 1.02), (1.0, 0.98)] {
            let near = HawkesParameters { base: found.base * by, decay: found.decay * other, ..found };
            assert!(likelihood(near) < likelihood(found), "{near:?}");
        }
        assert!(fit(&times[..EVENTS_MIN - 1], end).is_none() && fit(&[1.0; 60], 1.0).is_none());
        let (burst, _) = fit(&(0..400).map(|i| f64::from(i) * 1e-9).collect::<Vec<_>>(), 3_600.0).unwrap();
        assert!(burst.branching() <= BRANCHING_MAX && burst.base > 0.0, "{burst:?}");
    }

    #[test]
    fn sides_against_one_another_and_bounds() {
        let (mut buys, sells) = (Hawkes::new(PUBLISHED), Hawkes::new(PUBLISHED));
        assert_eq!(imbalance(&buys, &sells, 0).status, Status::Warmup);
        buys.add(0);
        buys.add(0);
        let one = imbalance(&buys, &sells, 0).value;
        assert!((one - 1.6 / 2.6).abs() < 1e-12 && (imbalance(&sells, &buys, 0).value + one).abs() < 1e-12);
        assert!(imbalance(&buys, &sells, 60_000_000_000).value < 1e-9, "it is forgotten");
        let wild = HawkesParameters { jump: 2.0, ..PUBLISHED };
        assert_eq!(wild.mean_rate().status, Status::Clamped);
    }
}
