//! How likely a fill of ours as a maker is to lose (model book 1.11): a calibrated logistic regression on what the market looked like. What is
//! learned is whether the price had gone further against the fill than it earned; the label is a definition, not a claim about anybody.

use kimera_protocol::Status;

use crate::calibration::Calibration;
use crate::estimate::Estimate;
use crate::gls::{Cholesky, ESTIMATES_MAX};
use crate::{exp, ln};

/// VPIN, order-flow imbalance, book imbalance, Kyle's lambda, Hawkes imbalance, posterior of informed trading: those of the maker's
/// point of view, positive where they speak against the fill.
pub const INPUTS: usize = 6;
/// Labels below which only the base rate is known.
pub const LABELS_MIN: usize = 500;
/// Labels kept.
pub const LABELS_MAX: usize = 4_096;
/// Weight of nothing having an effect, in labels: keeps coefficients finite where a feature separates.
const RIDGE: f64 = 1.0;
const STEPS_MAX: usize = 25;
/// The older part of the labels, on which weights are fitted; the newer part calibrates them.
const FITTED_SHARE: (usize, usize) = (7, 10);

/// True where a fill as a maker has lost what it earned and its rebate (a fraction of the price) at the mid a while later.
#[must_use]
pub fn is_toxic(is_buy: bool, fill_price: f64, mid_later: f64, net_rebate: f64) -> bool {
    let direction = if is_buy { 1.0 } else { -1.0 };
    -direction * (mid_later - fill_price) / fill_price > net_rebate
}

/// How good probabilities were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ForecastScore {
    /// Mean squared distance from what happened.
    pub brier: f64,
    /// Mean of −ln of the probability of what happened.
    pub log_loss: f64,
}

/// Scores of probabilities and what happened; none of none.
#[must_use]
pub fn score(forecasts: &[(f64, bool)]) -> Option<ForecastScore> {
    let n = forecasts.len() as f64;
    let sum = forecasts.iter().fold(ForecastScore::default(), |sum, &(p, happened)| {
        let of_it = if happened { p } else { 1.0 - p };
        ForecastScore {
            brier: sum.brier + (1.0 - of_it) * (1.0 - of_it),
            log_loss: sum.log_loss - ln(of_it.max(1e-12)),
        }
    });
    (!forecasts.is_empty()).then(|| ForecastScore { brier: sum.brier / n, log_loss: sum.log_loss / n })
}

type Inputs = [f64; INPUTS];

/// Learns from labelled fills; fitted on request, a batch.
#[derive(Clone, Debug)]
pub struct ToxicFlow {
    prior: f64,
    labels: Vec<(Inputs, bool)>,
    next: usize,
    /// Intercept first; none before the first fit.
    weights: Option<[f64; INPUTS + 1]>,
    middles: Inputs,
    deviations: Inputs,
    calibration: Calibration,
}

impl ToxicFlow {
    /// With a probability for as long as there is no fill at all.
    #[must_use]
    pub fn new(prior: f64) -> Self {
        Self {
            prior: prior.clamp(0.0, 1.0),
            labels: Vec::with_capacity(LABELS_MAX),
            next: 0,
            weights: None,
            middles: [0.0; INPUTS],
            deviations: [1.0; INPUTS],
            calibration: Calibration::default(),
        }
    }

    /// A fill whose horizon has passed. An input that is no number is one that is not known: it speaks neither way. Without any there is nothing to learn from.
    pub fn add(&mut self, inputs: Inputs, is_toxic: bool) {
        if !inputs.iter().any(|x| x.is_finite()) {
            return;
        }
        if self.labels.len() < LABELS_MAX {
            self.labels.push((inputs, is_toxic));
        } else {
            self.labels[self.next] = (inputs, is_toxic);
            self.next = (self.next + 1) % LABELS_MAX;
        }
    }

