//! What is made to happen, and what only nearly is: for each detector one or more of both, behind as much of a quiet market as it
//! has to learn from.

use kimera_protocol::{Detector, Phase};

use super::tape::{Mood, Random};
use crate::watch::WatchConfig;

/// Something that is made to happen.
pub struct Scenario {
    /// Who should say something, or nothing.
    pub detector: Detector,
    /// In a few words.
    pub name: &'static str,
    /// To be found; else not to be.
    pub is_positive: bool,
    /// Which phases of an alert count.
    pub phases: &'static [Phase],
    /// Seconds before it begins.
    pub after: i64,
    /// Seconds in which an alert counts as its.
    pub lasts: i64,
    /// How the market is so many seconds behind its beginning (negative: before it).
    pub mood: fn(i64, &mut Random) -> Mood,
    /// Sizes are looked at.
    washing: bool,
}

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Deviation of a quiet second.
const SECOND: f64 = 1.07e-4;
/// And of a quiet minute.
const OF_A_MINUTE: f64 = SECOND * 7.746;

/// A day whose nights are quieter than its afternoons, by half and by as much again.
#[must_use]
pub fn time_of_day(second: i64) -> Mood {
    let phase = second.rem_euclid(DAY) as f64 / DAY as f64;
    // A triangle between 0.5 and 1.5: highest at three quarters of the day.
    let distance = (phase - 0.75).abs();
    let level = 1.5 - 2.0 * distance.min(1.0 - distance);
    let quiet = Mood::quiet();
    Mood {
        deviation: quiet.deviation * level,
        trades: quiet.trades * level,
        quotes: quiet.quotes * level,
        ..quiet
    }
}

fn only(is_so: bool, change: impl FnOnce(Mood) -> Mood) -> Mood {
    if is_so { change(Mood::quiet()) } else { Mood::quiet() }
}

/// Fewer events where hours or days have to be learned from.
fn sparse(mood: Mood) -> Mood {
    Mood { quotes: 0.7, trades: mood.trades * 0.4, ..mood }
}

/// A second that goes so many deviations by itself; quotes right behind it, so that it is seen as one.
fn leap(at: i64, deviations: f64) -> Mood {
    let moved = |m: Mood| Mood { drift: deviations * SECOND, deviation: SECOND * 0.1, quotes: 20.0, ..m };
    only(at == 0, moved)
}

const SEEN: &[Phase] = &[Phase::Seen];
const BEGUN: &[Phase] = &[Phase::Begun];
const CONFIRMED: &[Phase] = &[Phase::Confirmed];

const fn of(
    detector: Detector,
    name: &'static str,
    is_positive: bool,
    phases: &'static [Phase],
    (after, lasts): (i64, i64),
    mood: fn(i64, &mut Random) -> Mood,
) -> Scenario {
    let washing = matches!(detector, Detector::WashTrading);
    Scenario { detector, name, is_positive, phases, after, lasts, mood, washing }
}

impl Scenario {
    /// The configuration it is tried with.
    #[must_use]
    pub fn config(&self, config: &WatchConfig) -> WatchConfig {
        WatchConfig { washing: self.washing, ..*config }
    }
}

