//! One market seen on several venues: best prices over all of those that can be believed now, each moved by what that venue's prices
//! usually lie apart.

use kimera_protocol::{Nanos, Quantity};

use crate::top::Top;

/// A price and the size there, in units of 1e-8 of the quote asset: venues have different ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Price, 1e-8 of the quote asset.
    pub price: i64,
    /// Size.
    pub size: Quantity,
}

kimera_protocol::state!(Offer { price, size });

/// What is known of a venue's best prices.
pub type VenueTop = Top<Offer>;

/// A venue's part in the composite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenueConfig {
    /// Subtracted from its prices: the basis of a derivative, for instance. 1e-8 of the quote asset.
    pub offset: i64,
    /// Age from which it is stale.
    pub stale_after: Nanos,
}

/// The composite's best prices, or why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompositeTop {
    /// No venue has both sides now.
    Unknown,
    /// Best prices with the venues that have them.
    Good {
        /// Best bid and its venue.
        bid: (usize, Offer),
        /// Best ask and its venue.
        ask: (usize, Offer),
    },
    /// One venue's bid is at or above another's ask: between venues that is news, not an error.
    Across {
        /// Best bid and its venue.
        bid: (usize, Offer),
        /// Best ask and its venue.
        ask: (usize, Offer),
    },
}

#[derive(Clone, Copy)]
struct Venue {
    config: VenueConfig,
    bid: Option<Offer>,
    ask: Option<Offer>,
    heard: Option<Nanos>,
    is_gapped: bool,
}

kimera_protocol::state!(VenueConfig { offset } fixed { stale_after });
kimera_protocol::state!(Venue { config, bid, ask, heard, is_gapped });

/// Best prices of several venues.
pub struct Composite {
    venues: Box<[Venue]>,
}

kimera_protocol::state!(Composite { venues });

impl Composite {
    /// Of so many venues; nothing is known yet.
    #[must_use]
    pub fn new(venues: &[VenueConfig]) -> Self {
        let venue =
            |&config: &VenueConfig| Venue { config, bid: None, ask: None, heard: None, is_gapped: false };
        Self { venues: venues.iter().map(venue).collect() }
    }

    /// A venue's best prices from now on; none where a side is empty. It mends a gap.
    pub fn quote(&mut self, venue: usize, time: Nanos, bid: Option<Offer>, ask: Option<Offer>) {
        let Some(of) = self.venues.get_mut(venue) else { return };
        let stands = |offer: &Offer| offer.size.0 > 0;
        (of.bid, of.ask) = (bid.filter(stands), ask.filter(stands));
        (of.heard, of.is_gapped) = (Some(time), false);
    }

    /// The venue is alive: what was known still holds.
    pub fn heartbeat(&mut self, venue: usize, time: Nanos) {
        if let Some(of) = self.venues.get_mut(venue) {
            of.heard = of.heard.map(|heard| heard.max(time));
        }
    }

    /// A venue's stream has a gap.
    pub fn gapped(&mut self, venue: usize) {
        if let Some(of) = self.venues.get_mut(venue) {
            of.is_gapped = true;
        }
    }

    /// What a venue's prices usually lie apart, from now on.
    pub fn set_offset(&mut self, venue: usize, offset: i64) {
        if let Some(of) = self.venues.get_mut(venue) {
            of.config.offset = offset;
        }
    }

    /// What is subtracted from a venue's prices.
    #[must_use]
    pub fn offset(&self, venue: usize) -> i64 {
        self.venues.get(venue).map_or(0, |of| of.config.offset)
    }

    /// What is known of a venue, its prices moved by its offset.
    #[must_use]
    pub fn venue(&self, venue: usize, now: Nanos) -> VenueTop {
        let Some(of) = self.venues.get(venue) else { return VenueTop::Gapped };
        let Some(heard) = of.heard.filter(|_| !of.is_gapped) else { return VenueTop::Gapped };
        let by = now.saturating_sub(heard).saturating_sub(of.config.stale_after);
        if by > 0 {
            return VenueTop::Stale { by };
        }
        let moved = |offer: Offer| Offer { price: offer.price.saturating_sub(of.config.offset), ..offer };
        VenueTop::of(of.bid.map(moved), of.ask.map(moved), |bid, ask| bid.price >= ask.price)
    }

    /// How many venues can be believed, and the best bid and ask over them: what [`Composite::top`] says, without who has it.
    #[inline]
    #[must_use]
    pub fn best(&self, now: Nanos) -> (usize, i64, i64) {
        let (mut believed, mut best_bid, mut best_ask) = (0, i64::MIN, i64::MAX);
        for of in &self.venues {
            let (Some(bid), Some(ask), Some(heard)) = (of.bid, of.ask, of.heard) else { continue };
            let is_old = now.saturating_sub(heard) > of.config.stale_after;
            if of.is_gapped || is_old || bid.price >= ask.price {
                continue;
            }
            believed += 1;
            best_bid = best_bid.max(bid.price.saturating_sub(of.config.offset));
            best_ask = best_ask.min(ask.price.saturating_sub(of.config.offset));
        }
        (believed, best_bid, best_ask)
    }

