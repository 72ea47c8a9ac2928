//! What forecasts were worth (model book 3.14 and 3.16): how often right and how surely, against chance; how far probabilities are true; and how much of a
//! Sharpe ratio is left when everything that was tried is counted.

use crate::normal_cdf;

/// Wilson's interval of a share, `hits` of `n`, at `z` deviations (1.96 for 95 %): (low, high); (0, 1) of nothing (Wilson 1927).
#[must_use]
pub fn wilson(hits: u64, n: u64, z: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (n as f64, hits as f64 / n as f64);
    let square = z * z;
    let middle = p + square / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + square / (4.0 * n * n)).sqrt();
    let scale = 1.0 + square / n;
    ((middle - half) / scale, (middle + half) / scale)
}

/// Classes said against classes that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Row: what came; column: what was said.
    pub counts: [[u64; 3]; 3],
}

impl Confusion {
    /// One more.
    pub fn add(&mut self, came: usize, said: usize) {
        self.counts[came.min(2)][said.min(2)] += 1;
    }

    /// How many.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// How many were right.
    #[must_use]
    pub fn hits(&self) -> u64 {
        (0..3).map(|c| self.counts[c][c]).sum()
    }

    fn came(&self, class: usize) -> u64 {
        self.counts[class].iter().sum()
    }

    fn said(&self, class: usize) -> u64 {
        self.counts.iter().map(|row| row[class]).sum()
    }

    /// Mean of the classes' F1, of those that came or were said; 0 of nothing.
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        let classes = (0..3).filter(|&c| self.came(c) + self.said(c) > 0);
        let (mut sum, mut n) = (0.0, 0.0);
        for c in classes {
            sum += 2.0 * self.counts[c][c] as f64 / (self.came(c) + self.said(c)) as f64;
            n += 1.0;
        }
        if n > 0.0 { sum / n } else { 0.0 }
    }

    /// Matthews' correlation for several classes (Gorodkin 2004), in [−1, 1]: 0 for chance, and where only one class came or was said.
    #[must_use]
    pub fn mcc(&self) -> f64 {
        let n = self.n() as f64;
        let sum = |f: &dyn Fn(usize) -> f64| (0..3).fold(0.0, |s, c| s + f(c));
        let (came, said) = (|c: usize| self.came(c) as f64, |c: usize| self.said(c) as f64);
        let both = self.hits() as f64 * n - sum(&|c| came(c) * said(c));
        let spread = (n * n - sum(&|c| said(c) * said(c))) * (n * n - sum(&|c| came(c) * came(c)));
        if spread > 0.0 { both / spread.sqrt() } else { 0.0 }
    }

    /// Mean share found of those classes that came; none where fewer than two did.
    #[must_use]
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let (mut sum, mut n) = (0.0, 0.0);
        for c in (0..3).filter(|&c| self.came(c) > 0) {
            sum += self.counts[c][c] as f64 / self.came(c) as f64;
            n += 1.0;
        }
        (n >= 2.0).then(|| sum / n)
    }
}

/// Brier's score and its parts: reliability − resolution + uncertainty (Murphy 1973), exact where forecasts in a bin are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrierParts {
    /// Mean of (p − o)².
    pub score: f64,
    /// How far bins' forecasts lie from what came, in the mean of squares: 0 is best.
    pub reliability: f64,
    /// How far what came in bins lies from the base rate: the more the better.
    pub resolution: f64,
    /// Of the base rate alone.
    pub uncertainty: f64,
}

impl BrierParts {
    /// 1 − score / uncertainty: 0 for who says the base rate; none where only one thing came.
    #[must_use]
    pub fn skill(&self) -> Option<f64> {
        (self.uncertainty > 0.0).then(|| 1.0 - self.score / self.uncertainty)
    }
}

/// A group of forecasts: how many, what was said in the mean, how often it came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Forecasts.
    pub n: u64,
    /// Mean probability.
    pub said: f64,
    /// Share that came.
    pub came: f64,
}

