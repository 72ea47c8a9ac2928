//! Markets made from a seed: quiet ones, and ones in which something is made to happen at a known second.

use kimera_numerics::ln;
use kimera_protocol::Nanos;

use crate::watch::SECOND;

/// Price that every tape begins with, ticks.
pub const START: f64 = 1_000_000.0;

/// Random numbers from a seed: the same everywhere (xorshift, Marsaglia 2003).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D);
        for _ in 0..8 {
            let _ = random.word();
        }
        random
    }

    fn word(&mut self) -> u64 {
        self.0 |= u64::from(self.0 == 0);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between 0 and 1.
    pub fn uniform(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// With mean 0 and deviation 1, tails and all (the polar method, Marsaglia and Bray 1964).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * ln(square) / square).sqrt();
            }
        }
    }

    /// How many of something that comes at a rate.
    pub fn poisson(&mut self, rate: f64) -> u64 {
        if rate > 50.0 {
            return (rate + rate.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        // Gaps until the time is over.
        let (mut count, mut time) = (0, 0.0);
        loop {
            time -= ln(1.0 - self.uniform());
            if time > rate {
                return count;
            }
            count += 1;
        }
    }
}

/// What a second of a market is made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mood {
    /// Deviation of the price over a second, and what it goes by itself, as fractions.
    pub deviation: f64,
    /// Drift in a second, as a fraction.
    pub drift: f64,
    /// Spread in ticks.
    pub spread: f64,
    /// Best prices a second.
    pub quotes: f64,
    /// Trades a second.
    pub trades: f64,
    /// Share of trades whose buyer takes.
    pub buys: f64,
    /// Size of a usual trade, base units.
    pub size: f64,
    /// Deviation of a size's logarithm; 0: all alike.
    pub size_spread: f64,
}

impl Mood {
    /// A quiet market: 60 % a year, a spread of a basis point.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            deviation: 1.07e-4,
            drift: 0.0,
            spread: 100.0,
            quotes: 2.0,
            trades: 0.5,
            buys: 0.5,
            size: 0.1,
            size_spread: 2.0,
        }
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening {
    /// Best prices, ticks.
    Quote {
        /// Bid.
        bid: f64,
        /// Ask.
        ask: f64,
    },
    /// A trade.
    Trade {
        /// Ticks.
        price: f64,
        /// Base units.
        size: f64,
        /// The buyer took.
        is_buy: bool,
    },
}

/// Plays a market of so many seconds: `mood` says before each how it is, `each` hears of what happens.
pub fn play(
    seed: u64,
    seconds: i64,
    mut mood: impl FnMut(i64, &mut Random) -> Mood,
    mut each: impl FnMut(Nanos, Happening),
) {
    let mut random = Random::new(seed);
    let mut price = START;
    let mut instants: Vec<(f64, bool)> = Vec::new();
    for second in 0..seconds {
        let m = mood(second, &mut random);
        let (quotes, trades) = (random.poisson(m.quotes).max(1), random.poisson(m.trades));
        instants.clear();
        instants.extend((0..quotes + trades).map(|i| (random.uniform(), i < quotes)));
        instants.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut last = 0.0;
        for &(at, is_quote) in &instants {
            let part = at - last;
            last = at;
            price *= 1.0 + m.drift * part + m.deviation * part.sqrt() * random.normal();
            let time = second * SECOND + (at * SECOND as f64) as i64;
            let (bid, ask) = ((price - 0.5 * m.spread).round(), (price + 0.5 * m.spread).round());
            if is_quote {
                each(time, Happening::Quote { bid, ask: ask.max(bid + 1.0) });
            } else {
                let is_buy = random.uniform() < m.buys;
                let size = m.size * kimera_numerics::exp(m.size_spread * random.normal());
                each(time, Happening::Trade { price: if is_buy { ask } else { bid }, size, is_buy });
            }
        }
        // What is left of the second moves the price, too.
        price *= 1.0 + m.drift * (1.0 - last) + m.deviation * (1.0 - last).sqrt() * random.normal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_is_what_its_mood_says_and_the_same_each_time() {
        let tape = |seed| {
            let (mut mids, mut trades, mut times) = (Vec::new(), 0u64, Vec::new());
            play(
                seed,
                5_000,
                |_, _| Mood::quiet(),
                |time, what| {
                    times.push(time);
                    match what {
                        Happening::Quote { bid, ask } => mids.push((time, 0.5 * (bid + ask))),
                        Happening::Trade { .. } => trades += 1,
                    }
                },
            );
            (mids, trades, times)
        };
        let (mids, trades, times) = tape(1);
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "time goes on");
        assert!((trades as f64 / 2_500.0 - 1.0).abs() < 0.1, "{trades}");
        let moved: f64 = mids.windows(2).map(|m| (m[1].1 / m[0].1 - 1.0).powi(2)).sum(); // deterministic: a test's own
        assert!(((moved / 5_000.0).sqrt() / 1.07e-4 - 1.0).abs() < 0.05, "{}", (moved / 5_000.0).sqrt());
        assert_eq!(tape(1).0, mids);
        assert_ne!(tape(2).0, mids);
    }

    #[test]
    fn noise_has_the_moments_it_should_have() {
        let mut random = Random::new(3);
        let n = 200_000;
        let (mut sum, mut square, mut beyond) = (0.0, 0.0, 0);
        for _ in 0..n {
            let x = random.normal();
            sum += x;
            square += x * x;
            beyond += u32::from(x.abs() > 3.0);
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 0.01 && (square / n - 1.0).abs() < 0.01);
        assert!((f64::from(beyond) / n / 0.0027 - 1.0).abs() < 0.2, "{beyond}");
        for rate in [0.5, 8.0, 200.0] {
            let mean = (0..20_000).map(|_| random.poisson(rate)).sum::<u64>() as f64 / 20_000.0;
            assert!((mean / rate - 1.0).abs() < 0.03, "{rate} {mean}");
        }
    }
}
