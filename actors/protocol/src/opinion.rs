//! What slow estimators think of a market. They are no part of the line: their results enter by the sequencer like anything else that is not
//! computed from the journal, so a replay takes them as they were.

use bytemuck::{Pod, Zeroable};

use crate::message::{Body, Kind};
use crate::state::{Loader, Saver, State, StateError};
use crate::{InstrumentId, Nanos, Seq, Status};

/// What an opinion is about. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Volume-synchronised probability of informed trading, in [0, 1] (model book 1.9).
    Vpin = 1,
    /// Trades a second to be expected now, by a Hawkes process a side (1.12).
    TradeRate = 2,
    /// Buyers' rate against sellers', in [−1, 1] (1.12).
    TradeImbalance = 3,
    /// Trades that one trade brings, the larger one of both sides (1.12).
    Branching = 4,
    /// Probability that a maker who buys now loses more than the spread earned (1.11).
    ToxicBid = 5,
    /// The same for one who sells (1.11).
    ToxicAsk = 6,
    /// Effective spread of the last minute's trades, basis points (1.8).
    EffectiveSpread = 7,
    /// Realised spread of the same, basis points (1.8).
    RealisedSpread = 8,
    /// Their price impact, basis points (1.8).
    PriceImpact = 9,
    /// Spread that prices imply by bouncing, ticks (1.7).
    RollSpread = 10,
    /// Illiquidity: return for a million of the quote asset (1.6).
    Illiquidity = 11,
    /// Probability of informed trading by days, in [0, 1] (1.10).
    InformedTrading = 12,
    /// Variance ratio of minutes' returns over two (1.15).
    VarianceRatio2 = 13,
    /// Over five.
    VarianceRatio5 = 14,
    /// Over ten.
    VarianceRatio10 = 15,
    /// Probability that returns have changed their law within the last three bars (3.5).
    ChangePoint = 16,
    /// Probability that the market is in the calmer one of two regimes (3.5).
    CalmRegime = 17,
    /// How fast the state moves through its field, a second (3.2).
    FieldVelocity = 18,
    /// How far the markets' states point apart, in [0, 1] (3.2).
    FieldTension = 19,
    /// Probability that the price falls over the horizon, by what followed windows like this one (3.6).
    PatternDown = 20,
    /// Probability that it rises (3.6).
    PatternUp = 21,
    /// How unlike any earlier one the newest stretch of returns is: 0 a copy, √½ what chance gives, 1 the opposite of everything (3.7).
    PatternNovelty = 22,
    /// How evenly bars with trades are spread over five shares of takers that buy, in [0, 1] (3.4).
    FlowEntropy = 23,
    /// Share of the hours of the last thirty days that were calmer than the last sixty minutes, in [0, 1] (3.4).
    Temperature = 24,
    /// Rank of how calm the market is among the hours of ninety days: volatility and fall from the top, turned round (3.8).
    Calm = 25,
    /// Rank of momentum times volume among the same (3.8).
    Drive = 26,
    /// Rank of funding, and of longs against shorts, among the readings of ninety days (3.8).
    Crowding = 27,
    /// An index of fear and greed from outside, in [0, 1] (3.8).
    OutsideIndex = 28,
    /// The line that the logarithms of the traded price and of the other market's keep to: its slope, and its constant as the second value; usable while
    /// they are found to belong together (6.9).
    Cointegration = 29,
    /// Share of all variance in the first principal component of the markets' returns (3.9).
    Synchronisation = 30,
    /// t of the curvature of dispersion: below −1.96 markets move together more when they move far (3.9).
    Herding = 31,
}

/// Topics that there are.
pub const TOPICS: usize = 31;

impl Topic {
    /// Every topic.
    pub const ALL: [Self; TOPICS] = [
        Self::Vpin,
        Self::TradeRate,
        Self::TradeImbalance,
        Self::Branching,
        Self::ToxicBid,
        Self::ToxicAsk,
        Self::EffectiveSpread,
        Self::RealisedSpread,
        Self::PriceImpact,
        Self::RollSpread,
        Self::Illiquidity,
        Self::InformedTrading,
        Self::VarianceRatio2,
        Self::VarianceRatio5,
        Self::VarianceRatio10,
        Self::ChangePoint,
        Self::CalmRegime,
        Self::FieldVelocity,
        Self::FieldTension,
        Self::PatternDown,
        Self::PatternUp,
        Self::PatternNovelty,
        Self::FlowEntropy,
        Self::Temperature,
        Self::Calm,
        Self::Drive,
        Self::Crowding,
        Self::OutsideIndex,
        Self::Cointegration,
        Self::Synchronisation,
        Self::Herding,
    ];

    /// The topic of a code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as u64 == code)
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vpin => "vpin",
            Self::TradeRate => "trade-rate",
            Self::TradeImbalance => "trade-imbalance",
            Self::Branching => "branching",
            Self::ToxicBid => "toxic-bid",
            Self::ToxicAsk => "toxic-ask",
            Self::EffectiveSpread => "effective-spread",
            Self::RealisedSpread => "realised-spread",
            Self::PriceImpact => "price-impact",
            Self::RollSpread => "roll-spread",
            Self::Illiquidity => "illiquidity",
            Self::InformedTrading => "informed-trading",
            Self::VarianceRatio2 => "variance-ratio-2",
            Self::VarianceRatio5 => "variance-ratio-5",
            Self::VarianceRatio10 => "variance-ratio-10",
            Self::ChangePoint => "change-point",
            Self::CalmRegime => "calm-regime",
            Self::FieldVelocity => "field-velocity",
            Self::FieldTension => "field-tension",
            Self::PatternDown => "pattern-down",
            Self::PatternUp => "pattern-up",
            Self::PatternNovelty => "pattern-novelty",
            Self::FlowEntropy => "flow-entropy",
            Self::Temperature => "temperature",
            Self::Calm => "calm",
            Self::Drive => "drive",
            Self::Crowding => "crowding",
            Self::OutsideIndex => "outside-index",
            Self::Cointegration => "cointegration",
            Self::Synchronisation => "synchronisation",
            Self::Herding => "herding",
        }
    }

    /// Unit of its values.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::TradeRate => "trades/s",
            Self::EffectiveSpread | Self::RealisedSpread | Self::PriceImpact => "bps",
            Self::RollSpread => "ticks",
            Self::Illiquidity => "return/million",
            Self::FieldVelocity => "1/s",
            _ => "",
        }
    }
}

