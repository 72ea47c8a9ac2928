//! Walking forward (López de Prado 2018, ch. 7): what is fitted is fitted to the past of each test part, less what overlaps it and a little more.

use std::ops::Range;

use kimera_ensemble::pool::{Forecast, pool};
use kimera_numerics::softmax::Softmax;
use kimera_protocol::Nanos;

use super::forecasts::Sample;

/// Test parts.
pub const FOLDS: usize = 5;
/// Share of the whole time that is left out before a test part, beside what overlaps it.
const EMBARGO: f64 = 0.01;

/// A test part and what may be learnt from for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Samples to learn from.
    pub train: Vec<usize>,
    /// Samples to be judged by.
    pub test: Range<usize>,
    /// Earlier samples that were left out.
    pub purged: usize,
}

/// Equal parts in order of time: the first is only learnt from, each other is a test part for what was learnt from those before it. Samples whose outcome
/// was not known an embargo before the part began are left out.
#[must_use]
pub fn folds(samples: &[Sample], parts: usize) -> Vec<Fold> {
    let n = samples.len();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let embargo = (EMBARGO * last.time.saturating_sub(first.time) as f64) as Nanos;
    let bound = |part: usize| n * part / (parts + 1);
    let fold = |part: usize| {
        let test = bound(part)..bound(part + 1);
        let begin = samples.get(test.start)?.time.saturating_sub(embargo);
        let train: Vec<_> = (0..test.start).filter(|&i| samples[i].end < begin).collect();
        let purged = test.start - train.len();
        (!test.is_empty()).then_some(Fold { train, test, purged })
    };
    (1..=parts).filter_map(fold).collect()
}

/// A forecast of a test sample, and whether it acts on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// The sample.
    pub sample: usize,
    /// Down, flat, up.
    pub p: Forecast,
    /// It would act on the direction.
    pub acts: bool,
}

/// Who forecasts, and everything it said of test samples; those of which it said nothing are missing.
#[derive(Clone, Debug)]
pub struct Forecaster {
    /// Name.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// Forecasts.
    pub said: Vec<Said>,
}

/// What a forecaster is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The ensemble, or a member.
    Own,
    /// The ensemble without a member.
    Ablation,
    /// Something simple to be better than.
    Baseline,
}

/// When the ensemble acts: least score, least confidence.
pub type Rule = (f64, f64);

/// Direction of a forecast; none where both sides are as likely.
fn has_direction(p: &Forecast) -> bool {
    (p[2] - p[0]).abs() > 1e-12
}

/// Ensemble, members, the ensemble without each of them, and baselines, over the test parts.
#[must_use]
pub fn forecasters(
    samples: &[Sample],
    folds: &[Fold],
    members: &[String],
    rule: Rule,
    seed: u64,
) -> Vec<Forecaster> {
    let tested = || folds.iter().flat_map(|fold| fold.test.clone());
    let own = |name: &str, role: Role, of: &dyn Fn(&Sample) -> Option<(Forecast, bool)>| {
        let said = tested().filter_map(|i| of(&samples[i]).map(|(p, acts)| Said { sample: i, p, acts }));
        Forecaster { name: name.to_owned(), role, said: said.collect() }
    };
    let acts = |s: &Sample, p: &Forecast| (p[2] - p[0]).abs() >= rule.0 && s.confidence >= rule.1;
    let mut all = vec![
        own("ensemble, where it acts", Role::Own, &|s| {
            s.pooled.filter(|p| acts(s, p)).map(|p| (p, has_direction(&p)))
        }),
        own("ensemble, always", Role::Own, &|s| s.pooled.map(|p| (p, has_direction(&p)))),
    ];
    for (m, name) in members.iter().enumerate() {
        all.push(own(name, Role::Own, &|s| s.votes[m].map(|p| (p, has_direction(&p)))));
    }
    for (m, name) in members.iter().enumerate() {
        if samples.iter().all(|s| s.votes[m].is_none()) {
            continue;
        }
        let without = |s: &Sample| {
            let mut votes = s.votes;
            votes[m] = None;
            pool(&votes, &s.weights).map(|pooled| (pooled.p, has_direction(&pooled.p)))
        };
        all.push(own(&format!("without {name}"), Role::Ablation, &without));
    }
    all.push(majority(samples, folds));
    all.push(own("persistence", Role::Baseline, &|s| {
        let mut p = [0.2; 3];
        p[s.before] = 0.6;
        Some((p, s.before != 1))
    }));
    all.push(logistic("logistic on book, takers, return", samples, folds, None));
    all.push(logistic("the same on shuffled labels", samples, folds, Some(seed)));
    all
}

/// The base rates of what came before each test part.
fn majority(samples: &[Sample], folds: &[Fold]) -> Forecaster {
    let mut said = Vec::new();
    for fold in folds {
        let mut counts = [1.0; 3];
        fold.train.iter().for_each(|&i| counts[samples[i].class] += 1.0);
        let sum: f64 = counts.iter().sum();
        let p = counts.map(|c| c / sum);
        said.extend(fold.test.clone().map(|sample| Said { sample, p, acts: has_direction(&p) }));
    }
    Forecaster { name: "majority".into(), role: Role::Baseline, said }
}

