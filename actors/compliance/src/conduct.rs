//! Our own conduct as a supervisor of the market would look at it: large orders and layers that go behind fills on the other side. What is suspected
//! is said, and for a while nothing is sent that could make a position larger. It measures; intent is for people.

use kimera_numerics::RankedWindow;
use kimera_protocol::{
    Alert, Detector, Nanos, NewOrder, OrderEvent, OrderId, OrderUpdate, Phase, Price, Quantity, Quote, Seq,
    Severity, Side,
};

use crate::surveillance::{Sent, Surveillance, SurveillanceConfig};

/// Score beyond which cancellations behind fills are an alarm: a probability below 1e-4 (model book 2.5).
pub const SPOOFING_LIMIT: f64 = 0.9999;
/// Sizes of best prices that the median of a level is taken of, and the time between two.
const SIZES: (usize, Nanos) = (255, 1_000_000_000);

/// How our own conduct is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConductConfig {
    /// What counts as large, as soon, as unfilled.
    pub surveillance: SurveillanceConfig,
    /// For so long behind an alarm nothing is sent but what makes a position smaller; 0: it is only said.
    pub hold: Nanos,
}

impl Default for ConductConfig {
    /// A minute.
    fn default() -> Self {
        Self { surveillance: SurveillanceConfig::default(), hold: 60_000_000_000 }
    }
}

#[derive(Clone, Debug)]
struct Watched {
    surveillance: Surveillance,
    sizes: RankedWindow,
    next_size: Nanos,
    /// Best prices: of bids, of asks.
    best: [Price; 2],
}

kimera_protocol::state!(Watched { surveillance, sizes, next_size, best });

/// One owner's conduct on every instrument.
#[derive(Clone, Debug)]
pub struct Conduct {
    config: ConductConfig,
    instruments: Box<[Watched]>,
    held_until: Nanos,
}

kimera_protocol::state!(Conduct { instruments, held_until } fixed { config });

impl Conduct {
    /// Nothing sent yet, on so many instruments.
    #[must_use]
    pub fn new(config: ConductConfig, instruments: usize) -> Self {
        let watched = || Watched {
            surveillance: Surveillance::new(config.surveillance),
            sizes: RankedWindow::new(SIZES.0),
            next_size: Nanos::MIN,
            best: [Price(0); 2],
        };
        Self { config, instruments: (0..instruments).map(|_| watched()).collect(), held_until: Nanos::MIN }
    }

    /// True while nothing is to be sent that could make a position larger.
    #[must_use]
    pub fn is_held(&self, now: Nanos) -> bool {
        now < self.held_until
    }

    /// Best prices: how large levels are, and where they are.
    #[inline]
    pub fn quoted(&mut self, quote: &Quote, instrument: u16, now: Nanos) {
        let Some(of) = self.instruments.get_mut(usize::from(instrument)) else { return };
        of.best = [quote.bid.price, quote.ask.price];
        if now >= of.next_size && quote.usable != 0 {
            of.next_size = now.saturating_add(SIZES.1);
            of.sizes.push(quote.bid.size.0.midpoint(quote.ask.size.0) as f64);
        }
    }

    /// An order leaves.
    pub fn sent(&mut self, order: &NewOrder, instrument: u16, now: Nanos) {
        let Some(of) = self.instruments.get_mut(usize::from(instrument)) else { return };
        let is_bid = order.side == Side::Bid as u8;
        let [bid, ask] = of.best;
        let median = of.sizes.median().unwrap_or(0.0);
        of.surveillance.sent(Sent {
            time: now,
            id: order.id,
            side: if is_bid { Side::Bid } else { Side::Ask },
            price: order.price,
            size: order.quantity,
            median_size: Quantity(median as i64),
            ticks: if is_bid {
                bid.0.saturating_sub(order.price.0)
            } else {
                order.price.0.saturating_sub(ask.0)
            },
        });
    }

    /// We ask for an order back.
    pub fn asked_back(&mut self, id: OrderId, instrument: u16, now: Nanos) {
        if let Some(of) = self.instruments.get_mut(usize::from(instrument)) {
            of.surveillance.asked_back(now, id);
        }
    }

