//! What a venue demands of orders for an instrument, and its versions in the sequence.
//!
//! Books, features and orders of a run count in the tick that its configuration names. A venue may change its rules while the run goes on: its
//! feed says so ([`Definition`]), and from that place in the sequence on every stage that makes or judges orders goes by the new
//! [`InstrumentVersion`]. A tick that is a multiple of the configured one is only a coarser step on the same scale. A finer one, or one that is
//! no multiple, has prices that the run cannot say: then only ways out may pass, at prices that both can say.

use bytemuck::{Pod, Zeroable};

use crate::fixed::UNIT;
use crate::message::{Body, Kind};
use crate::{FrameRef, Price, Quantity, Seq, Side};

/// Whether a venue trades an instrument.
#[repr(u64)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstrumentStatus {
    /// Orders are taken.
    #[default]
    Trading = 1,
    /// Orders may be taken back, no new ones sent.
    CancelOnly = 2,
    /// Neither.
    Closed = 3,
}

impl InstrumentStatus {
    /// The status of a code; what nobody knows is closed.
    #[must_use]
    pub fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Trading,
            2 => Self::CancelOnly,
            _ => Self::Closed,
        }
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trading => "trading",
            Self::CancelOnly => "cancel-only",
            Self::Closed => "closed",
        }
    }
}

/// A venue's rules for an instrument, as its feed has read them. An input: told once in every life of a feed, and then at every change.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Definition {
    /// The feed's connection, and how far it had got when the venue answered.
    pub frame: FrameRef,
    /// Price step in 1e-8 of the quote asset, positive.
    pub tick_units: i64,
    /// Size step in 1e-8 of the base asset, positive.
    pub lot_units: i64,
    /// Least size of an order in 1e-8 of the base asset.
    pub size_min: i64,
    /// Least notional of an order in 1e-8 of the quote asset.
    pub notional_min: i64,
    /// [`InstrumentStatus`] as its code.
    pub status: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

impl Body for Definition {
    const KIND: Kind = Kind::Definition;
}

impl Definition {
    /// The status.
    #[must_use]
    pub fn status(&self) -> InstrumentStatus {
        InstrumentStatus::from_code(self.status)
    }

    /// True where both say the same, whoever has read it.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        let rules = |d: &Self| (d.tick_units, d.lot_units, d.size_min, d.notional_min, d.status);
        rules(self) == rules(other)
    }
}

/// What binds our orders for an instrument from a place in the sequence on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstrumentVersion {
    /// The input that has brought it; 0 is the configuration's own.
    pub seq: Seq,
    /// Tick of the run's prices, in 1e-8 of the quote asset.
    grid_units: i64,
    /// Smallest step that both can say, in ticks of the run.
    price_step: i64,
    tick_units: i64,
    lot_units: i64,
    size_min: i64,
    notional_min: i64,
    status: u64,
}

crate::state!(InstrumentVersion { seq, price_step, tick_units, lot_units, size_min, notional_min, status } fixed { grid_units });

impl InstrumentVersion {
    /// What the configuration says, until the venue has spoken.
    #[must_use]
    pub fn configured(tick_units: i64, lot_units: i64) -> Self {
        let status = InstrumentStatus::Trading as u64;
        Self {
            seq: 0,
            grid_units: tick_units,
            price_step: 1,
            tick_units,
            lot_units,
            size_min: lot_units,
            notional_min: 0,
            status,
        }
    }

    /// Takes what the venue says; true where it is another version than before. Steps that are none are left out.
    pub fn apply(&mut self, seq: Seq, definition: &Definition) -> bool {
        let Definition { tick_units, lot_units, size_min, notional_min, status, .. } = *definition;
        let new = Self { seq: self.seq, tick_units, lot_units, size_min, notional_min, status, ..*self };
        if tick_units <= 0 || lot_units <= 0 || new == *self {
            return false;
        }
        // The least common multiple of both ticks, in those of the run.
        let price_step = tick_units / gcd(tick_units, self.grid_units);
        *self = Self { seq, price_step, ..new };
        true
    }

    /// True where the venue takes orders.
    #[must_use]
    pub fn is_open(&self) -> bool {
        InstrumentStatus::from_code(self.status) == InstrumentStatus::Trading
    }

    /// Smallest step of prices that the venue takes and the run can say, in ticks of the run.
    #[inline]
    #[must_use]
    pub fn price_step(&self) -> i64 {
        self.price_step.max(1)
    }

    /// True where the run can say every price of the venue.
    #[must_use]
    pub fn is_sayable(&self) -> bool {
        self.tick_units.checked_rem(self.grid_units) == Some(0)
    }

    /// The price that the venue takes next to this one, away from the market: never a better one for the other side.
    #[inline]
    #[must_use]
    pub fn passively(&self, side: Side, price: Price) -> Price {
        let step = self.price_step();
        if step == 1 {
            return price;
        }
        let below = price.0.div_euclid(step).saturating_mul(step);
        let is_on_step = below == price.0;
        Price(if side == Side::Bid || is_on_step { below } else { below.saturating_add(step) })
    }

    /// The largest size in whole lots that is no larger than this one.
    #[inline]
    #[must_use]
    pub fn size_down(&self, size: i64) -> i64 {
        size - size.checked_rem(self.lot_units).unwrap_or(size)
    }