    /// The best prices of all venues that have both sides, apart from one another, and are not stale. Of equal prices the larger
    /// size counts, then the earlier venue.
    #[must_use]
    pub fn top(&self, now: Nanos) -> CompositeTop {
        let mut best_bid: Option<(usize, Offer)> = None;
        let mut best_ask: Option<(usize, Offer)> = None;
        for venue in 0..self.venues.len() {
            let VenueTop::Good { bid, ask } = self.venue(venue, now) else { continue };
            let is_better = |price: i64, size: Quantity, known: Option<(usize, Offer)>, sign: i64| {
                known.is_none_or(|(_, best)| (sign * price, size) > (sign * best.price, best.size))
            };
            if is_better(bid.price, bid.size, best_bid, 1) {
                best_bid = Some((venue, bid));
            }
            if is_better(ask.price, ask.size, best_ask, -1) {
                best_ask = Some((venue, ask));
            }
        }
        match best_bid.zip(best_ask) {
            None => CompositeTop::Unknown,
            Some((bid, ask)) if bid.1.price >= ask.1.price => CompositeTop::Across { bid, ask },
            Some((bid, ask)) => CompositeTop::Good { bid, ask },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Side;
    use proptest::prelude::*;

    const SECOND: Nanos = 1_000_000_000;

    fn offer(price: i64, size: i64) -> Option<Offer> {
        Some(Offer { price, size: Quantity(size) })
    }

    fn two() -> Composite {
        let config = |offset| VenueConfig { offset, stale_after: SECOND };
        Composite::new(&[config(0), config(50)])
    }

    #[test]
    fn each_state_of_a_venue_has_its_name() {
        let mut of = two();
        assert_eq!(
            (of.venue(0, 0), of.venue(7, 0), of.top(0)),
            (VenueTop::Gapped, VenueTop::Gapped, CompositeTop::Unknown)
        );
        of.heartbeat(0, 5);
        assert_eq!(of.venue(0, 5), VenueTop::Gapped, "a heartbeat is no price");
        of.quote(0, 0, offer(100, 1), None);
        assert!(matches!(of.venue(0, 0), VenueTop::OneSided(Side::Bid, _)));
        of.quote(0, 0, offer(100, 1), offer(101, 0));
        assert!(matches!(of.venue(0, 0), VenueTop::OneSided(Side::Bid, _)), "a size of nothing is no offer");
        of.quote(0, 0, offer(101, 1), offer(101, 1));
        assert!(matches!(of.venue(0, 0), VenueTop::Crossed { .. }) && of.top(0) == CompositeTop::Unknown);
        of.quote(0, 0, offer(100, 1), offer(101, 1));
        assert!(matches!(of.venue(0, SECOND), VenueTop::Good { .. }));
        assert_eq!(of.venue(0, SECOND + 1), VenueTop::Stale { by: 1 });
        of.heartbeat(0, SECOND);
        assert!(matches!(of.venue(0, SECOND + 1), VenueTop::Good { .. }), "it is alive");
        of.gapped(0);
        assert_eq!(of.venue(0, SECOND), VenueTop::Gapped);
        of.quote(0, SECOND, None, None);
        assert_eq!(of.venue(0, SECOND), VenueTop::Empty);
    }

    #[test]
    fn offsets_staleness_and_prices_across_venues() {
        let mut of = two();
        of.quote(0, 0, offer(100, 1), offer(104, 1));
        of.quote(1, 0, offer(151, 2), offer(155, 2));
        let CompositeTop::Good { bid, ask } = of.top(0) else { panic!("{:?}", of.top(0)) };
        assert_eq!((bid.0, bid.1.price, ask.0, ask.1.price), (1, 101, 0, 104), "151 less 50 is 101");
        of.set_offset(1, 46);
        assert!(matches!(of.top(0), CompositeTop::Across { bid: (1, _), ask: (0, _) }));
        of.heartbeat(0, SECOND);
        assert!(
            matches!(of.top(SECOND + 1), CompositeTop::Good { bid: (0, _), ask: (0, _) }),
            "the other one is stale"
        );
    }

    proptest! {
        /// As a sort over all that can be believed would have it.
        #[test]
        fn agrees_with_the_plainest_way(
            venues in proptest::collection::vec((-5i64..5, 90i64..110, 1i64..4, 1i64..12, 1i64..4, 0i64..3), 1..6)
        ) {
            let configs: Vec<_> = venues.iter().map(|v| VenueConfig { offset: v.0, stale_after: SECOND }).collect();
            let mut of = Composite::new(&configs);
            for (i, &(_, price, bid, spread, ask, age)) in venues.iter().enumerate() {
                of.quote(i, (2 - age) * SECOND, offer(price, bid), offer(price + spread, ask));
            }
            let alive = || venues.iter().enumerate().filter(|(_, v)| v.5 <= 1);
            let bid = alive().max_by_key(|(i, v)| (v.1 - v.0, v.2, -(*i as i64))).map(|(i, v)| (i, v.1 - v.0));
            let ask = alive().min_by_key(|(i, v)| (v.1 + v.3 - v.0, -v.4, *i)).map(|(i, v)| (i, v.1 + v.3 - v.0));
            let expected = bid.zip(ask);
            let found = match of.top(2 * SECOND) {
                CompositeTop::Unknown => None,
                CompositeTop::Good { bid, ask } | CompositeTop::Across { bid, ask } => {
                    Some(((bid.0, bid.1.price), (ask.0, ask.1.price)))
                }
            };
            prop_assert_eq!(found, expected);
            let (believed, bid, ask) = of.best(2 * SECOND);
            prop_assert_eq!(believed, alive().count());
            prop_assert_eq!((believed > 0).then_some((bid, ask)), expected.map(|(bid, ask)| (bid.1, ask.1)));
        }
    }
}
