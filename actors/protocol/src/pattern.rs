//! Which patterns there are, and what one over events has found.

use bytemuck::{Pod, Zeroable};

use crate::message::{Body, Kind};
use crate::{Nanos, Seq};

/// Values a match says, at most: those that its pattern emits first.
pub const VALUES_MAX: usize = 6;
/// Bytes of a pattern's name that a match says.
pub const NAME_BYTES: usize = 16;

/// A pattern is complete.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PatternMatch {
    /// Beginning of its name, UTF-8 without an end mark, zeros behind it.
    pub name: [u8; NAME_BYTES],
    /// Which of the patterns at work, from 0.
    pub pattern: u16,
    /// Values there are.
    pub values: u8,
    /// Zero.
    pub reserved: u8,
    /// Type of each value, four bits each, the first lowest: 0 none, 1 a whole number, 2 a number, 3 true or false, 4 a word of the schema.
    pub types: u32,
    /// Input of its first event.
    pub first: Seq,
    /// Input of its last event.
    pub last: Seq,
    /// When it was certain, by the sequencer.
    pub time: Nanos,
    /// The values.
    pub words: [u64; VALUES_MAX],
}

/// Other patterns from this input on, in place of those that were there: what was under way is let go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PatternsLoaded {
    /// BLAKE3 of their text, a blob beside the journal.
    pub blob: [u8; 32],
    /// How many there are.
    pub patterns: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

impl Body for PatternsLoaded {
    const KIND: Kind = Kind::PatternsLoaded;
}

impl Body for PatternMatch {
    const KIND: Kind = Kind::PatternMatch;
}

impl PatternMatch {
    /// The name, as far as it is said.
    #[must_use]
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(NAME_BYTES);
        std::str::from_utf8(&self.name[..end]).unwrap_or("?")
    }

    /// With a name; as much of it as there is room for.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let end = (0..=name.len().min(NAME_BYTES)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        let mut this = Self::default();
        this.name[..end].copy_from_slice(&name.as_bytes()[..end]);
        this
    }

    /// A value's type and word.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<(u8, u64)> {
        let word = self.words.get(index).filter(|_| index < usize::from(self.values))?;
        Some((((self.types >> (4 * index)) & 0xF) as u8, *word))
    }

    /// One value more; false where there is no room.
    pub fn push(&mut self, ty: u8, word: u64) -> bool {
        let at = usize::from(self.values);
        let Some(place) = self.words.get_mut(at) else { return false };
        *place = word;
        self.types |= u32::from(ty & 0xF) << (4 * at);
        self.values += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters_and_values_have_their_types() {
        assert_eq!(PatternMatch::named("run_of_buys").name(), "run_of_buys");
        assert_eq!(PatternMatch::named("aaaaaaaaaaaaaaaé").name(), "aaaaaaaaaaaaaaa");
        let mut found = PatternMatch::named("");
        assert!((1..=6).all(|i| found.push(i, u64::from(i) * 10)) && !found.push(1, 1));
        assert_eq!((found.value(0), found.value(5), found.value(6)), (Some((1, 10)), Some((6, 60)), None));
    }
}
