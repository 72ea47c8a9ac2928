//! Kinds of strategies, and members of the ensemble: those that come with the project, and those under `extensions/`, a crate each. `kimera new strategy
//! NAME` and `kimera new member NAME` make such a crate and add its line here; from then on a configuration may name it.

use kimera_ensemble::members::MemberOf;
use kimera_strategy::kinds::{KINDS, KindOf};

/// Those that do not come with the project. Their numbers in journals follow from their order: new ones go to the end.
pub const STRATEGIES: &[KindOf] = &[
    // kimera new: a line a strategy
];

/// Members that do not come with the project, by name.
pub const MEMBERS: &[MemberOf] = &[
    #[cfg(test)]
    tests::REHEARSED,
    // kimera new: a line a member
];

/// The member of a name.
#[must_use]
pub fn member(name: &str) -> Option<&'static MemberOf> {
    MEMBERS.iter().find(|(known, ..)| *known == name)
}

/// Every kind, in the order of their numbers.
pub fn kinds() -> impl Iterator<Item = &'static KindOf> {
    KINDS.iter().chain(STRATEGIES)
}

/// Number of the kind of a name.
#[must_use]
pub fn number_of(name: &str) -> Option<u16> {
    kinds().position(|(known, ..)| *known == name).and_then(|at| u16::try_from(at).ok())
}

/// The kind of a number.
#[must_use]
pub fn kind(number: u16) -> Option<&'static KindOf> {
    kinds().nth(usize::from(number))
}

/// Names of the kinds, for messages.
#[must_use]
pub fn kind_names() -> String {
    kinds().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, plan};
    use crate::line;

    /// One that tests know of.
    pub(super) const REHEARSED: MemberOf = ("rehearsed", "sits where a member from outside does", |roles| {
        Box::new(kimera_ensemble::Pattern::new(roles.member, roles.traded))
    });

    #[test]
    fn a_member_from_outside_is_seated_by_configuration_alone() {
        let without = Config::parse(include_str!("../config/profiles/paper.toml")).unwrap();
        let with = without.patched("[ensemble]\nfurther = [\"rehearsed\"]").unwrap();
        let prior = with.ensemble_config().prior;
        assert!(
            (prior.iter().sum::<f64>() - 1.0).abs() < 1e-12 && (prior[5] - 0.02).abs() < 1e-12,
            "{prior:?}"
        );
        assert!((prior[0] - 0.30 * 0.98).abs() < 1e-12);
        let (before, topology) = (line::topology(&without), line::topology(&with));
        assert!(topology.check() == Ok(()) && topology.seat("member.rehearsed").is_some());
        let same = before.seats.iter().zip(&topology.seats).all(|(a, b)| a.name == b.name);
        assert!(same, "numbers of seats that journals hold stay as they are");
        for cores in [2, 4, 8, 16, 32] {
            let plan = line::with_guests(plan(&format!("cores-{cores}")).unwrap(), &topology);
            assert_eq!(plan.check(&topology, None), Ok(()), "{}", plan.name);
        }
        let group = |config: &Config| config.supervision.group_of("member.rehearsed").map(|g| g.name.clone());
        assert_eq!((group(&without), group(&with)), (None, Some("members".into())));
        let back = with.patched("[ensemble]\nfurther = []").unwrap();
        assert_eq!((group(&back), back.ensemble_config()), (None, without.ensemble_config()));
        assert_eq!(line::boxed_members(&with).unwrap().len(), 6);
        for (wrong, why) in [
            ("[\"rehearsed\", \"rehearsed\"]", "named twice"),
            ("[\"nobody\"]", "no member is called"),
            ("[\"a\", \"b\", \"c\", \"d\"]", "at most 3"),
        ] {
            let said = without.patched(&format!("[ensemble]\nfurther = {wrong}")).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn every_kind_has_one_name_and_one_number() {
        for (i, (name, purpose, _)) in kinds().enumerate() {
            assert_eq!(number_of(name), Some(i as u16), "{name} is there twice");
            assert!(!purpose.is_empty() && kind(i as u16).is_some_and(|(known, ..)| known == name));
        }
        assert_eq!((number_of("tulips"), kind(u16::MAX)), (None, None));
    }
}
