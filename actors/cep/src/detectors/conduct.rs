//! What conduct looks like from its numbers: first digits of sizes, messages for trades. Intent is for people to judge; this measures.

use kimera_numerics::estimate::Estimate;
use kimera_numerics::ln;

/// Probability of each first digit, 1 to 9, of sizes that span orders of magnitude (Benford).
#[must_use]
pub fn benford(digit: u32) -> f64 {
    ln(1.0 + 1.0 / f64::from(digit.clamp(1, 9))) / std::f64::consts::LN_10
}

/// Above it, χ² with eight degrees of freedom has one chance in a hundred.
pub const BENFORD_LIMIT: f64 = 20.0902;
/// Trades a day of first digits needs.
pub const BENFORD_TRADES_MIN: u64 = 1_000;

/// First digits of trades' sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstDigits {
    counts: [u64; 9],
}

kimera_protocol::state!(FirstDigits { counts });

impl FirstDigits {
    /// A size in whatever whole units; 0 has no first digit.
    pub fn add(&mut self, mut size: u64) {
        while size >= 10 {
            size /= 10;
        }
        if let Some(count) = (size as usize).checked_sub(1).and_then(|i| self.counts.get_mut(i)) {
            *count += 1;
        }
    }

    /// χ² of the counts against [`benford`]; beyond [`BENFORD_LIMIT`] sizes are not what many traders make. A venue with few sizes or large
    /// steps has to be left out.
    #[must_use]
    pub fn chi_square(&self) -> Estimate {
        let n: u64 = self.counts.iter().sum();
        if n < BENFORD_TRADES_MIN {
            return Estimate::warmup(n);
        }
        let of = |(i, count): (usize, &u64)| {
            let expected = n as f64 * benford(i as u32 + 1);
            let distance = *count as f64 - expected;
            distance * distance / expected
        };
        Estimate::ok(self.counts.iter().enumerate().map(of).sum(), n)
    }
}

/// How many deviations the share of round sizes lies above what is usual (binomial): `round` of `trades`, where `usual` of them are.
#[must_use]
pub fn round_size_z(trades: u64, round: u64, usual: f64) -> Option<f64> {
    let deviation = (usual * (1.0 - usual) / trades.max(1) as f64).sqrt();
    (trades > 0 && deviation > 0.0).then(|| (round as f64 / trades as f64 - usual) / deviation)
}

/// Hill's index of the tail: one over the mean logarithm of the `k` largest sizes against the next one. What many traders make lies in (1, 2).
/// The largest ones are put in order on the way.
#[must_use]
pub fn hill_index(sizes: &mut [f64], k: usize) -> Option<f64> {
    if k == 0 || k >= sizes.len() {
        return None;
    }
    let (_, threshold, _) = sizes.select_nth_unstable_by(k, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    if threshold.is_nan() || threshold <= 0.0 {
        return None;
    }
    sizes[..k].sort_unstable_by(|a, b| b.total_cmp(a)); // one order of summing, whatever the selection leaves
    let mean = sizes.iter().take(k).map(|x| ln(x / threshold)).sum::<f64>() / k as f64;
    (mean > 0.0).then(|| 1.0 / mean)
}

/// Public trades look washed where two of three say so: first digits, round sizes beyond four deviations, the tail of sizes.
#[must_use]
pub fn looks_washed(chi_square: f64, round_z: f64, hill: f64) -> bool {
    let signs = [chi_square > BENFORD_LIMIT, round_z > 4.0, !(hill > 1.0 && hill < 2.0)];
    signs.into_iter().filter(|sign| *sign).count() >= 2
}

/// Orders for trades, minus one (RTS 9 to Directive 2014/65/EU, article 3): of numbers, or of volumes. None without any trade.
#[must_use]
pub fn order_to_trade(orders: u64, trades: u64) -> Option<f64> {
    (trades > 0).then(|| orders as f64 / trades as f64 - 1.0)
}

/// How many standard deviations `seen` messages are above those expected (Poisson).
#[must_use]
pub fn message_rate_z(expected: f64, seen: u64) -> Option<f64> {
    (expected > 0.0).then(|| (seen as f64 - expected) / expected.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_numerics::exp;
    use kimera_protocol::Status;

    #[test]
    fn published_values() {
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-5;
        let digits = [
            std::f64::consts::LOG10_2,
            0.176_091,
            0.124_939,
            0.096_910_0,
            0.079_181_2,
            0.066_946_8,
            0.057_991_9,
            0.051_152_5,
            0.045_757_5,
        ];
        assert!((1..).zip(digits).all(|(digit, p)| near(benford(digit), p)));
        assert_eq!((order_to_trade(1_200, 40), order_to_trade(500_000, 20_000)), (Some(29.0), Some(24.0)));
        assert_eq!((message_rate_z(100.0, 150), order_to_trade(7, 0)), (Some(5.0), None));
    }

    #[test]
    fn round_sizes_and_the_tail_of_sizes_two_of_three() {
        assert!(round_size_z(100, 60, 0.5).is_some_and(|z| (z - 2.0).abs() < 1e-12));
        assert_eq!((round_size_z(0, 0, 0.5), round_size_z(9, 9, 1.0)), (None, None));
        // Quantiles of a Pareto law of index 1.5.
        let mut sizes: Vec<_> = (1..=20_000).map(|i| exp(-ln(f64::from(i) / 20_001.0) / 1.5)).collect();
        let index = hill_index(&mut sizes, 500).unwrap();
        assert!((index - 1.5).abs() < 0.02, "{index}");
        assert_eq!((hill_index(&mut [1.0; 50], 10), hill_index(&mut [1.0], 10)), (None, None));
        assert!(looks_washed(30.0, 9.0, 1.5) && looks_washed(30.0, 0.0, 4.0) && looks_washed(3.0, 9.0, 0.4));
        assert!(
            !looks_washed(30.0, 0.0, 1.5) && !looks_washed(3.0, 9.0, 1.5) && !looks_washed(3.0, 0.0, 4.0)
        );
    }

    #[test]
    fn digits_of_many_magnitudes_are_benford_s_and_round_ones_are_not() {
        let (mut natural, mut round) = (FirstDigits::default(), FirstDigits::default());
        assert_eq!(natural.chi_square().status, Status::Warmup);
        for i in 0..5_000u32 {
            // Even in logarithms over whole decades.
            natural.add(exp(f64::from(i) * 4.0 * std::f64::consts::LN_10 / 5_000.0 + 7.0) as u64);
            round.add(if i % 3 == 0 { 500 } else { 1_000 });
        }
        round.add(0);
        assert!(natural.chi_square().value < BENFORD_LIMIT, "{:?}", natural.chi_square());
        assert!(round.chi_square().value > 10.0 * BENFORD_LIMIT && round.chi_square().n == 5_000);
    }
}