    /// Labels that are kept.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels.len()
    }

    /// The share of labels that were toxic.
    #[must_use]
    pub fn base_rate(&self) -> f64 {
        if self.labels.is_empty() {
            return self.prior;
        }
        self.labels.iter().filter(|label| label.1).count() as f64 / self.labels.len() as f64
    }

    /// Fits anew: weights on the older labels, their calibration on the newer ones. False where that cannot be done; what was stays.
    pub fn fit(&mut self) -> bool {
        if self.labels.len() < LABELS_MIN {
            return false;
        }
        let in_time: Vec<_> =
            self.labels[self.next..].iter().chain(&self.labels[..self.next]).copied().collect();
        let (older, newer) = in_time.split_at(in_time.len() * FITTED_SHARE.0 / FITTED_SHARE.1);
        let (middles, deviations) = moments(older);
        let standard = |inputs: &Inputs| standardised(inputs, &middles, &deviations);
        let rows: Vec<_> = older.iter().map(|(inputs, toxic)| (standard(inputs), *toxic)).collect();
        let Some(weights) = logistic(&rows) else { return false };
        let mut calibration = Calibration::default();
        for (inputs, toxic) in newer {
            calibration.add(raw(&weights, &standard(inputs)), *toxic);
        }
        (self.weights, self.middles, self.deviations, self.calibration) =
            (Some(weights), middles, deviations, calibration);
        true
    }

    /// What was fitted: weights, then the middles and deviations of the inputs; none before the first fit.
    pub fn parameters(&self) -> impl Iterator<Item = f64> + '_ {
        let rest = || self.middles.into_iter().chain(self.deviations);
        self.weights.into_iter().flat_map(move |weights| weights.into_iter().chain(rest()))
    }

    /// The probability that a fill would be toxic, as the market looks now.
    #[must_use]
    pub fn probability(&self, inputs: &Inputs) -> Estimate {
        let n = self.labels.len() as u64;
        let known = self.weights.filter(|_| inputs.iter().any(|x| x.is_finite()));
        let Some(weights) = known else {
            return Estimate { value: self.base_rate(), n, status: Status::Warmup };
        };
        let standard = standardised(inputs, &self.middles, &self.deviations);
        Estimate::clamped(self.calibration.confidence(raw(&weights, &standard)), 0.0, 1.0, n)
    }
}

fn moments(labels: &[(Inputs, bool)]) -> (Inputs, Inputs) {
    // Over those that are known.
    let mean = |of: &dyn Fn(&Inputs, usize) -> f64| -> Inputs {
        std::array::from_fn(|i| {
            let known = labels.iter().map(|(inputs, _)| of(inputs, i)).filter(|x| x.is_finite());
            let (sum, n) = known.fold((0.0, 0u32), |(sum, n), x| (sum + x, n + 1));
            if n > 0 { sum / f64::from(n) } else { 0.0 }
        })
    };
    let middles = mean(&|inputs, i| inputs[i]);
    let squares = mean(&|inputs, i| (inputs[i] - middles[i]) * (inputs[i] - middles[i]));
    (middles, squares.map(|square| if square > 0.0 { square.sqrt() } else { 1.0 }))
}

fn standardised(inputs: &Inputs, middles: &Inputs, deviations: &Inputs) -> Inputs {
    let of = |i: usize| ((inputs[i] - middles[i]) / deviations[i]).clamp(-5.0, 5.0);
    std::array::from_fn(|i| if inputs[i].is_finite() { of(i) } else { 0.0 })
}

fn raw(weights: &[f64; INPUTS + 1], standard: &Inputs) -> f64 {
    let sum = standard.iter().zip(&weights[1..]).fold(weights[0], |sum, (x, w)| sum + x * w);
    1.0 / (1.0 + exp(-sum))
}