/// A slow estimator's result about one instrument.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Opinion {
    /// [`Topic`] as its code.
    pub topic: u64,
    /// The value, in the topic's unit; finite.
    pub value: f64,
    /// Observations behind it.
    pub observations: u64,
    /// [`Status`] as its code.
    pub status: u64,
    /// The newest input it rests on.
    pub basis: Seq,
    /// Market time up to which it may be used.
    pub valid_until: Nanos,
    /// Hash of what it was computed with: configuration, and fitted parameters where there are some.
    pub artefact: u64,
    /// A second value where the topic has one; finite, else 0.
    pub second: f64,
    /// Zero.
    pub reserved: [u64; 4],
}

impl Body for Opinion {
    const KIND: Kind = Kind::Opinion;
}

impl Opinion {
    /// The value, where it may be used to take risk at a time.
    #[must_use]
    pub fn usable(&self, now: Nanos) -> Option<f64> {
        let status = u8::try_from(self.status).ok().and_then(Status::from_code)?;
        let is_number = self.value.is_finite() && self.second.is_finite();
        (status.is_usable() && now <= self.valid_until && is_number).then_some(self.value)
    }

    /// A word that tells two opinions apart; 0 of none at all.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let words: [u64; size_of::<Self>() / 8] = bytemuck::cast(*self);
        words.iter().fold(0, |d: u64, word| (d.rotate_left(11) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

/// The newest opinion of each topic about one instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct Opinions {
    of: InstrumentId,
    newest: [Opinion; TOPICS],
}

impl Opinions {
    /// About an instrument; nothing was heard yet.
    #[must_use]
    pub fn about(of: InstrumentId) -> Self {
        Self { of, newest: [Opinion::default(); TOPICS] }
    }

    /// Takes one; one about something else, on no topic, or older than what is held, is left out.
    pub fn hear(&mut self, about: InstrumentId, opinion: &Opinion) {
        let place = usize::try_from(opinion.topic).ok().and_then(|code| code.checked_sub(1));
        if about == self.of
            && let Some(held) = place.and_then(|place| self.newest.get_mut(place))
            && opinion.basis >= held.basis
        {
            *held = *opinion;
        }
    }

    /// A value that may be used now.
    #[must_use]
    pub fn get(&self, topic: Topic, now: Nanos) -> Option<f64> {
        self.newest[topic as usize - 1].usable(now)
    }

    /// A word that tells two states apart that differ; 0 where nothing was heard.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.newest.iter().fold(0, |d: u64, o| {
            (d.rotate_left(11) ^ o.value.to_bits() ^ o.second.to_bits() ^ o.status ^ o.valid_until as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
    }
}

impl State for Opinions {
    fn save(&self, out: &mut Saver) {
        out.put(bytemuck::bytes_of(&self.newest));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let bytes = from.take(size_of::<[Opinion; TOPICS]>())?;
        self.newest = bytemuck::pod_read_unaligned(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(topic: Topic, value: f64, basis: Seq, valid_until: Nanos) -> Opinion {
        let status = Status::Ok as u64;
        Opinion { topic: topic as u64, value, status, basis, valid_until, ..Opinion::default() }
    }

    #[test]
    fn codes_come_back() {
        assert!(Topic::ALL.into_iter().all(|t| Topic::from_code(t as u64) == Some(t)));
        assert!(Topic::ALL.into_iter().enumerate().all(|(i, t)| t as usize == i + 1), "a place each");
        assert_eq!(Topic::from_code(0), None);
    }

    #[test]
    fn the_newest_is_held_as_long_as_it_is_valid() {
        let id = InstrumentId(1);
        let mut held = Opinions::about(id);
        assert!(held.get(Topic::Vpin, 0).is_none() && held.digest() == 0);
        held.hear(id, &opinion(Topic::Vpin, 0.5, 10, 100));
        held.hear(InstrumentId(0), &opinion(Topic::Vpin, 0.9, 20, 100));
        held.hear(id, &opinion(Topic::Vpin, 0.8, 9, 100));
        held.hear(id, &Opinion { topic: 77, basis: 30, ..Opinion::default() });
        assert_eq!((held.get(Topic::Vpin, 100), held.get(Topic::Vpin, 101)), (Some(0.5), None));
        assert!(held.get(Topic::Branching, 0).is_none() && held.digest() != 0);
        held.hear(id, &opinion(Topic::Vpin, f64::NAN, 11, 100));
        assert_eq!(held.get(Topic::Vpin, 0), None, "no number is not used");
        held.hear(id, &Opinion { status: Status::Warmup as u64, ..opinion(Topic::Vpin, 0.5, 12, 100) });
        assert_eq!(held.get(Topic::Vpin, 0), None, "what is too little is not used");
        let (bytes, mut other) = (Saver::of(&held), Opinions::about(id));
        Loader::new(&bytes).into_state(&mut other).unwrap();
        assert_eq!(other.digest(), held.digest());
        assert!(Loader::new(&bytes[1..]).into_state(&mut other).is_err());
    }
}
