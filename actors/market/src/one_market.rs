//! Instruments that are one market, as the line sees them: their composite, with the basis of each against the first learned on the way.

use kimera_numerics::DecayedMean;
use kimera_protocol::{Level, Nanos, Quantity};

use crate::composite::{Composite, CompositeTop, Offer, VenueConfig};
use crate::top::Top;

/// Between two looks at the basis.
const LOOK: Nanos = 100_000_000;

/// Which instruments are one market.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneMarketConfig {
    /// Market of each instrument, by its number: those of one number are one.
    pub markets: Box<[u16]>,
    /// Tick of each instrument, in 1e-8 of the quote asset.
    pub ticks: Box<[i64]>,
    /// Half-life of the basis between two of them.
    pub basis_half_life: Nanos,
    /// Age from which a venue's best prices are left out.
    pub stale_after: Nanos,
}

/// An instrument's place: its market, its number there, its tick.
#[derive(Clone, Copy)]
struct Place {
    market: usize,
    venue: usize,
    tick: i64,
}

struct Group {
    composite: Composite,
    /// Of each venue against the first.
    basis: Box<[DecayedMean]>,
    /// The mid of each, and when it was said; 0 where there is none.
    mids: Box<[(f64, Nanos)]>,
    looked: Nanos,
    stale_after: Nanos,
}

kimera_protocol::state!(Group { composite, basis, mids, looked } fixed { stale_after });

/// Every market that is on several venues.
pub struct OneMarkets {
    /// None for an instrument that is a market of its own.
    places: Box<[Option<Place>]>,
    groups: Box<[Group]>,
}

kimera_protocol::state!(OneMarkets { groups } fixed { places });

impl OneMarkets {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(config: &OneMarketConfig) -> Self {
        let size = |market: u16| config.markets.iter().filter(|m| **m == market).count();
        let mut numbers: Vec<u16> = config.markets.iter().copied().filter(|m| size(*m) > 1).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let place = |(i, market): (usize, &u16)| {
            Some(Place {
                market: numbers.iter().position(|n| n == market)?,
                venue: config.markets[..i].iter().filter(|m| *m == market).count(),
                tick: config.ticks.get(i).copied().unwrap_or(1),
            })
        };
        let group = |market: &u16| {
            let venues = size(*market);
            let venue = VenueConfig { offset: 0, stale_after: config.stale_after };
            Group {
                composite: Composite::new(&vec![venue; venues]),
                basis: (0..venues).map(|_| DecayedMean::new(config.basis_half_life)).collect(),
                mids: vec![(0.0, 0); venues].into(),
                looked: Nanos::MIN,
                stale_after: config.stale_after,
            }
        };
        Self {
            places: config.markets.iter().enumerate().map(place).collect(),
            groups: numbers.iter().map(group).collect(),
        }
    }

    fn of(&mut self, instrument: usize) -> Option<(Place, &mut Group)> {
        let place = self.places.get(instrument).copied().flatten()?;
        Some((place, self.groups.get_mut(place.market)?))
    }

    /// An instrument's stream has a hole.
    pub fn gapped(&mut self, instrument: usize) {
        if let Some((place, group)) = self.of(instrument) {
            group.lost(place.venue);
        }
    }

    /// Nothing that was known is believed any more, but what prices usually lie apart.
    pub fn forget(&mut self) {
        for group in &mut self.groups {
            (0..group.mids.len()).for_each(|venue| group.lost(venue));
        }
    }

    /// An instrument's best prices at a mark. Best bid and ask of its whole market in its own prices, 1e-8 of the quote asset; nothing where it is on one
    /// venue only, or where fewer than two can be believed.
    #[inline]
    pub fn marked(&mut self, instrument: usize, top: &Top, now: Nanos) -> (i64, i64) {
        let Some((place, group)) = self.of(instrument) else { return (0, 0) };
        let offer = |level: Level| Offer {
            price: level.price.0.saturating_mul(place.tick),
            size: Quantity(level.size.0),
        };
        match *top {
            Top::Good { bid, ask } => {
                let (bid, ask) = (offer(bid), offer(ask));
                group.mids[place.venue] = (0.5 * (bid.price as f64 + ask.price as f64), now);
                if now.saturating_sub(group.looked) >= LOOK || !group.is_placed(place.venue) {
                    group.look(now);
                }
                // Where nobody knows how far it lies from the others, its prices are none of theirs.
                if group.is_placed(place.venue) {
                    group.composite.quote(place.venue, now, Some(bid), Some(ask));
                }
            }
            _ => group.lost(place.venue),
        }
        group.best(place.venue, now)
    }

    /// The composite of an instrument's market, with the number of each venue's instrument, in the instrument's own prices.
    #[must_use]
    pub fn top(&self, instrument: usize, now: Nanos) -> Option<(CompositeTop, Vec<usize>)> {
        let place = self.places.get(instrument).copied().flatten()?;
        let group = self.groups.get(place.market)?;
        let is_there = |p: &Option<Place>| p.is_some_and(|p| p.market == place.market);
        let instruments = self.places.iter().enumerate().filter(|(_, p)| is_there(p)).map(|(i, _)| i);
        let own = group.composite.offset(place.venue);
        let moved = |(venue, offer): (usize, Offer)| {
            (venue, Offer { price: offer.price.saturating_add(own), ..offer })
        };
        let top = match group.composite.top(now) {
            CompositeTop::Good { bid, ask } => CompositeTop::Good { bid: moved(bid), ask: moved(ask) },
            CompositeTop::Across { bid, ask } => CompositeTop::Across { bid: moved(bid), ask: moved(ask) },
            CompositeTop::Unknown => CompositeTop::Unknown,
        };
        Some((top, instruments.collect()))
    }

