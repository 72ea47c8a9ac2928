//! Other ways to weigh the members, run in the shadow of the one that decides (model book 3.15): each learns from the same outcomes, and how much
//! each has lost more than the best member alone is told. The configuration says which one decides.

use kimera_numerics::experts::{Experts, Rule, rate};
use kimera_protocol::MEMBERS_MAX;

use crate::outcomes::Said;
use crate::weights::WeightSet;

/// Updates that Hedge's rate is made for.
const UPDATES: u64 = 10_000;
/// Share of all weight that Fixed-Share deals evenly with each outcome.
const SHARE: f64 = 0.01;
/// Largest sum of squared distances of a forecast from what came.
const BRIER_MAX: f64 = 2.0;

/// Who decides about weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weighing {
    /// Every hundred outcomes, by skill: the specification's rule.
    #[default]
    Skill,
    /// Hedge.
    Hedge,
    /// Fixed-Share.
    FixedShare,
}

impl Weighing {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Skill, Self::Hedge, Self::FixedShare];

    /// Name in configurations and counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skill => "skill",
            Self::Hedge => "hedge",
            Self::FixedShare => "fixed-share",
        }
    }

    /// The one of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|weighing| weighing.name() == name)
    }
}

/// Sum of squared distances of a forecast from a class (Brier 1950), 0 to 2.
#[must_use]
pub fn brier(p: &[f64; 3], class: usize) -> f64 {
    (0..3).fold(0.0, |sum, c| {
        let d = p[c] - if c == class { 1.0 } else { 0.0 };
        sum + d * d
    })
}

/// Both shadows, and what the rule that decides has lost.
#[derive(Clone, Copy, Debug)]
pub struct Shadows {
    members: usize,
    hedge: Experts<MEMBERS_MAX>,
    share: Experts<MEMBERS_MAX>,
    skill_lost: f64,
    /// Losses of each member, who abstained charged by the deciding rule's weights.
    skill_losses: WeightSet,
    /// Outcomes that each member had voted on.
    voted: [u64; MEMBERS_MAX],
}

kimera_protocol::state!(Shadows { hedge, share, skill_lost, skill_losses, voted } fixed { members });

impl Shadows {
    /// Of the first `members` members, with even weights.
    #[must_use]
    pub fn new(members: usize) -> Self {
        let rate = rate(members, UPDATES);
        Self {
            members,
            hedge: Experts::new(Rule::Hedge { rate }, members),
            share: Experts::new(Rule::FixedShare { rate, share: SHARE }, members),
            skill_lost: 0.0,
            skill_losses: [0.0; MEMBERS_MAX],
            voted: [0; MEMBERS_MAX],
        }
    }

    /// Takes an outcome. Who abstained is charged what those who voted lost in the mean by the weights in question, so that abstaining moves nobody's
    /// weight against the rest (specialists: Freund, Schapire, Singer and Warmuth 1997). Nothing is learnt where nobody voted.
    pub fn resolved(&mut self, said: &Said, class: usize, by_skill: &WeightSet) {
        let losses = said.votes.map(|vote| vote.map(|p| brier(&p, class) / BRIER_MAX));
        let Some(filled) = self.filled(&losses, by_skill) else { return };
        self.skill_lost += mean(&filled, by_skill);
        self.skill_losses.iter_mut().zip(filled).for_each(|(sum, loss)| *sum += loss);
        self.voted.iter_mut().zip(&losses).for_each(|(n, loss)| *n += u64::from(loss.is_some()));
        for experts in [&mut self.hedge, &mut self.share] {
            let weights = *experts.weights();
            if let Some(filled) = filled_by(&losses, &weights, self.members) {
                experts.update(&filled);
            }
        }
    }

    fn filled(&self, losses: &[Option<f64>; MEMBERS_MAX], weights: &WeightSet) -> Option<WeightSet> {
        filled_by(losses, weights, self.members)
    }

    /// Weights of a shadow; none of the rule that is no shadow.
    #[must_use]
    pub fn weights(&self, weighing: Weighing) -> Option<&WeightSet> {
        match weighing {
            Weighing::Skill => None,
            Weighing::Hedge => Some(self.hedge.weights()),
            Weighing::FixedShare => Some(self.share.weights()),
        }
    }

