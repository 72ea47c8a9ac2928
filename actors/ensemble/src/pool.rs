//! The linear opinion pool (model book 3.3, 3.13; Genest and Zidek 1986).

use kimera_numerics::conflict::Belief;
use kimera_numerics::entropy::shannon;
use kimera_numerics::ln;
use kimera_protocol::MEMBERS_MAX;

/// Probabilities of down, flat and up.
pub type Forecast = [f64; 3];

/// The forecast if it is one: finite, not negative, summing to 1 within 1e-3 (and brought to exactly 1).
#[must_use]
pub fn simplex(p: Forecast) -> Option<Forecast> {
    let sum = p[0] + p[1] + p[2];
    let good = p.iter().all(|x| x.is_finite() && *x >= 0.0) && (sum - 1.0).abs() <= 1e-3;
    good.then(|| p.map(|x| x / sum))
}

/// What the votes come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pooled {
    /// Σ w p.
    pub p: Forecast,
    /// p↑ − p↓.
    pub score: f64,
    /// 1 − JSD / min(H(w), ln 3): 1 where all say the same.
    pub agreement: f64,
}

/// Pools votes with the members' weights; who does not vote leaves its weight to the others in proportion. `None` where
/// nobody with weight votes.
#[must_use]
pub fn pool(votes: &[Option<Forecast>], weights: &[f64]) -> Option<Pooled> {
    let voters = || votes.iter().zip(weights).filter_map(|(vote, w)| Some(((*vote)?, *w)));
    let total = voters().fold(0.0, |sum, (_, w)| sum + w);
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let (mut p, mut within) = ([0.0; 3], 0.0);
    let (mut shares, mut used) = ([0.0; MEMBERS_MAX], 0);
    for (vote, w) in voters() {
        let share = w / total;
        p.iter_mut().zip(vote).for_each(|(sum, x)| *sum += share * x);
        within += share * shannon(&vote);
        if let Some(slot) = shares.get_mut(used) {
            *slot = share;
            used += 1;
        }
    }
    // Jensen and Shannon's divergence (Lin 1991): entropy of the mixture less the mean entropy.
    let divergence = (shannon(&p) - within).max(0.0);
    let largest = shannon(&shares[..used]).min(ln(3.0));
    let agreement = if largest > 1e-12 { (1.0 - divergence / largest).clamp(0.0, 1.0) } else { 1.0 };
    Some(Pooled { p, score: p[2] - p[0], agreement })
}

/// How much votes exclude each other, in [0, 1]: what Dempster's rule finds in contradiction when one after the other is taken in, flat being either.
/// Beyond the limit of fusion nothing more is taken in.
#[must_use]
pub fn conflict(votes: &[Option<Forecast>]) -> f64 {
    let (mut agrees, mut all) = (1.0, Belief::OPEN);
    for [down, open, up] in votes.iter().flatten() {
        let (found, fused) = all.fused(&Belief { up: *up, down: *down, open: *open });
        agrees *= 1.0 - found.clamp(0.0, 1.0);
        match fused {
            Some(fused) => all = fused,
            None => break,
        }
    }
    1.0 - agrees
}