/// Groups of as many forecasts each, by what was said, equal forecasts kept together; those that are no number are left out.
#[must_use]
pub fn reliability(forecasts: &[(f64, bool)], bins: usize) -> Vec<Bin> {
    let mut sorted: Vec<_> = forecasts.iter().copied().filter(|(p, _)| p.is_finite()).collect();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut all, mut from) = (Vec::with_capacity(bins), 0);
    for bin in 0..bins.max(1) {
        let mut to = sorted.len() * (bin + 1) / bins.max(1);
        while to > 0 && to < sorted.len() && sorted[to].0.to_bits() == sorted[to - 1].0.to_bits() {
            to += 1;
        }
        if to <= from {
            continue;
        }
        let n = (to - from) as f64;
        let said = sorted[from..to].iter().fold(0.0, |sum, (p, _)| sum + p) / n;
        let came = sorted[from..to].iter().filter(|(_, o)| *o).count() as f64 / n;
        all.push(Bin { n: (to - from) as u64, said, came });
        from = to;
    }
    all
}

/// Brier's score of forecasts of one event, by groups of equal size; none of nothing.
#[must_use]
pub fn brier(forecasts: &[(f64, bool)], bins: usize) -> Option<BrierParts> {
    let good = || forecasts.iter().filter(|(p, _)| p.is_finite());
    let n = good().count() as f64;
    if n <= 0.0 {
        return None;
    }
    let score = good().fold(0.0, |sum, (p, o)| {
        let d = p - f64::from(u8::from(*o));
        sum + d * d
    });
    let base = good().filter(|(_, o)| *o).count() as f64 / n;
    let (mut reliable, mut resolves) = (0.0, 0.0);
    for bin in reliability(forecasts, bins) {
        let share = bin.n as f64 / n;
        reliable += share * (bin.said - bin.came) * (bin.said - bin.came);
        resolves += share * (bin.came - base) * (bin.came - base);
    }
    let uncertainty = base * (1.0 - base);
    Some(BrierParts { score: score / n, reliability: reliable, resolution: resolves, uncertainty })
}

/// Expected calibration error: mean distance between what is said and what comes, by groups of equal size.
#[must_use]
pub fn calibration_error(forecasts: &[(f64, bool)], bins: usize) -> f64 {
    let bins = reliability(forecasts, bins);
    let n = bins.iter().map(|b| b.n).sum::<u64>().max(1) as f64;
    bins.iter().fold(0.0, |sum, b| sum + b.n as f64 / n * (b.said - b.came).abs())
}

/// Pesaran and Timmermann's test that directions are foretold (1992): normal under chance. `up_came` and `up_said` are shares; none where the variance
/// is none.
#[must_use]
pub fn pesaran_timmermann(n: u64, hits: u64, up_came: f64, up_said: f64) -> Option<f64> {
    let (count, p) = (n as f64, hits as f64 / n as f64);
    let (y, x) = (up_came, up_said);
    let chance = y * x + (1.0 - y) * (1.0 - x);
    let of_share = chance * (1.0 - chance) / count;
    let of_chance = ((2.0 * y - 1.0) * (2.0 * y - 1.0) * x * (1.0 - x)
        + (2.0 * x - 1.0) * (2.0 * x - 1.0) * y * (1.0 - y))
        / count
        + 4.0 / (count * count) * y * x * (1.0 - y) * (1.0 - x);
    let variance = of_share - of_chance;
    (n > 0 && variance > 0.0).then(|| (p - chance) / variance.sqrt())
}

/// The value below which a normal number lies with probability `p`; infinite at 0 and 1. By bisection: it is asked for now and then.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if normal_cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The Sharpe ratio that the best of `trials` without skill is expected to have, where trials' ratios have this variance (Bailey and López de Prado
/// 2014).
#[must_use]
pub fn sharpe_of_the_luckiest(trials: u64, variance: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    let n = trials.max(2) as f64;
    let (one, other) =
        (normal_quantile(1.0 - 1.0 / n), normal_quantile(1.0 - 1.0 / (n * std::f64::consts::E)));
    variance.max(0.0).sqrt() * ((1.0 - EULER) * one + EULER * other)
}