fn logistic(name: &str, samples: &[Sample], folds: &[Fold], shuffled: Option<u64>) -> Forecaster {
    let mut said = Vec::new();
    for fold in folds {
        let mut classes: Vec<_> = fold.train.iter().map(|&i| samples[i].class).collect();
        if let Some(seed) = shuffled {
            shuffle(&mut classes, seed);
        }
        let examples: Vec<_> =
            fold.train.iter().zip(classes).map(|(&i, class)| (samples[i].inputs, class)).collect();
        let Some(fit) = Softmax::fit(&examples) else { continue };
        said.extend(fold.test.clone().map(|sample| {
            let p = fit.probabilities(&samples[sample].inputs);
            Said { sample, p, acts: has_direction(&p) }
        }));
    }
    Forecaster { name: name.to_owned(), role: Role::Baseline, said }
}

/// Deals in an order that the seed decides (Fisher and Yates).
pub fn shuffle<T>(of: &mut [T], seed: u64) {
    let mut bits = kimera_numerics::seeded::SeededNormals::new(seed);
    for i in (1..of.len()).rev() {
        let other = (bits.bits() % (i as u64 + 1)) as usize;
        of.swap(i, other);
    }
}

/// How much of each sample is its own: outcomes that are waited for at the same time share what becomes of them (López de Prado 2018, ch. 4). 1 where
/// nothing overlaps; the sum is how many independent samples there are.
#[must_use]
pub fn uniqueness(samples: &[Sample]) -> Vec<f64> {
    // Open at each sample's own time: those before it that have not ended, itself among them.
    let mut open = vec![0u32; samples.len()];
    for (i, sample) in samples.iter().enumerate() {
        for (j, later) in samples.iter().enumerate().skip(i) {
            if j > i && later.time >= sample.end {
                break;
            }
            open[j] += 1;
        }
    }
    let of = |(i, sample): (usize, &Sample)| {
        let (mut sum, mut n) = (0.0, 0.0);
        for (j, later) in samples.iter().enumerate().skip(i) {
            if j > i && later.time >= sample.end {
                break;
            }
            sum += 1.0 / f64::from(open[j]);
            n += 1.0;
        }
        sum / n
    };
    samples.iter().enumerate().map(of).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use kimera_protocol::MEMBERS_MAX;

    /// A sample that ends `span` after its time.
    pub fn sample(time: Nanos, span: Nanos, class: usize) -> Sample {
        Sample {
            time,
            end: time + span,
            mid: 100.0,
            class,
            votes: [None; MEMBERS_MAX],
            weights: [0.2; MEMBERS_MAX],
            pooled: None,
            confidence: 0.6,
            inputs: [0.0; crate::evaluate::forecasts::INPUTS],
            before: 1,
            temperature: None,
        }
    }

    #[test]
    fn nothing_is_learnt_from_what_overlaps_a_test_part() {
        let samples: Vec<_> = (0..600).map(|i| sample(i * 10, 35, (i % 3) as usize)).collect();
        let folds = folds(&samples, 5);
        assert_eq!(folds.len(), 5);
        for (fold, part) in folds.iter().zip(1..) {
            assert_eq!(fold.test, part * 100..(part + 1) * 100);
            let begin = samples[fold.test.start].time - 59; // a hundredth of 5,990
            assert!(fold.train.iter().all(|&i| samples[i].end < begin));
            let first_left_out = fold.test.start - fold.purged;
            assert!(samples[first_left_out].end >= begin && fold.purged == 9, "{fold:?}");
        }
        assert!(super::folds(&[], 5).is_empty());
    }

    #[test]
    fn overlapping_outcomes_count_once() {
        let alone: Vec<_> = (0..10).map(|i| sample(i * 10, 10, 1)).collect();
        assert!(uniqueness(&alone).iter().all(|u| (u - 1.0).abs() < 1e-12));
        let overlapping: Vec<_> = (0..1_000).map(|i| sample(i * 10, 50, 1)).collect();
        let sum: f64 = uniqueness(&overlapping).iter().sum();
        assert!((sum - 200.0).abs() < 5.0, "a fifth of a thousand: {sum}");
    }

    #[test]
    fn shuffled_labels_teach_nothing() {
        let mut samples: Vec<_> =
            (0..3_000).map(|i| sample(i * 10, 5, if i % 2 == 0 { 0 } else { 2 })).collect();
        samples.iter_mut().for_each(|s| s.inputs[0] = if s.class == 2 { 1.0 } else { -1.0 });
        let folds = folds(&samples, 5);
        let all = forecasters(&samples, &folds, &[], (0.15, 0.55), 7);
        let right = |name: &str| {
            let of = all.iter().find(|f| f.name.contains(name)).unwrap();
            let hits = of.said.iter().filter(|s| (s.p[2] > s.p[0]) == (samples[s.sample].class == 2)).count();
            hits as f64 / of.said.len() as f64
        };
        assert!(right("logistic") > 0.999);
        let confident = |name: &str| {
            let of = all.iter().find(|f| f.name.contains(name)).unwrap();
            of.said.iter().map(|s| (s.p[2] - s.p[0]).abs()).sum::<f64>() / of.said.len() as f64
        };
        assert!(confident("logistic") > 0.8 && confident("shuffled") < 0.15, "{}", confident("shuffled"));
    }
}
