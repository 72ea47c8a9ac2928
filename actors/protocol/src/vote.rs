//! What members of the ensemble say, and what is made of it.

use bytemuck::{Pod, Zeroable};

use crate::Seq;
use crate::message::{Body, Kind};

/// Members of an ensemble, at most.
pub const MEMBERS_MAX: usize = 8;

/// Why a member does not vote. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Abstention {
    /// Too few observations yet.
    Warmup = 1,
    /// Fewer sources than it needs are alive.
    NoSources = 2,
    /// What it would read is degenerate.
    Degenerate = 3,
    /// It needs data that this configuration does not have.
    NoData = 4,
}

impl Abstention {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Warmup, Self::NoSources, Self::Degenerate, Self::NoData];

    /// The reason of a code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u64 == code)
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::NoSources => "no-sources",
            Self::Degenerate => "degenerate",
            Self::NoData => "no-data",
        }
    }
}

/// How a sketch is read. The numbers are written to disk: never reuse one.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Probabilities: of down, of up, in 1/1024; flat is what is left.
    Odds = 1,
    /// A direction: the argument of a hyperbolic tangent in eighths of octaves, up above 0; and how much it is doubted, 0 to 1, in 1/64.
    Tilt = 2,
    /// A drift against its noise, −1 to 1, in eighths of octaves; and a temperature, 0 to 1, in 1/64.
    FreeEnergy = 3,
}

impl Form {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Odds, Self::Tilt, Self::FreeEnergy];
}

/// What a member has found, on a grid: two small whole numbers and how they are read. A member's vote is a function of its sketch and nothing else, so
/// that equal sketches always are equal votes (model book 3.16).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Sketch(u64);

impl Sketch {
    /// Nothing: an abstention.
    pub const NONE: Self = Self(0);

    /// Two numbers, read like this.
    #[inline]
    #[must_use]
    pub const fn new(form: Form, first: i16, second: i16) -> Self {
        Self(form as u64 | (first as u16 as u64) << 16 | (second as u16 as u64) << 32)
    }

    /// The sketch of a word that was written down; whether it can be read is another question.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// How it is read; none of what is no sketch.
    #[inline]
    #[must_use]
    pub fn form(self) -> Option<Form> {
        if self.0 >> 48 != 0 {
            return None;
        }
        Form::ALL.into_iter().find(|form| *form as u64 == self.0 & 0xFFFF)
    }

    /// The two numbers.
    #[inline]
    #[must_use]
    pub const fn steps(self) -> (i16, i16) {
        ((self.0 >> 16) as u16 as i16, (self.0 >> 32) as u16 as i16)
    }

    /// All of it: 0 where there is nothing.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }
}

/// What a member has to say of where the price will be at the horizon.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Vote {
    /// What it has found; its probabilities are read out of it where votes are pooled. Nothing where it abstains.
    pub sketch: Sketch,
    /// The member, from 0.
    pub member: u64,
    /// [`Abstention`] as its code; 0 where it votes.
    pub abstains: u64,
    /// What it measures on the way: the contradiction level, the semantic temperature.
    pub level: f64,
    /// A second such value: how far the sources are from the mid in two standard errors, the permutation entropy.
    pub second: f64,
    /// Zero.
    pub reserved: [u64; 7],
}

impl Body for Vote {
    const KIND: Kind = Kind::Vote;
}

/// What the ensemble says at a mark.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Consensus {
    /// Pooled probabilities of down, flat and up; zeros where everyone abstains.
    pub p: [f64; 3],
    /// p↑ − p↓, in [-1, 1].
    pub score: f64,
    /// Calibrated probability that the direction of the score is right, in [0, 1].
    pub confidence: f64,
    /// 1 where the members agree, 0 where they could not disagree more.
    pub agreement: f64,
    /// Members that voted, a bit each.
    pub voted: u64,
    /// Forecasts whose outcome is known.
    pub resolved: u64,
    /// Times the weights have changed.
    pub weight_epoch: u64,
    /// How much the members exclude each other, in [0, 1]: the mass that Dempster's rule finds in contradiction (model book 3.1).
    pub conflict: f64,
    /// Probability that the direction is wrong, against always saying the commoner one: 0 certain, 1 no better (4.9).
    pub pressure: f64,
    /// How much the sources of the price contradict each other, in [0, 1] (3.1), and the semantic temperature, in [0, 1] (3.4), as the members said
    /// them; [`UNKNOWN`] where they did not.
    pub levels: [f32; 2],
}

/// A level that nobody has said.
pub const UNKNOWN: f32 = -1.0;

impl Consensus {
    /// The contradiction level, where it is known.
    #[must_use]
    pub fn contradiction(&self) -> Option<f32> {
        Some(self.levels[0]).filter(|level| (0.0..=1.0).contains(level))
    }

    /// The semantic temperature, where it is known.
    #[must_use]
    pub fn temperature(&self) -> Option<f32> {
        Some(self.levels[1]).filter(|level| (0.0..=1.0).contains(level))
    }
}

impl Body for Consensus {
    const KIND: Kind = Kind::Consensus;
}

/// The members' weights from here on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Weights {
    /// By member; they sum to 1.
    pub weights: [f64; MEMBERS_MAX],
    /// Members used.
    pub members: u64,
    /// Forecasts whose outcome is known.
    pub resolved: u64,
    /// Times the weights have changed.
    pub weight_epoch: u64,
    /// Zero.
    pub reserved: u64,
}

impl Body for Weights {
    const KIND: Kind = Kind::Weights;
}

/// A seat has panicked: from an input on it says nothing. One value for every join, known to a replay ahead.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Absent {
    /// The seat's index in the topology.
    pub seat: u64,
    /// First input it has no answer to: the one after its last committed.
    pub from: Seq,
    /// Last such input; the largest number while it is not known when it comes back.
    pub to: Seq,
    /// 1 where the actor does not survive the input `from` and is never given it again.
    pub skipped: u64,
    /// Zero.
    pub reserved: [u64; 8],
}

impl Body for Absent {
    const KIND: Kind = Kind::Absent;
}