/// Every scenario over public data.
pub const ALL: &[Scenario] = &[
    of(Detector::PriceSpike, "eight deviations in a second", true, SEEN, (900, 3), |at, _| leap(at, 8.0)),
    of(Detector::PriceSpike, "one deviation in a second", false, SEEN, (900, 2), |at, _| leap(at, 1.0)),
    of(Detector::PriceJump, "ten deviations in a minute", true, SEEN, (13 * HOUR, 2 * MINUTE), |at, _| {
        only(at == 30, |m| Mood { drift: 10.0 * OF_A_MINUTE, ..m })
    }),
    of(Detector::PriceJump, "three deviations in a minute", false, SEEN, (13 * HOUR, 2 * MINUTE), |at, _| {
        only(at == 30, |m| Mood { drift: 3.0 * OF_A_MINUTE, ..m })
    }),
    of(Detector::VolumeSurge, "ten times the volume", true, SEEN, (15 * DAY, 11 * MINUTE), |at, _| {
        sparse(only((0..600).contains(&at), |m| Mood { trades: 10.0 * m.trades, ..m }))
    }),
    of(Detector::VolumeSurge, "half as much again", false, SEEN, (15 * DAY, 11 * MINUTE), |at, _| {
        sparse(only((0..600).contains(&at), |m| Mood { trades: 1.5 * m.trades, ..m }))
    }),
    of(Detector::TradeBurst, "three times the trades", true, SEEN, (2 * HOUR, 3 * MINUTE), |at, _| {
        only((0..120).contains(&at), |m| Mood { trades: 3.0 * m.trades, ..m })
    }),
    of(Detector::TradeBurst, "a quarter more trades", false, SEEN, (2 * HOUR, 3 * MINUTE), |at, _| {
        only((0..120).contains(&at), |m| Mood { trades: 1.25 * m.trades, ..m })
    }),
    of(
        Detector::MomentumShift,
        "a deviation and a half a minute",
        true,
        SEEN,
        (2 * HOUR, 30 * MINUTE),
        |at, _| only(at >= 0, |m| Mood { drift: 1.5 * OF_A_MINUTE / 60.0, ..m }),
    ),
    of(Detector::MomentumShift, "a tenth of one", false, SEEN, (2 * HOUR, 30 * MINUTE), |at, _| {
        only(at >= 0, |m| Mood { drift: 0.1 * OF_A_MINUTE / 60.0, ..m })
    }),
    of(
        Detector::FlashCrash,
        "five per cent in two minutes, the spread opens",
        true,
        BEGUN,
        (HOUR, 4 * MINUTE),
        |at, _| only((0..120).contains(&at), |m| Mood { drift: -0.05 / 120.0, spread: 800.0, ..m }),
    ),
    of(Detector::FlashCrash, "five per cent in four hours", false, BEGUN, (HOUR, 4 * HOUR), |at, _| {
        only(at >= 0, |m| Mood { drift: -0.05 / (4.0 * HOUR as f64), ..m })
    }),
    of(Detector::FlashCrash, "two per cent in two minutes", false, BEGUN, (HOUR, 4 * MINUTE), |at, _| {
        only((0..120).contains(&at), |m| Mood { drift: -0.02 / 120.0, ..m })
    }),
    of(Detector::FlashRise, "five per cent in two minutes", true, BEGUN, (HOUR, 4 * MINUTE), |at, _| {
        only((0..120).contains(&at), |m| Mood { drift: 0.05 / 120.0, spread: 800.0, ..m })
    }),
    of(Detector::FlashRise, "two per cent in two minutes", false, BEGUN, (HOUR, 4 * MINUTE), |at, _| {
        only((0..120).contains(&at), |m| Mood { drift: 0.02 / 120.0, ..m })
    }),
    of(
        Detector::MomentumIgnition,
        "takers lift the price, and it falls back",
        true,
        CONFIRMED,
        (900, 40),
        |at, _| match at {
            0..6 => Mood { drift: 2.0 * SECOND, buys: 1.0, trades: 4.0, ..Mood::quiet() },
            6..26 => Mood { drift: -0.5 * SECOND, buys: 0.2, trades: 2.0, ..Mood::quiet() },
            _ => Mood::quiet(),
        },
    ),
    of(
        Detector::MomentumIgnition,
        "takers lift the price, and it stays",
        false,
        CONFIRMED,
        (900, 40),
        |at, _| match at {
            0..6 => Mood { drift: 2.0 * SECOND, buys: 1.0, trades: 4.0, ..Mood::quiet() },
            6..90 => Mood { drift: 0.3 * SECOND, buys: 0.8, trades: 2.0, ..Mood::quiet() },
            _ => Mood::quiet(),
        },
    ),
    of(
        Detector::PumpAndDump,
        "twelve per cent up at five times the volume, and down",
        true,
        CONFIRMED,
        (13 * HOUR, 2 * HOUR),
        |at, _| {
            sparse(match at {
                0..600 => Mood { drift: 0.15 / 600.0, trades: 10.0 * Mood::quiet().trades, ..Mood::quiet() },
                600..2400 => Mood { drift: -0.12 / 1_800.0, ..Mood::quiet() },
                _ => Mood::quiet(),
            })
        },
    ),
    of(
        Detector::PumpAndDump,
        "a listing: up, and it stays there",
        false,
        CONFIRMED,
        (13 * HOUR, 2 * HOUR),
        |at, _| {
            sparse(only((0..600).contains(&at), |m| Mood {
                drift: 0.15 / 600.0,
                trades: 10.0 * m.trades,
                ..m
            }))
        },
    ),
    of(Detector::WashTrading, "sizes all alike", true, SEEN, (HOUR, 2 * HOUR), |at, _| {
        only(at >= 0, |m| Mood { size_spread: 0.0, ..m })
    }),
    of(Detector::WashTrading, "sizes over many magnitudes", false, SEEN, (HOUR, 2 * HOUR), |_, _| {
        Mood::quiet()
    }),
    of(Detector::QuoteStuffing, "forty times the messages", true, SEEN, (900, 3), |at, _| {
        only((0..2).contains(&at), |m| Mood { quotes: 40.0 * m.quotes, ..m })
    }),
    of(Detector::QuoteStuffing, "twice the messages", false, SEEN, (900, 3), |at, _| {
        only((0..2).contains(&at), |m| Mood { quotes: 2.0 * m.quotes, ..m })
    }),
];