    /// What following a rule has lost more than following the best member alone, half a Brier score an outcome; below 0 where no member did as well.
    /// Each rule charges abstainers by its own weights; who has never voted is nobody's best.
    #[must_use]
    pub fn regret(&self, weighing: Weighing) -> f64 {
        let (lost, losses) = match weighing {
            Weighing::Skill => (self.skill_lost, &self.skill_losses),
            Weighing::Hedge => (self.hedge.lost(), self.hedge.losses()),
            Weighing::FixedShare => (self.share.lost(), self.share.losses()),
        };
        let voted = losses.iter().zip(self.voted).take(self.members).filter(|(_, n)| *n > 0);
        let best = voted.fold(f64::INFINITY, |least, (loss, _)| least.min(*loss));
        if best.is_finite() { lost - best } else { 0.0 }
    }

    /// Outcomes learnt from.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.hedge.updates()
    }
}

/// Losses of those who voted, and their weighted mean for the others; none where nobody with weight voted.
fn filled_by(losses: &[Option<f64>; MEMBERS_MAX], weights: &WeightSet, members: usize) -> Option<WeightSet> {
    let voted = || losses.iter().zip(weights).take(members).filter_map(|(loss, w)| Some(((*loss)?, *w)));
    let total = voted().fold(0.0, |sum, (_, w)| sum + w);
    if total <= 0.0 {
        return None;
    }
    let mean = voted().fold(0.0, |sum, (loss, w)| sum + loss * w) / total;
    Some(std::array::from_fn(|m| if m < members { losses[m].unwrap_or(mean) } else { 0.0 }))
}

fn mean(losses: &WeightSet, weights: &WeightSet) -> f64 {
    losses.iter().zip(weights).fold(0.0, |sum, (loss, w)| sum + loss * w)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(votes: &[Option<[f64; 3]>]) -> Said {
        let mut all = [None; MEMBERS_MAX];
        all[..votes.len()].copy_from_slice(votes);
        Said { votes: all, pooled: [0.0; 3] }
    }

    const EVEN: WeightSet = [0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0];

    #[test]
    fn who_knows_gains_who_abstains_keeps_and_regret_is_of_the_rule_that_stays() {
        let mut shadows = Shadows::new(4);
        let (good, bad) = (Some([0.05, 0.05, 0.9]), Some([0.9, 0.05, 0.05]));
        for _ in 0..2_000 {
            shadows.resolved(&said(&[good, bad, None, Some([0.3, 0.4, 0.3])]), 2, &EVEN);
        }
        for weighing in [Weighing::Hedge, Weighing::FixedShare] {
            let weights = shadows.weights(weighing).unwrap();
            assert!(weights[0] > 0.5 && weights[1] < 0.1, "{} {weights:?}", weighing.name());
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(shadows.regret(weighing) < 0.5 * shadows.regret(Weighing::Skill));
        }
        assert_eq!((shadows.weights(Weighing::Skill), shadows.updates()), (None, 2_000));
        assert!(shadows.regret(Weighing::Skill) > 100.0, "even weights for ever pay for ever");
    }

    /// Of two who vote first one is right, then the other; two never vote. Fixed-Share does better than either alone, and that shows.
    #[test]
    fn regret_is_to_who_has_voted() {
        let mut shadows = Shadows::new(4);
        let (up, down) = (Some([0.05, 0.05, 0.9]), Some([0.9, 0.05, 0.05]));
        for i in 0..4_000 {
            shadows.resolved(&said(&[up, down, None, None]), if i < 2_000 { 2 } else { 0 }, &EVEN);
        }
        let regret = Weighing::ALL.map(|w| shadows.regret(w));
        assert!(regret[2] < -100.0 && regret[0].abs() < 1e-6, "{regret:?}");
    }

    #[test]
    fn abstaining_moves_nobody_s_weight_against_the_rest() {
        let mut shadows = Shadows::new(4);
        let vote = Some([0.2, 0.3, 0.5]);
        (0..100).for_each(|_| shadows.resolved(&said(&[vote, None, vote, None]), 0, &EVEN));
        assert!(shadows.weights(Weighing::Hedge).unwrap()[..4].iter().all(|w| (w - 0.25).abs() < 1e-12));
        let before = shadows.hedge;
        shadows.resolved(&said(&[None; 4]), 0, &EVEN);
        assert_eq!(shadows.hedge, before, "nobody voted");
        assert!(
            Weighing::ALL.into_iter().all(|w| Weighing::of(w.name()) == Some(w))
                && Weighing::of("x").is_none()
        );
    }
}
