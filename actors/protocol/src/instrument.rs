//! Instruments: what is traded, in which steps.

use crate::fixed::{FixedError, Price, UNIT_DECIMALS, parse_decimal};

/// Largest price in ticks that is taken from a venue.
pub const PRICE_MAX: i64 = 1 << 52;

/// Index of an instrument in the run's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(pub u16);

/// Index of a venue in the run's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VenueId(pub u8);

/// The static facts of an instrument.
///
/// `lot` and minimum bind *our* orders; a level of a venue's book is taken as it is, since venues hold sizes finer
/// than their own lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Index in the configuration.
    pub id: InstrumentId,
    /// Venue it trades on.
    pub venue: VenueId,
    /// The venue's own symbol, upper case.
    pub symbol: String,
    /// Smallest price step in units of 1e-8 of the quote asset.
    pub tick_units: i64,
    /// Smallest size step of our orders in units of 1e-8 of the base asset.
    pub lot_units: i64,
    scale: TickScale,
}

/// A tick written as `step × 10^-decimals`, so that parsing needs a division only where `step` is not 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TickScale {
    decimals: u32,
    step: i64,
}

impl Instrument {
    /// Builds an instrument; `tick_units` and `lot_units` in units of 1e-8, both positive.
    ///
    /// # Errors
    /// [`FixedError::Malformed`] where either step is not positive.
    pub fn new(
        id: InstrumentId,
        venue: VenueId,
        symbol: &str,
        tick_units: i64,
        lot_units: i64,
    ) -> Result<Self, FixedError> {
        if tick_units <= 0 || lot_units <= 0 {
            return Err(FixedError::Malformed);
        }
        let mut scale = TickScale { decimals: UNIT_DECIMALS, step: tick_units };
        while scale.decimals > 0 && scale.step % 10 == 0 {
            scale = TickScale { decimals: scale.decimals - 1, step: scale.step / 10 };
        }
        Ok(Self { id, venue, symbol: symbol.to_owned(), tick_units, lot_units, scale })
    }

    /// Decimals a price of this instrument needs.
    #[must_use]
    pub fn price_decimals(&self) -> u32 {
        self.scale.decimals
    }

    /// Ticks in one unit of `10^-price_decimals`: 1 for the ticks most venues use.
    #[must_use]
    pub fn price_step(&self) -> i64 {
        self.scale.step
    }

    /// Parses a venue's price text into whole ticks.
    ///
    /// # Errors
    /// [`FixedError`], [`FixedError::OffTick`] where the price lies between two ticks.
    #[inline]
    pub fn parse_price(&self, text: &[u8]) -> Result<Price, FixedError> {
        let value = parse_decimal(text, self.scale.decimals)?;
        self.price_from_scaled(value)
    }

    /// True for a price a book can hold: positive, and small enough that sums and windows of prices cannot overflow.
    #[inline]
    #[must_use]
    pub fn is_price(price: Price) -> bool {
        (1..=PRICE_MAX).contains(&price.0)
    }

    /// Turns a count of `10^-price_decimals` into ticks.
    ///
    /// # Errors
    /// [`FixedError::OffTick`] where the price lies between two ticks.
    #[inline]
    pub fn price_from_scaled(&self, value: i64) -> Result<Price, FixedError> {
        if self.scale.step == 1 {
            return Ok(Price(value));
        }
        if value % self.scale.step != 0 {
            return Err(FixedError::OffTick);
        }
        Ok(Price(value / self.scale.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(tick_units: i64) -> Instrument {
        Instrument::new(InstrumentId(0), VenueId(0), "BTCUSDT", tick_units, 1).unwrap()
    }

    #[test]
    fn prices_become_whole_ticks() {
        assert_eq!(instrument(1_000_000).parse_price(b"61837.63000000"), Ok(Price(6_183_763)));
        assert_eq!(instrument(10_000_000).parse_price(b"61800.20"), Ok(Price(618_002)));
        assert_eq!(instrument(50_000_000).parse_price(b"61800.5"), Ok(Price(123_601)));
        assert_eq!(instrument(500_000_000).parse_price(b"61805"), Ok(Price(12_361)));
        assert_eq!(instrument(2_500_000).parse_price(b"0.075"), Ok(Price(3)));
    }

    #[test]
    fn a_price_between_ticks_is_refused() {
        assert_eq!(instrument(50_000_000).parse_price(b"61800.7"), Err(FixedError::OffTick));
        assert_eq!(instrument(10_000_000).parse_price(b"61800.25"), Err(FixedError::TooFine));
        assert!(Instrument::new(InstrumentId(0), VenueId(0), "X", 0, 1).is_err());
    }
}
