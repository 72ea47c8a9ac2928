//! Who counts how much (model book 3.15).

use kimera_protocol::MEMBERS_MAX;

/// Rate at which weights follow the shares of skill.
pub const RATE: f64 = 0.3;
/// Largest weight.
pub const CAP: f64 = 0.60;
/// Smallest weight.
pub const FLOOR: f64 = 0.02;

/// Weights by member; those used sum to 1.
pub type WeightSet = [f64; MEMBERS_MAX];

/// Weights after a round in which members had these Brier skill scores: each moves towards its share of the positive
/// skill (the priors' where nobody has any), then none is above the cap or below the floor.
#[must_use]
pub fn update(weights: &WeightSet, prior: &WeightSet, skill: &WeightSet, members: usize) -> WeightSet {
    let k = members.min(MEMBERS_MAX);
    let positive = |m: usize| if skill[m].is_finite() { skill[m].max(0.0) } else { 0.0 };
    let total = (0..k).fold(0.0, |sum, m| sum + positive(m));
    let mut next = [0.0; MEMBERS_MAX];
    for m in 0..k {
        let share = if total > 0.0 { positive(m) / total } else { prior[m] };
        next[m] = (1.0 - RATE) * weights[m] + RATE * share;
    }
    cap(&mut next[..k]);
    floor(&mut next[..k]);
    next
}

/// The same weights with none above the cap or below the floor.
#[must_use]
pub fn floored(weights: &WeightSet, members: usize) -> WeightSet {
    let (mut next, k) = (*weights, members.min(MEMBERS_MAX));
    cap(&mut next[..k]);
    floor(&mut next[..k]);
    next
}

/// What is above the cap is shared among the others in proportion to their weights.
fn cap(weights: &mut [f64]) {
    for _ in 0..weights.len() {
        let Some(top) = (0..weights.len()).find(|&m| weights[m] > CAP + 1e-12) else { return };
        let excess = weights[top] - CAP;
        let others = weights.iter().sum::<f64>() - weights[top];
        if others <= 0.0 {
            return;
        }
        for (m, w) in weights.iter_mut().enumerate() {
            *w = if m == top { CAP } else { *w + excess * *w / others };
        }
    }
}

/// What is below the floor is lifted to it, paid for by those above in proportion.
fn floor(weights: &mut [f64]) {
    for _ in 0..weights.len() {
        let lifted = |w: f64| w < FLOOR - 1e-12;
        let missing = weights.iter().filter(|w| lifted(**w)).fold(0.0, |sum, w| sum + FLOOR - w);
        if missing <= 0.0 {
            return;
        }
        let above = weights.iter().filter(|w| **w > FLOOR).fold(0.0, |sum, w| sum + w);
        if above <= missing {
            return;
        }
        for w in weights.iter_mut() {
            if lifted(*w) {
                *w = FLOOR;
            } else if *w > FLOOR {
                *w -= missing * *w / above;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIOR: WeightSet = [0.30, 0.25, 0.20, 0.15, 0.10, 0.0, 0.0, 0.0];

    fn near(actual: &WeightSet, expected: &[f64]) {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a / e - 1.0).abs() < 1e-5, "{actual:?} is not {expected:?}");
        }
    }

    #[test]
    fn published_values() {
        let skill = [0.1, 0.3, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0];
        near(&update(&PRIOR, &PRIOR, &skill, 5), &[0.24, 0.265, 0.23, 0.165, 0.1]);
        // The raw weights after ten rounds with all skill on the first, capped.
        let mut raw = [0.980_227, 0.007_061_88, 0.005_649_50, 0.004_237_13, 0.002_824_75];
        cap(&mut raw);
        for (a, e) in raw.iter().zip([0.6, 0.142_857, 0.114_286, 0.085_714_3, 0.057_142_9]) {
            assert!((a / e - 1.0).abs() < 1e-5, "{raw:?}");
        }
    }

    #[test]
    fn without_skill_weights_return_to_the_priors() {
        let mut weights = [0.02, 0.02, 0.02, 0.34, 0.60, 0.0, 0.0, 0.0];
        for _ in 0..60 {
            weights = update(&weights, &PRIOR, &[-0.1; MEMBERS_MAX], 5);
        }
        near(&weights, &PRIOR[..5]);
        assert_eq!(update(&PRIOR, &PRIOR, &[f64::NAN; MEMBERS_MAX], 5), update(&PRIOR, &PRIOR, &[0.0; 8], 5));
    }

    proptest! {
        #[test]
        fn they_sum_to_one_between_floor_and_cap(rounds in proptest::collection::vec(proptest::array::uniform8(-1.0f64..1.0), 1..40)) {
            let mut weights = PRIOR;
            for skill in rounds {
                weights = update(&weights, &PRIOR, &skill, 5);
                prop_assert!((weights[..5].iter().sum::<f64>() - 1.0).abs() < 1e-9, "{weights:?}");
                prop_assert!(weights[..5].iter().all(|w| (FLOOR - 1e-9..=CAP + 1e-9).contains(w)), "{weights:?}");
            }
        }
    }
}