    /// A word that tells two states apart that differ in what is said of them.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.groups.iter().fold(0, |digest: u64, group| {
            let of = |d: u64, word: u64| (d.rotate_left(9) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let venue = |d: u64, venue: usize| {
                let (mid, time) = group.mids[venue];
                let basis = group.basis[venue].get().unwrap_or_default();
                [mid.to_bits(), time as u64, basis.to_bits()].into_iter().fold(d, of)
            };
            (0..group.mids.len()).fold(of(digest, group.looked as u64), venue)
        })
    }
}

impl Group {
    fn lost(&mut self, venue: usize) {
        self.composite.gapped(venue);
        self.mids[venue] = (0.0, 0);
    }

    /// True where it is known how far its prices lie from the first one's.
    fn is_placed(&self, venue: usize) -> bool {
        venue == 0 || self.basis[venue].get().is_some()
    }

    /// How far each lies from the first, where both have said something lately.
    fn look(&mut self, now: Nanos) {
        self.looked = now;
        let mid = |(mid, time): (f64, Nanos)| {
            Some(mid).filter(|mid| *mid > 0.0 && now.saturating_sub(time) <= self.stale_after)
        };
        let Some(first) = mid(self.mids[0]) else { return };
        for venue in 1..self.mids.len() {
            if let Some(own) = mid(self.mids[venue]) {
                self.basis[venue].add(own - first, now);
                let offset = self.basis[venue].get().unwrap_or(0.0);
                self.composite.set_offset(venue, offset as i64);
            }
        }
    }

    #[inline]
    fn best(&self, venue: usize, now: Nanos) -> (i64, i64) {
        let (believed, bid, ask) = self.composite.best(now);
        if believed < 2 {
            return (0, 0);
        }
        let own = self.composite.offset(venue);
        (bid.saturating_add(own), ask.saturating_add(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Price;

    const SECOND: Nanos = 1_000_000_000;

    fn config() -> OneMarketConfig {
        OneMarketConfig {
            markets: Box::new([3, 8, 3]),
            ticks: Box::new([10, 1, 100]),
            basis_half_life: SECOND,
            stale_after: SECOND,
        }
    }

    fn book(bid: i64, ask: i64) -> Top {
        let level = |price| Level { price: Price(price), size: Quantity(5) };
        Top::Good { bid: level(bid), ask: level(ask) }
    }

    #[test]
    fn best_prices_of_one_market_in_the_prices_of_each() {
        let mut of = OneMarkets::new(&config());
        assert_eq!(of.marked(0, &book(1_000, 1_001), 1), (0, 0), "the other one is not known");
        assert_eq!(of.marked(1, &book(7, 9), 2), (0, 0), "a market of its own");
        // 50 above the first, and narrower on its ask's side.
        for i in 0..200 {
            let now = i * SECOND / 10;
            of.marked(0, &book(1_000, 1_020), now);
            of.marked(2, &book(101, 102), now);
        }
        let now = 20 * SECOND;
        // Mids 10,100 and 10,150: offset 50.
        assert_eq!(of.marked(0, &book(1_000, 1_020), now), (10_050, 10_150), "10,100 and 10,200 less 50");
        assert_eq!(of.marked(2, &book(101, 102), now), (10_100, 10_200));
        let (top, instruments) = of.top(0, now).unwrap();
        assert!(matches!(top, CompositeTop::Good { bid: (1, _), ask: (1, _) }), "{top:?}");
        assert_eq!((instruments, of.top(1, now)), (vec![0, 2], None));
        let digest = of.digest();
        of.gapped(2);
        assert_eq!(of.marked(0, &book(1_000, 1_020), now), (0, 0), "one venue alone is no composite");
        assert_ne!(of.digest(), digest);
        of.marked(2, &book(101, 102), now);
        assert_eq!(of.marked(0, &book(1_000, 1_020), now + 2 * SECOND), (0, 0), "the other one is stale");
        of.forget();
        assert!(matches!(of.top(0, now), Some((CompositeTop::Unknown, _))));
    }

    /// A venue that says nothing is not what the others are measured by, and one that was never measured is not among them.
    #[test]
    fn what_is_silent_or_unknown_places_nobody() {
        let mut of = OneMarkets::new(&config());
        let mut now = 0;
        for _ in 0..200 {
            now += SECOND / 10;
            of.marked(0, &book(1_000, 1_020), now);
            of.marked(2, &book(101, 102), now);
        }
        for _ in 0..50 {
            now += 2 * SECOND;
            of.marked(0, &book(2_000, 2_020), now);
        }
        let there = of.groups[0].composite.offset(1);
        assert!((49..=50).contains(&there), "100 s of silence and a leap have not moved it: {there}");
        let three = OneMarketConfig { markets: Box::new([0, 0, 0]), ticks: Box::new([1, 1, 1]), ..config() };
        let mut of = OneMarkets::new(&three);
        for _ in 0..50 {
            now += SECOND / 10;
            assert_eq!(of.marked(1, &book(1_000, 1_002), now), (0, 0), "the first one was never there");
            assert_eq!(of.marked(2, &book(1_500, 1_502), now), (0, 0));
        }
        of.marked(0, &book(990, 992), now);
        of.marked(1, &book(1_000, 1_002), now);
        let (bid, ask) = of.marked(2, &book(1_500, 1_502), now);
        assert_eq!((bid, ask), (1_500, 1_502), "each placed by the first");
    }
}
