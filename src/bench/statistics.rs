//! Numbers of rounds beside one another: medians, and how far their ratio may be from one by chance.

/// The middle of some numbers; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A quantile, between two neighbours where it falls there; 0 of none.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// A ratio and the interval it lies in.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Ratio {
    /// The trimmed mean of the rounds' ratios.
    pub ratio: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Resamples of the bootstrap.
const RESAMPLES: usize = 4_000;
/// Chance, on each side, that the interval misses.
const MISS: f64 = 0.005;
/// Share of the rounds that the mean leaves out at each end: one round in which the machine did something else would
/// stretch the interval tenfold.
const TRIMMED: f64 = 0.2;

/// The rounds' mean ratio with a 99 % interval: studentised bootstrap of the trimmed mean of the logarithms of the rounds'
/// ratios (Wilcox 2012, 4.4; Efron and Tibshirani 1993, 12.5). Plain percentiles of few rounds miss three times in a
/// hundred, not once.
#[must_use]
pub fn interval(ratios: &[f64], seed: u64) -> Ratio {
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let (mean, error) = trimmed_mean(&mut logs.clone());
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let mut resampled = vec![0.0; logs.len()];
    let mut studentised = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for value in &mut resampled {
            *value = logs[(next() % logs.len() as u64) as usize];
        }
        let (of, its_error) = trimmed_mean(&mut resampled);
        if its_error > 0.0 {
            studentised.push((of - mean) / its_error);
        }
    }
    let end = |q: f64| (mean - quantile(&studentised, q) * error).exp();
    Ratio { ratio: mean.exp(), low: end(1.0 - MISS), high: end(MISS) }
}

/// Mean of the middle of some numbers, which are sorted meanwhile, and its standard error by their Winsorised variance; 0
/// and 0 of none, an error of 0 of one.
fn trimmed_mean(values: &mut [f64]) -> (f64, f64) {
    let n = values.len();
    if n < 2 {
        return (values.first().copied().unwrap_or(0.0), 0.0);
    }
    values.sort_by(f64::total_cmp);
    let cut = (TRIMMED * n as f64) as usize;
    let middle = &values[cut..n - cut];
    let (lowest, highest) = (values[cut], values[n - 1 - cut]);
    let winsorised = |value: &f64| value.clamp(lowest, highest);
    let count = n as f64;
    let centre = values.iter().map(winsorised).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (winsorised(value) - centre).powi(2)).sum();
    let kept = middle.len() as f64;
    (middle.iter().sum::<f64>() / kept, (squares / (count - 1.0)).sqrt() * count.sqrt() / kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Series of twenty rounds that differ by a normal 1 % by chance, and as much as `spoilt` says in one round of them.
    fn series(random: &mut impl FnMut() -> f64, spoilt: f64) -> Vec<f64> {
        // Twelve uniform numbers are a normal one, near enough.
        let mut rounds: Vec<f64> =
            (0..20).map(|_| 1.0 + 0.01 * ((0..12).map(|_| random()).sum::<f64>() - 6.0)).collect();
        rounds[7] *= spoilt;
        rounds
    }

    fn uniform() -> impl FnMut() -> f64 {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        move || {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            (random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// Of intervals of rounds that differ by chance alone, the share that does not hold one is near what it is said to be:
    /// the bench is believed by it.
    #[test]
    fn the_interval_misses_about_as_often_as_it_says() {
        let mut random = uniform();
        let missed = (0..400)
            .filter(|seed| {
                let found = interval(&series(&mut random, 1.0), *seed);
                found.low > 1.0 || found.high < 1.0
            })
            .count();
        assert!(missed <= 10, "{missed} of 400");
    }

    #[test]
    fn a_round_in_which_the_machine_did_something_else_does_not_stretch_it() {
        let mut random = uniform();
        let mut widths: Vec<f64> = (0..100)
            .map(|seed| {
                let found = interval(&series(&mut random, 1.3), seed);
                found.high - found.low
            })
            .collect();
        widths.sort_by(f64::total_cmp);
        assert!(widths[90] < 0.035, "{}", widths[90]);
    }

    #[test]
    fn a_trimmed_mean_and_its_error() {
        // 2 and 2 of 10 are left out; Winsorised: 3 3 3 4 5 6 7 8 8 8, variance 4.7222.
        let (mean, error) = trimmed_mean(&mut [10.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 8.0, 6.0, 7.0]);
        assert_eq!(mean, 5.5);
        assert!((error - 4.722_222_f64.sqrt() / (0.6 * 10f64.sqrt())).abs() < 1e-6, "{error}");
        assert_eq!((trimmed_mean(&mut []), trimmed_mean(&mut [3.0])), ((0.0, 0.0), (3.0, 0.0)));
    }

    #[test]
    fn quantiles_of_few_numbers() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[1.0, 2.0])), (0.0, 3.0, 1.5));
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0, 5.0], 0.25), 2.0);
    }

    #[test]
    fn what_differs_by_chance_alone_has_one_in_its_interval() {
        // Every round is off by up to 2 %.
        let round = |i: usize, factor: f64| factor * (1.0 + 0.02 * ((i * 7 % 11) as f64 / 5.0 - 1.0));
        let of = |factor: f64| (0..22).map(|i| round(i, factor)).collect::<Vec<_>>();
        let (same, slower) = (interval(&of(1.0), 1), interval(&of(1.05), 1));
        assert!(same.low <= 1.0 && same.high >= 1.0, "{same:?}");
        assert!(slower.low > 1.0 && (slower.ratio - 1.05).abs() < 0.01, "{slower:?}");
    }
}