/// Deflated Sharpe ratio: the probability that a ratio over `n` periods, of returns with this skewness and kurtosis (3 for normal ones), is more than
/// luck of so many trials. None where it has no deviation.
#[must_use]
pub fn deflated_sharpe(sharpe: f64, luckiest: f64, n: u64, skewness: f64, kurtosis: f64) -> Option<f64> {
    let spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe;
    let value = normal_cdf((sharpe - luckiest) * (n.max(2) as f64 - 1.0).sqrt() / spread.sqrt());
    (spread > 0.0 && value.is_finite()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        let z = normal_quantile(0.975);
        near(z, 1.959_964);
        let (low, high) = wilson(770, 1_000, z);
        near(low, 0.742_913);
        near(high, 0.795_020);
        let first = (700..1_000).find(|hits| wilson(*hits, 1_000, z).0 > 0.75);
        assert_eq!(first, Some(777));
        near(pesaran_timmermann(100, 60, 0.55, 0.5).unwrap(), 2.0202);
    }

    #[test]
    fn probabilities_published_values() {
        let four = [(0.9, true), (0.6, true), (0.3, false), (0.2, true)];
        near(brier(&four, 4).unwrap().score, 0.225);
        let ten: Vec<_> = (0..10).map(|i| if i < 5 { (0.2, i == 0) } else { (0.8, i != 5) }).collect();
        let parts = brier(&ten, 2).unwrap();
        near(parts.score, 0.16);
        assert!(parts.reliability.abs() < 1e-12);
        near(parts.resolution, 0.09);
        near(parts.uncertainty, 0.25);
        near(parts.skill().unwrap(), 0.36);
        assert!(calibration_error(&ten, 15) < 1e-12);
        near(calibration_error(&[(0.9, false), (0.9, true)], 15), 0.4);
    }

    #[test]
    fn deflated_sharpe_published_values() {
        let (daily, n) = (2.5 / 250f64.sqrt(), 1_250);
        let luck = sharpe_of_the_luckiest(100, 0.5 / 250.0);
        near(luck, 0.113_172);
        near(deflated_sharpe(daily, luck, n, -3.0, 10.0).unwrap(), 0.900_397);
        let fewer = sharpe_of_the_luckiest(46, 0.5 / 250.0);
        near(deflated_sharpe(daily, fewer, n, -3.0, 10.0).unwrap(), 0.950_502);
    }

    #[test]
    fn classes() {
        let mut of = Confusion::default();
        assert_eq!((of.macro_f1(), of.mcc(), of.balanced_accuracy()), (0.0, 0.0, None));
        (0..3).for_each(|c| (0..5).for_each(|_| of.add(c, c)));
        assert_eq!((of.hits(), of.n()), (15, 15));
        assert!((of.mcc() - 1.0).abs() < 1e-12 && (of.macro_f1() - 1.0).abs() < 1e-12);
        let mut constant = Confusion::default();
        [0, 1, 2, 2].into_iter().for_each(|came| constant.add(came, 2));
        assert_eq!(constant.mcc(), 0.0);
        near(constant.balanced_accuracy().unwrap(), 1.0 / 3.0);
        // Two classes, by hand: (tp·tn − fp·fn) / √(…).
        let two = Confusion { counts: [[6, 0, 2], [0, 0, 0], [1, 0, 3]] };
        near(two.mcc(), (6.0 * 3.0 - 2.0) / (7.0f64 * 5.0 * 8.0 * 4.0).sqrt());
    }

    #[test]
    fn degenerate_input() {
        assert_eq!(
            (wilson(0, 0, 1.96), brier(&[], 5), brier(&[(f64::NAN, true)], 5)),
            ((0.0, 1.0), None, None)
        );
        assert_eq!(pesaran_timmermann(10, 10, 1.0, 1.0), None);
        assert_eq!(brier(&[(1.0, true)], 5).unwrap().skill(), None);
        assert_eq!((normal_quantile(0.0), normal_quantile(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
    }
}