    /// A report about an order; `books_fill` where it tells a fill for the first time. What is suspected now, if anything: of large orders, of layers.
    pub fn reported(
        &mut self,
        update: &OrderUpdate,
        books_fill: bool,
        (instrument, seq, now): (u16, Seq, Nanos),
    ) -> [Option<Alert>; 2] {
        let Some(of) = self.instruments.get_mut(usize::from(instrument)) else { return [None; 2] };
        let of = &mut of.surveillance;
        if books_fill {
            of.filled(now, update.id, update.quantity);
            return [None; 2];
        }
        match OrderEvent::from_code(update.event) {
            Some(OrderEvent::Canceled) => {}
            Some(OrderEvent::Rejected | OrderEvent::Expired | OrderEvent::Unsent | OrderEvent::NotFound) => {
                of.dropped(update.id);
                return [None; 2];
            }
            _ => return [None; 2],
        }
        let taken = of.cancelled(update.id);
        let alert = |detector: Detector, score: f64, limit: f64| Alert {
            detector: detector as u64,
            severity: Severity::Severe as u64,
            phase: Phase::Seen as u64,
            begin: taken.begun,
            end: now,
            first: update.id.seq,
            last: seq,
            score,
            limit,
            reserved: [0; 3],
        };
        let score = if taken.is_spoof_like { of.spoof_score().value } else { 0.0 };
        let spoofing = (score > SPOOFING_LIMIT).then(|| alert(Detector::Spoofing, score, SPOOFING_LIMIT));
        let layer = self.config.surveillance.layer_prices as f64;
        let layering = taken.is_layer.then(|| alert(Detector::Layering, layer, layer));
        if spoofing.is_some() {
            of.told();
        }
        if spoofing.is_some() || layering.is_some() {
            self.held_until = now.saturating_add(self.config.hold).max(self.held_until);
        }
        [spoofing, layering]
    }

