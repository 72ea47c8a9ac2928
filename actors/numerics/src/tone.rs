//! 3.8 The tone of a text, from what its words are worth (Hutto and Gilbert 2014; Loughran and McDonald 2011), and a fear and greed index.

/// What the sum of valences is divided against: α of Hutto and Gilbert.
const ALPHA: f64 = 15.0;

/// A sum of valences brought into (−1, 1): s/√(s² + 15). Odd; 0 for what is no number.
#[must_use]
pub fn compound(sum: f64) -> f64 {
    if sum.is_nan() {
        0.0
    } else if sum.is_infinite() {
        sum.signum()
    } else {
        sum / (sum * sum + ALPHA).sqrt()
    }
}

/// (P − N)/(P + N) of positive and negative words; none without any.
#[must_use]
pub fn balance(positive: u32, negative: u32) -> Option<f64> {
    let (p, n) = (f64::from(positive), f64::from(negative));
    (positive + negative > 0).then(|| (p - n) / (p + n))
}

/// Weights of the index: calm (volatility and drawdown turned round), momentum times volume, crowding (funding, long against short), news.
pub const WEIGHTS: [f64; 4] = [0.30, 0.30, 0.20, 0.20];

/// Fear and greed, 0 to 100: a weighted mean of ranks in [0, 1]. A component that is not known leaves its weight to an index from outside, in [0, 1], where there
/// is one, else to the others; none where nothing is known.
#[must_use]
pub fn fear_greed(ranks: &[Option<f64>; 4], outside: Option<f64>) -> Option<f64> {
    let known =
        || ranks.iter().zip(WEIGHTS).filter_map(|(rank, w)| Some(((*rank).filter(|r| r.is_finite())?, w)));
    let total = known().fold(0.0, |sum, (_, w)| sum + w);
    let own = known().fold(0.0, |sum, (rank, w)| sum + w * rank.clamp(0.0, 1.0));
    match outside.filter(|of| of.is_finite()) {
        Some(of) => Some(100.0 * (own + (1.0 - total).max(0.0) * of.clamp(0.0, 1.0))),
        None => (total > 0.0).then(|| 100.0 * own / total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        assert!((compound(3.1) - 0.624_893).abs() < 1e-6);
        assert!((balance(6, 2).unwrap() - 0.5).abs() < 1e-12);
        let ranks = [Some(0.2), Some(0.6), Some(0.4), Some(0.7)];
        assert!((fear_greed(&ranks, None).unwrap() - 46.0).abs() < 1e-9);
    }

    #[test]
    fn it_is_odd_bounded_and_says_nothing_of_nothing() {
        for s in [0.0, 0.5, 3.0, 1e9, f64::INFINITY] {
            assert!((compound(s) + compound(-s)).abs() < 1e-15 && compound(s).abs() <= 1.0);
        }
        assert_eq!((compound(f64::NAN), balance(0, 0), fear_greed(&[None; 4], None)), (0.0, None, None));
        // News are not known: (.3 · .2 + .3 · .6 + .2 · .4)/.8.
        let three = [Some(0.2), Some(0.6), Some(0.4), None];
        assert!((fear_greed(&three, None).unwrap() - 40.0).abs() < 1e-9);
        // An index from outside has the weight that nobody else has: 32 + .2 · 90; none where all are known.
        assert!((fear_greed(&three, Some(0.9)).unwrap() - 50.0).abs() < 1e-9);
        assert!((fear_greed(&[Some(0.5); 4], Some(0.9)).unwrap() - 50.0).abs() < 1e-9);
        assert_eq!(fear_greed(&[None; 4], Some(0.3)), Some(30.0));
        assert!((fear_greed(&[Some(7.0), None, None, Some(f64::NAN)], None).unwrap() - 100.0).abs() < 1e-9);
    }
}
