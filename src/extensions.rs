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

    #[test]
    fn every_kind_has_one_name_and_one_number() {
        for (i, (name, purpose, _)) in kinds().enumerate() {
            assert_eq!(number_of(name), Some(i as u16), "{name} is there twice");
            assert!(!purpose.is_empty() && kind(i as u16).is_some_and(|(known, ..)| known == name));
        }
        assert_eq!((number_of("tulips"), kind(u16::MAX)), (None, None));
    }
}
