//! One actor's orders, made from a seed: large ones that go behind fills on the other side, layers of them, and the quotes of
//! somebody who makes a market.

use kimera_protocol::{Nanos, OrderId, Price, Quantity, Side};

use kimera_cep::rates::Outcome;
use kimera_cep::rates::tape::Random;
use kimera_cep::watch::SECOND;
use kimera_compliance::conduct::SPOOFING_LIMIT;
use kimera_compliance::surveillance::{Sent, Surveillance, SurveillanceConfig, Taken};

const MS: Nanos = SECOND / 1_000;

fn number(seq: u64) -> OrderId {
    OrderId { seq, incarnation: 1, child: 0 }
}

fn order(id: u64, time: Nanos, side: Side, price: i64, size: i64) -> Sent {
    let (price, size) = (Price(price), Quantity(size));
    Sent { time, id: number(id), side, price, size, median_size: Quantity(10), ticks: 1 }
}

/// Asks for an order back, and gets it.
fn take_back(of: &mut Surveillance, time: Nanos, id: OrderId) -> Taken {
    of.asked_back(time, id);
    of.cancelled(id)
}

/// Twenty large bids; a share of them goes a moment behind a fill of a small ask, the others when they are old. When it was noticed.
fn large_bids(random: &mut Random, behind_fills: f64) -> Option<Nanos> {
    let mut of = Surveillance::new(SurveillanceConfig::default());
    for n in 0..20u64 {
        let at = n as i64 * 10 * SECOND;
        of.sent(order(2 * n, at, Side::Bid, 100, 60));
        of.sent(order(2 * n + 1, at, Side::Ask, 102, 5));
        let gone = if random.uniform() < behind_fills {
            let fill = at + (100.0 + 800.0 * random.uniform()) as i64 * MS;
            of.filled(fill, number(2 * n + 1), Quantity(5));
            fill + (10.0 + 500.0 * random.uniform()) as i64 * MS
        } else {
            take_back(&mut of, at + 4 * SECOND, number(2 * n + 1));
            at + 4 * SECOND
        };
        take_back(&mut of, gone, number(2 * n));
        if of.spoof_score().value > SPOOFING_LIMIT {
            return Some(gone);
        }
    }
    None
}

/// A layer of so many bids, taken back behind a fill of an ask, so far apart. When it was noticed, from the fill on.
fn layer(random: &mut Random, prices: u64, apart: Nanos) -> Option<Nanos> {
    let mut of = Surveillance::new(SurveillanceConfig::default());
    (0..prices).for_each(|i| of.sent(order(i, 0, Side::Bid, 100 - i as i64, 60)));
    of.sent(order(90, 0, Side::Ask, 102, 5));
    let fill = (100.0 + 500.0 * random.uniform()) as i64 * MS;
    of.filled(fill, number(90), Quantity(5));
    (0..prices).find_map(|i| {
        let at = fill + 50 * MS + apart * i as i64;
        take_back(&mut of, at, number(i)).is_layer.then_some(at - fill)
    })
}

fn gather(
    seeds: u64,
    positive: impl Fn(&mut Random) -> Option<Nanos>,
    near: impl Fn(&mut Random) -> Option<Nanos>,
) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in 1..=seeds {
        let mut random = Random::new(seed);
        let (found, mistaken) = (positive(&mut random), near(&mut random));
        outcome.positives += 1;
        outcome.found += u64::from(found.is_some());
        outcome.delays.extend(found);
        outcome.near_misses += 1;
        outcome.mistaken += u64::from(mistaken.is_some());
    }
    outcome.delays.sort_unstable();
    outcome
}

/// Large orders behind fills nine times of ten, and as often as anybody's.
#[must_use]
pub fn spoofing(seeds: u64) -> Outcome {
    gather(seeds, |random| large_bids(random, 0.9), |random| large_bids(random, 0.3))
}

/// Three prices at once; and three that go five seconds apart.
#[must_use]
pub fn layering(seeds: u64) -> Outcome {
    gather(seeds, |random| layer(random, 3, 100 * MS), |random| layer(random, 3, 5 * SECOND))
}
