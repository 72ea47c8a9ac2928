//! Headlines. What they are worth is said outside, by a lexicon; they enter by the sequencer like anything else that is heard.

use bytemuck::{Pod, Zeroable};

use crate::Nanos;
use crate::message::{Body, Kind};

/// A headline about an instrument's asset.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct News {
    /// Hash of its words: the same headline again has the same.
    pub headline: u64,
    /// Hash of its source's name.
    pub source: u64,
    /// Tone in (−1, 1) (model book 3.8).
    pub compound: f64,
    /// How much it is about the asset, in [0, 1].
    pub relevance: f64,
    /// When its source says that it was published.
    pub published: Nanos,
    /// 1 where its source is believed alone.
    pub trusted: u64,
    /// Hash of the lexicon it was scored by.
    pub lexicon: u64,
    /// Zero.
    pub reserved: [u64; 5],
}

impl Body for News {
    const KIND: Kind = Kind::News;
}

impl News {
    /// True where every number is one that it can be.
    #[must_use]
    pub fn is_sensible(&self) -> bool {
        (-1.0..=1.0).contains(&self.compound) && (0.0..=1.0).contains(&self.relevance)
    }

    /// Tone times relevance.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.compound * self.relevance
    }
}