/// What each member adds to the score, by its share of the voters' weight: they sum to p↑ − p↓. None for who does not vote.
#[must_use]
pub fn contributions(votes: &[Option<Forecast>], weights: &[f64]) -> Vec<Option<f64>> {
    let total = votes.iter().zip(weights).filter(|(vote, _)| vote.is_some()).fold(0.0, |sum, (_, w)| sum + w);
    let of = |(vote, w): (&Option<Forecast>, &f64)| {
        vote.filter(|_| total > 0.0).map(|[down, _, up]| (up - down) * w / total)
    };
    votes.iter().zip(weights).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        // Model book 3.13.
        let votes = [Some([0.6, 0.3, 0.1]), Some([0.2, 0.3, 0.5]), Some([0.4, 0.4, 0.2])];
        let pooled = pool(&votes, &[1.0 / 3.0; 3]).unwrap();
        let (h, third) = (ln(3.0), 1.0 / 3.0);
        near((1.0 - pooled.agreement) * h, 0.091_015_6);
        near(pooled.agreement, 0.917_154);
        near(pooled.score, (0.1 + 0.5 + 0.2 - 0.6 - 0.2 - 0.4) * third);
    }

    #[test]
    fn who_abstains_leaves_its_weight_to_the_others() {
        // Model book 3.3: priors with member 2 abstaining are (.4, 0, .266667, .2, .133333).
        let prior = [0.30, 0.25, 0.20, 0.15, 0.10];
        let down = Some([1.0, 0.0, 0.0]);
        for (member, expected) in [(0, 0.4), (2, 0.266_667), (3, 0.2), (4, 0.133_333)] {
            let up = Some([0.0, 0.0, 1.0]);
            let votes: Vec<_> = (0..5)
                .map(|m| {
                    if m == 1 {
                        None
                    } else if m == member {
                        up
                    } else {
                        down
                    }
                })
                .collect();
            near(pool(&votes, &prior).unwrap().p[2], expected);
        }
        assert_eq!(pool(&[None; 5], &prior), None);
        assert_eq!(pool(&[down, None], &[0.0, 1.0]), None, "a vote without weight is none");
        let one = pool(&[down, None], &[0.3, 0.7]).unwrap();
        assert_eq!((one.p, one.agreement), ([1.0, 0.0, 0.0], 1.0));
    }

    #[test]
    fn what_is_no_distribution_is_no_vote() {
        assert_eq!(simplex([0.2, 0.3, 0.5]), Some([0.2, 0.3, 0.5]));
        assert!(simplex([0.2, 0.3, 0.5005]).is_some_and(|p| (p[0] + p[1] + p[2] - 1.0).abs() < 1e-12));
        for bad in [[0.2, 0.3, 0.6], [-0.1, 0.6, 0.5], [f64::NAN, 0.5, 0.5], [0.0; 3]] {
            assert_eq!(simplex(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn conflict_is_between_those_who_exclude_each_other() {
        let (up, down, even) = (Some([0.0, 0.1, 0.9]), Some([0.9, 0.1, 0.0]), Some([0.0, 1.0, 0.0]));
        assert_eq!((conflict(&[]), conflict(&[None, up]), conflict(&[up, even, up])), (0.0, 0.0, 0.0));
        near(conflict(&[up, down]), 0.81);
        assert!(conflict(&[up, down, up, down]) > conflict(&[up, down]));
        // Model book 3.1: (L .6, S .1, open .3) and (L .1, S .7, open .2).
        near(conflict(&[Some([0.1, 0.3, 0.6]), Some([0.7, 0.2, 0.1])]), 0.43);
        assert!(
            conflict(&[Some([0.0, 0.0, 1.0]), Some([1.0, 0.0, 0.0]), up]) > 0.999,
            "nothing is left to fuse"
        );
    }

    #[test]
    fn what_members_add_is_the_score() {
        let votes = [Some([0.6, 0.3, 0.1]), None, Some([0.2, 0.3, 0.5]), Some([0.4, 0.4, 0.2])];
        let weights = [0.3, 0.25, 0.2, 0.15];
        let each = contributions(&votes, &weights);
        let sum: f64 = each.iter().flatten().sum();
        assert!(each[1].is_none() && (sum - pool(&votes, &weights).unwrap().score).abs() < 1e-12, "{each:?}");
        assert_eq!(contributions(&votes, &[0.0; 4]), vec![None; 4]);
    }

    proptest! {
        /// The pool stays between its members, and turning up and down round turns the score round.
        #[test]
        fn it_mixes_and_mirrors(raw in proptest::collection::vec((0.01f64..1.0, 0.01f64..1.0, 0.01f64..1.0, 0.01f64..1.0), 1..8)) {
            let votes: Vec<_> = raw.iter().map(|(a, b, c, _)| Some([a / (a + b + c), b / (a + b + c), c / (a + b + c)])).collect();
            let weights: Vec<_> = raw.iter().map(|r| r.3).collect();
            let pooled = pool(&votes, &weights).unwrap();
            prop_assert!((pooled.p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            for c in 0..3 {
                let of = || votes.iter().flatten().map(|v| v[c]);
                prop_assert!(pooled.p[c] >= of().fold(1.0, f64::min) - 1e-9 && pooled.p[c] <= of().fold(0.0, f64::max) + 1e-9);
            }
            let mirrored: Vec<_> = votes.iter().map(|v| v.map(|[d, f, u]| [u, f, d])).collect();
            let other = pool(&mirrored, &weights).unwrap();
            prop_assert!((other.score + pooled.score).abs() < 1e-9 && (other.agreement - pooled.agreement).abs() < 1e-9);
        }
    }
}