/// Newton's method on the ridged log likelihood (iteratively reweighted least squares).
fn logistic(rows: &[(Inputs, bool)]) -> Option<[f64; INPUTS + 1]> {
    let mut weights = [0.0; INPUTS + 1];
    for _ in 0..STEPS_MAX {
        let mut curvature = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
        let mut slope = [0.0; ESTIMATES_MAX];
        for i in 1..=INPUTS {
            curvature[i][i] = RIDGE;
            slope[i] = -RIDGE * weights[i];
        }
        curvature[0][0] = 1e-9;
        for (inputs, toxic) in rows {
            let p = raw(&weights, inputs);
            let x = |i: usize| if i == 0 { 1.0 } else { inputs[i - 1] };
            let residual = f64::from(u8::from(*toxic)) - p;
            for i in 0..=INPUTS {
                slope[i] += residual * x(i);
                for (j, cell) in curvature[i].iter_mut().enumerate().take(INPUTS + 1) {
                    *cell += p * (1.0 - p) * x(i) * x(j);
                }
            }
        }
        let step = Cholesky::new(&curvature, INPUTS + 1)?.solve(slope);
        weights.iter_mut().zip(step).for_each(|(weight, by)| *weight += by);
        if step.iter().all(|by| by.abs() < 1e-9) {
            break;
        }
    }
    weights.iter().all(|weight| weight.is_finite()).then_some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills whose fate depends on the first two inputs, or on nothing.
    fn fills(n: usize, effect: f64) -> Vec<(Inputs, bool, f64)> {
        let mut word = 0x9E37_79B9_7F4A_7C15u64;
        let mut unit = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut all = Vec::new();
        for _ in 0..n {
            let inputs: Inputs = std::array::from_fn(|_| 2.0 * unit() - 1.0);
            let p = 1.0 / (1.0 + exp(-(effect * (3.0 * inputs[0] - 2.0 * inputs[1]) - 0.5)));
            all.push((inputs, unit() < p, p));
        }
        all
    }

    fn learned(effect: f64) -> ToxicFlow {
        let mut of = ToxicFlow::new(0.3);
        fills(4_000, effect).into_iter().for_each(|(inputs, toxic, _)| of.add(inputs, toxic));
        assert!(of.fit());
        of
    }

    #[test]
    fn the_label_is_what_is_lost_beyond_spread_and_rebate() {
        // Bought at 100, a rebate of one basis point: a mid of 99.99 is the limit.
        assert!(is_toxic(true, 100.0, 99.98, 1e-4) && !is_toxic(true, 100.0, 99.995, 1e-4));
        assert!(is_toxic(false, 100.0, 100.02, 1e-4) && !is_toxic(false, 100.0, 99.0, 1e-4), "mirrored");
        let of = score(&[(0.8, true), (0.4, false)]).unwrap();
        assert!((of.brier - 0.1).abs() < 1e-12 && (of.log_loss + 0.5 * (ln(0.8) + ln(0.6))).abs() < 1e-12);
        assert_eq!(score(&[]), None);
    }

    #[test]
    fn a_planted_signal_is_found_and_said_in_true_probabilities() {
        let of = learned(1.0);
        // Others than it has learned from.
        let fresh = &fills(12_000, 1.0)[6_000..];
        let said: Vec<_> =
            fresh.iter().map(|(inputs, toxic, _)| (of.probability(inputs).value, *toxic)).collect();
        let best: Vec<_> = fresh.iter().map(|(_, toxic, p)| (*p, *toxic)).collect();
        let base: Vec<_> = fresh.iter().map(|(_, toxic, _)| (of.base_rate(), *toxic)).collect();
        let [said_score, best_score, base_score] = [&said, &best, &base].map(|of| score(of).unwrap());
        assert!(said_score.brier < best_score.brier + 0.01, "{said_score:?} against {best_score:?}");
        assert!(
            said_score.brier < base_score.brier - 0.05 && said_score.log_loss < base_score.log_loss - 0.1
        );
        for (low, high) in [(0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9)] {
            let of_bin: Vec<_> = said.iter().filter(|(p, _)| (low..high).contains(p)).collect();
            let n = of_bin.len() as f64;
            let (mean, share) =
                of_bin.iter().fold((0.0, 0.0), |s, (p, t)| (s.0 + p / n, s.1 + f64::from(u8::from(*t)) / n));
            assert!(
                n > 200.0 && (mean - share).abs() < 0.08,
                "of {n} fills at {mean:.3}, {share:.3} were toxic"
            );
        }
    }

    #[test]
    fn where_there_is_nothing_to_learn_it_says_the_base_rate() {
        let of = learned(0.0);
        let said: Vec<_> = fills(6_000, 0.0)[4_000..]
            .iter()
            .map(|(x, toxic, _)| (of.probability(x).value, *toxic))
            .collect();
        let base: Vec<_> = said.iter().map(|(_, toxic)| (of.base_rate(), *toxic)).collect();
        let (said, base) = (score(&said).unwrap(), score(&base).unwrap());
        assert!(said.brier > base.brier - 0.005 && said.brier < base.brier + 0.01, "{said:?} {base:?}");
    }

    #[test]
    fn without_labels_there_is_the_prior_and_with_few_the_base_rate() {
        let mut of = ToxicFlow::new(0.3);
        assert_eq!(of.probability(&[0.0; INPUTS]), Estimate { value: 0.3, n: 0, status: Status::Warmup });
        fills(LABELS_MIN - 1, 1.0).into_iter().for_each(|(inputs, toxic, _)| of.add(inputs, toxic));
        assert!(!of.fit());
        let few = of.probability(&[0.0; INPUTS]);
        assert!(few.status == Status::Warmup && few.value.to_bits() == of.base_rate().to_bits());
        of.add([f64::NAN; INPUTS], true);
        assert_eq!(of.probability(&[0.0; INPUTS]).n, LABELS_MIN as u64 - 1);
        assert_eq!(learned(1.0).probability(&[f64::NAN; INPUTS]).status, Status::Warmup);
        // One that is not known speaks neither way.
        let learned = learned(1.0);
        let mut inputs = [0.0, 0.3, 0.0, 0.0, 0.0, 0.0];
        let middle = learned.probability(&inputs);
        inputs[0] = f64::NAN;
        let unknown = learned.probability(&inputs);
        assert!(
            unknown.status == Status::Ok && (unknown.value - middle.value).abs() < 0.02,
            "{unknown:?} {middle:?}"
        );
    }
}
