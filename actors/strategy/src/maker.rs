//! A post-only maker's quotes around a fair value.

use kimera_protocol::{Level, Price};

use crate::glft::Distances;

/// What the maker may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MakerConfig {
    /// The maker's fee as a share of the price: a quote stands at least this far away, and further by the distance.
    pub maker_fee: f64,
    /// Inventory, in quote sizes, at which the side that would add to it stops.
    pub inventory_max: f64,
    /// How far the fair value follows a signal in [-1, 1], as a share of the distance between the quotes: 0 to 1.
    pub lean: f64,
}

/// Prices in ticks; a side without one is not quoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MakerQuotes {
    /// To buy at.
    pub bid: Option<Price>,
    /// To sell at.
    pub ask: Option<Price>,
}

/// Prices beyond this many ticks are no prices.
const TICKS_MAX: f64 = 4.5e15;

/// Quotes around `fair` (ticks), leaning on `signal`, rounded outward and kept behind the best prices of the other side,
/// so that neither takes. `widen` is the factor of each side's distance from there, never less than 1. A value that is not finite, or a missing
/// best price, gives no quote on that side.
#[must_use]
pub fn quotes(
    config: &MakerConfig,
    fair: f64,
    distances: Distances,
    widen: Distances,
    signal: f64,
    inventory: f64,
    (best_bid, best_ask): (Option<Level>, Option<Level>),
) -> MakerQuotes {
    let signal = if signal.is_finite() { signal.clamp(-1.0, 1.0) } else { 0.0 };
    let half = ((distances.bid + distances.ask) / 2.0).max(0.0);
    let centre = fair + config.lean.clamp(0.0, 1.0) * signal * half;
    let floor = config.maker_fee.max(0.0) * fair;
    // A side whose distance has gone through zero would take: it waits at the fee's distance instead.
    let bid = centre - widen.bid.max(1.0) * (floor + distances.bid.max(0.0));
    let ask = centre + widen.ask.max(1.0) * (floor + distances.ask.max(0.0));
    let adds = |side: f64| inventory * side >= config.inventory_max;
    MakerQuotes {
        bid: best_ask.filter(|_| !adds(1.0)).and_then(|a| tick(bid.floor())?.checked_min(a.price.0 - 1)),
        ask: best_bid.filter(|_| !adds(-1.0)).and_then(|b| tick(ask.ceil())?.checked_max(b.price.0 + 1)),
    }
}

/// A tick count, where it is one.
fn tick(value: f64) -> Option<Tick> {
    (value.is_finite() && (1.0..=TICKS_MAX).contains(&value)).then_some(Tick(value as i64))
}

struct Tick(i64);

impl Tick {
    fn checked_min(self, bound: i64) -> Option<Price> {
        Some(Price(self.0.min(bound))).filter(|p| p.0 > 0)
    }

    fn checked_max(self, bound: i64) -> Option<Price> {
        Some(Price(self.0.max(bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Quantity;
    use proptest::prelude::*;

    const CONFIG: MakerConfig = MakerConfig { maker_fee: 0.0002, inventory_max: 3.0, lean: 0.5 };

    const ONCE: Distances = Distances { bid: 1.0, ask: 1.0 };

    fn best(price: i64) -> Option<Level> {
        Some(Level { price: Price(price), size: Quantity(1) })
    }

    fn at(inventory: f64, signal: f64) -> MakerQuotes {
        quotes(
            &CONFIG,
            500_000.0,
            Distances { bid: 20.5, ask: 20.5 },
            ONCE,
            signal,
            inventory,
            (best(499_999), best(500_001)),
        )
    }

    #[test]
    fn quotes_stand_behind_fee_and_distance_rounded_outward() {
        // The fee is 100 ticks of 500,000.
        assert_eq!(at(0.0, 0.0), MakerQuotes { bid: Some(Price(499_879)), ask: Some(Price(500_121)) });
        // A full signal moves the centre by half of 20.5.
        assert_eq!(at(0.0, 1.0), MakerQuotes { bid: Some(Price(499_889)), ask: Some(Price(500_131)) });
    }

    #[test]
    fn a_side_that_is_widened_stands_further_away() {
        let widen = Distances { bid: 2.0, ask: 0.1 };
        let distances = Distances { bid: 20.5, ask: 20.5 };
        let q = quotes(&CONFIG, 500_000.0, distances, widen, 0.0, 0.0, (best(499_999), best(500_001)));
        assert_eq!(q, MakerQuotes { bid: Some(Price(499_759)), ask: Some(Price(500_121)) }, "never nearer");
        let nothing = Distances { bid: f64::NAN, ask: 1.0 };
        let q = quotes(&CONFIG, 500_000.0, distances, nothing, 0.0, 0.0, (best(499_999), best(500_001)));
        assert_eq!(q.bid, Some(Price(499_879)));
    }

    #[test]
    fn the_side_that_would_add_to_a_full_inventory_stops() {
        assert!(at(2.9, 0.0).bid.is_some());
        assert_eq!((at(3.0, 0.0).bid, at(-3.0, 0.0).ask), (None, None));
        assert!(at(3.0, 0.0).ask.is_some() && at(-3.0, 0.0).bid.is_some());
    }

    #[test]
    fn what_is_not_a_number_is_not_a_quote() {
        let d = Distances { bid: 20.5, ask: 20.5 };
        assert_eq!(quotes(&CONFIG, f64::NAN, d, ONCE, 0.0, 0.0, (best(1), best(2))), MakerQuotes::default());
        assert_eq!(quotes(&CONFIG, 1e300, d, ONCE, 0.0, 0.0, (best(1), best(2))), MakerQuotes::default());
        assert_eq!(quotes(&CONFIG, 500_000.0, d, ONCE, 0.0, 0.0, (None, None)), MakerQuotes::default());
        assert_eq!(at(0.0, f64::INFINITY), at(0.0, 0.0));
    }

    proptest! {
        /// Neither quote ever takes, and never less than the fee is earned between them.
        #[test]
        fn quotes_never_take_and_pay_their_fees(
            fair in 1_000.0f64..1e7, bid in -50.0f64..500.0, ask in -50.0f64..500.0, signal in -2.0f64..2.0,
            inventory in -5.0f64..5.0, below in 0i64..100, above in 1i64..100,
        ) {
            let (b, a) = (fair as i64 - below, fair as i64 + above);
            let q = quotes(&CONFIG, fair, Distances { bid, ask }, ONCE, signal, inventory, (best(b), best(a)));
            prop_assert!(q.bid.is_none_or(|p| p.0 < a) && q.ask.is_none_or(|p| p.0 > b));
            if let (Some(bid), Some(ask)) = (q.bid, q.ask) {
                prop_assert!((ask.0 - bid.0) as f64 >= 2.0 * CONFIG.maker_fee * fair);
            }
        }
    }
}