    /// A word that tells two states apart that differ in what is found later.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let of = |digest: u64, word: u64| (digest.rotate_left(17) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let watched = self.instruments.iter().fold(0, |d, w| {
            let [bid, ask] = w.best;
            let words = [
                w.surveillance.digest(),
                bid.0 as u64,
                ask.0 as u64,
                w.sizes.median().unwrap_or_default().to_bits(),
                w.next_size as u64,
            ];
            words.into_iter().fold(d, of)
        });
        of(watched, self.held_until as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Level;

    const MS: Nanos = 1_000_000;
    const SECOND: Nanos = 1_000 * MS;

    struct Rig {
        conduct: Conduct,
        now: Nanos,
        next: u64,
    }

    impl Rig {
        fn new(config: ConductConfig) -> Self {
            let mut rig = Self { conduct: Conduct::new(config, 2), now: 0, next: 0 };
            let level = |price| Level { price: Price(price), size: Quantity(10) };
            for _ in 0..5 {
                rig.now += SECOND;
                let quote = Quote { bid: level(100), ask: level(102), usable: 1, ..Quote::default() };
                rig.conduct.quoted(&quote, 1, rig.now);
            }
            rig
        }

        fn send(&mut self, side: Side, price: i64, size: i64) -> OrderId {
            self.next += 1;
            let id = OrderId { seq: self.next, incarnation: 1, child: 0 };
            let (price, quantity) = (Price(price), Quantity(size));
            let order = NewOrder { id, price, quantity, side: side as u8, ..NewOrder::default() };
            self.conduct.sent(&order, 1, self.now);
            id
        }

        fn report(&mut self, id: OrderId, event: OrderEvent, quantity: i64) -> Vec<Detector> {
            let update = OrderUpdate {
                id,
                event: event as u8,
                quantity: Quantity(quantity),
                ..OrderUpdate::default()
            };
            let alerts = self.conduct.reported(&update, event.is_fill(), (1, 9, self.now));
            alerts.into_iter().flatten().filter_map(|a| Detector::from_code(a.detector)).collect()
        }

        fn take_back(&mut self, id: OrderId) -> Vec<Detector> {
            self.conduct.asked_back(id, 1, self.now);
            self.report(id, OrderEvent::Canceled, 0)
        }

        /// A large bid that goes behind the fill of a small ask.
        fn spoof(&mut self) -> Vec<Detector> {
            self.now += 10 * SECOND;
            let (bid, ask) = (self.send(Side::Bid, 99, 60), self.send(Side::Ask, 102, 5));
            self.now += 500 * MS;
            assert!(self.report(ask, OrderEvent::Filled, 5).is_empty());
            self.now += 100 * MS;
            self.take_back(bid)
        }
    }

    #[test]
    fn spoofing_is_said_and_holds_for_a_while_and_takes_others_to_be_said_again() {
        let mut rig = Rig::new(ConductConfig::default());
        let found: Vec<_> = (0..12).map(|_| rig.spoof()).collect();
        let said: Vec<_> = (0..12).filter(|i| !found[*i].is_empty()).collect();
        // 0.3^k below 1e-4: with the eighth of eight.
        assert_eq!((said, &found[7]), (vec![7], &vec![Detector::Spoofing]), "{found:?}");
        assert!(rig.conduct.is_held(rig.now) && !rig.conduct.is_held(rig.now + 60 * SECOND));
    }

    #[test]
    fn a_layer_is_said() {
        let mut rig = Rig::new(ConductConfig { hold: 0, ..ConductConfig::default() });
        let bids: Vec<_> = [100, 99, 98].map(|price| rig.send(Side::Bid, price, 20)).into();
        let ask = rig.send(Side::Ask, 102, 5);
        rig.report(ask, OrderEvent::Filled, 5);
        rig.now += 100 * MS;
        let said: Vec<_> = bids.into_iter().flat_map(|id| rig.take_back(id)).collect();
        assert_eq!((said, rig.conduct.is_held(rig.now)), (vec![Detector::Layering], false));
    }

    /// What nobody has asked for, what was asked for before the fill, what is far from the market, and what is not large, is nothing.
    #[test]
    fn what_is_none() {
        type Ends = fn(&mut Rig, OrderId) -> Vec<Detector>;
        let asked: Ends = |rig, id| rig.take_back(id);
        for (price, size, end) in [
            (99, 49, asked),
            (94, 60, asked),
            (99, 60, |rig, id| rig.report(id, OrderEvent::Canceled, 0)),
            (99, 60, |rig, id| rig.report(id, OrderEvent::Rejected, 0)),
            (99, 60, |rig, id| rig.report(id, OrderEvent::Expired, 0)),
        ] {
            let mut rig = Rig::new(ConductConfig::default());
            for _ in 0..40 {
                rig.now += 10 * SECOND;
                let (bid, ask) = (rig.send(Side::Bid, price, size), rig.send(Side::Ask, 102, 5));
                rig.report(ask, OrderEvent::Filled, 5);
                assert!(end(&mut rig, bid).is_empty(), "{price} {size}");
            }
        }
        // Asked for when the price moved; the other side was hit on the way.
        let mut rig = Rig::new(ConductConfig::default());
        for _ in 0..40 {
            rig.now += 10 * SECOND;
            let (bid, ask) = (rig.send(Side::Bid, 99, 60), rig.send(Side::Ask, 102, 60));
            rig.now += 500 * MS;
            rig.conduct.asked_back(bid, 1, rig.now);
            rig.now += MS;
            rig.report(ask, OrderEvent::Filled, 60);
            assert!(rig.report(bid, OrderEvent::Canceled, 0).is_empty());
        }
        // Nobody knows what is large before there is a book.
        let mut blind = Rig { conduct: Conduct::new(ConductConfig::default(), 2), now: 0, next: 0 };
        assert!((0..40).all(|_| blind.spoof().is_empty()));
    }

    /// Large quotes on both sides that go with the price every second, and where one is hit the other is put elsewhere at once: no more often than
    /// without a fill. Three bids one behind the other are no layer.
    #[test]
    fn a_large_maker_is_none() {
        // Against this rate alone it would be one.
        let surveillance = SurveillanceConfig { base_rate: 0.1, ..SurveillanceConfig::default() };
        let mut rig = Rig::new(ConductConfig { surveillance, ..ConductConfig::default() });
        for round in 0..400 {
            let (bid, ask) = (rig.send(Side::Bid, 100 - round % 3, 60), rig.send(Side::Ask, 102, 60));
            rig.now += 300 * MS;
            if round % 2 == 0 {
                rig.report(ask, OrderEvent::Filled, 60);
            } else {
                assert!(rig.take_back(ask).is_empty());
            }
            rig.now += MS;
            assert!(rig.take_back(bid).is_empty(), "round {round}");
        }
        assert!(!rig.conduct.is_held(rig.now));
    }
}