    /// True where price and size are whole steps.
    #[must_use]
    pub fn is_on_step(&self, price: Price, size: Quantity) -> bool {
        size.0.checked_rem(self.lot_units) == Some(0) && price.0 % self.price_step() == 0
    }

    /// True where an order is as large as the venue demands of one.
    #[must_use]
    pub fn reaches_least(&self, price: Price, size: Quantity) -> bool {
        let notional = (i128::from(price.0) * i128::from(self.grid_units)).saturating_mul(size.0.into());
        size.0 >= self.size_min && notional >= i128::from(self.notional_min) * i128::from(UNIT)
    }

    /// A word for all of it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let words = [self.tick_units, self.lot_units, self.size_min, self.notional_min].map(|w| w as u64);
        [self.seq, self.status]
            .iter()
            .chain(&words)
            .fold(0, |digest, word| (digest ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23))
    }
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loader, Saver};
    use proptest::prelude::*;

    /// A run that counts in 0.10 and 0.001.
    fn configured() -> InstrumentVersion {
        InstrumentVersion::configured(10_000_000, 100_000)
    }

    fn definition(tick_units: i64, lot_units: i64) -> Definition {
        let (size_min, notional_min) = (2 * lot_units, 100 * UNIT);
        Definition { tick_units, lot_units, size_min, notional_min, status: 1, ..Definition::default() }
    }

    #[test]
    fn a_version_is_another_one_only_where_the_rules_are() {
        let mut version = configured();
        assert_eq!((version.seq, version.price_step(), version.is_open()), (0, 1, true));
        let coarser = definition(50_000_000, 200_000);
        assert!(version.apply(7, &coarser) && !version.apply(8, &coarser));
        assert_eq!((version.seq, version.price_step()), (7, 5));
        // Who has read it is none of the rules.
        let frame = FrameRef { epoch: 4, number: 9 };
        assert!(!version.apply(9, &Definition { frame, ..coarser }));
        assert!(!version.apply(9, &definition(0, 5)) && !version.apply(9, &definition(5, -1)));
        let closed = Definition { status: InstrumentStatus::CancelOnly as u64, ..coarser };
        assert!(version.apply(10, &closed) && !version.is_open() && version.seq == 10);
        let unheard_of = Definition { status: 77, ..coarser };
        assert!(version.apply(11, &unheard_of) && !version.is_open());
        let mut loaded = configured();
        Loader::new(&Saver::of(&version)).into_state(&mut loaded).unwrap();
        assert_eq!(loaded, version);
        assert_ne!(loaded.digest(), configured().digest());
    }

    #[test]
    fn orders_keep_to_the_steps_of_the_newest_version() {
        let mut version = configured();
        assert_eq!(version.passively(Side::Bid, Price(603)), Price(603));
        assert!(version.is_on_step(Price(603), Quantity(300_000)));
        assert!(version.reaches_least(Price(1), Quantity(100_000)));
        version.apply(1, &definition(50_000_000, 200_000));
        assert_eq!(version.passively(Side::Bid, Price(603)), Price(600));
        assert_eq!(version.passively(Side::Ask, Price(603)), Price(605));
        assert_eq!(version.passively(Side::Ask, Price(605)), Price(605));
        assert!(!version.is_on_step(Price(603), Quantity(200_000)));
        assert!(!version.is_on_step(Price(605), Quantity(300_000)));
        assert!(version.is_on_step(Price(605), Quantity(400_000)));
        assert_eq!((version.size_down(700_000), version.size_down(199_999)), (600_000, 0));
        // 0.004 at 25,000.00 is a notional of 100.
        assert!(version.reaches_least(Price(250_000), Quantity(400_000)));
        assert!(!version.reaches_least(Price(249_999), Quantity(400_000)));
        assert!(!version.reaches_least(Price(9_990_000), Quantity(200_000)), "below the least size");
    }

    #[test]
    fn of_a_tick_that_is_no_multiple_only_what_both_can_say_is_used() {
        for (tick, step) in [(1_000_000, 1), (5_000_000, 1), (15_000_000, 3), (25_000_000, 5)] {
            let mut version = configured();
            assert!(version.apply(1, &definition(tick, 100_000)) && !version.is_sayable());
            assert_eq!((version.price_step(), 10_000_000 * step % tick), (step, 0), "{tick}");
            assert!(version.is_on_step(version.passively(Side::Ask, Price(601)), Quantity(100_000)));
        }
        let mut version = configured();
        version.apply(1, &definition(30_000_000, 100_000));
        assert!(version.is_sayable() && version.price_step() == 3);
    }

    proptest! {
        #[test]
        fn what_is_passive_is_on_a_step_and_never_better_for_the_other_side(
            price in 1..1i64 << 52, multiple in 1..1i64 << 30, lot in 1..1i64 << 40, size in 1..1i64 << 52,
        ) {
            let mut version = configured();
            version.apply(1, &Definition { tick_units: 10_000_000 * multiple, lot_units: lot, ..definition(1, 1) });
            let [bid, ask] = [Side::Bid, Side::Ask].map(|side| version.passively(side, Price(price)));
            prop_assert!(bid.0 <= price && price <= ask.0 && ask.0 - bid.0 <= multiple);
            prop_assert!(version.is_on_step(bid, Quantity(lot)) && version.is_on_step(ask, Quantity(lot)));
            let rounded = version.size_down(size);
            prop_assert!(rounded <= size && version.is_on_step(bid, Quantity(rounded)));
        }
    }
}
