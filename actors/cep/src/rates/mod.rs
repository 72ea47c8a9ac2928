//! How often each detector is right, how fast, and how often it is wrong: over markets in which something was made to happen,
//! over others in which nearly nothing was, and over days on which nothing was.

pub mod scenarios;
pub mod tape;

use kimera_protocol::{Alert, Detector, Nanos, Phase};

use self::scenarios::Scenario;
use self::tape::{Happening, play};
use crate::watch::{Alerts, Bar, Minutes, SECOND, Watch, WatchConfig};

/// What became of a detector's scenarios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Those that were to be found.
    pub positives: u64,
    /// Those that were.
    pub found: u64,
    /// From the beginning of what was made to happen to the alert, ns, sorted.
    pub delays: Vec<Nanos>,
    /// Those that were not to be found.
    pub near_misses: u64,
    /// Those that were.
    pub mistaken: u64,
}

impl Outcome {
    /// The delay in the middle.
    #[must_use]
    pub fn median_delay(&self) -> Option<Nanos> {
        self.delays.get(self.delays.len() / 2).copied()
    }

    fn add(&mut self, scenario: &Scenario, found: Option<Nanos>) {
        if scenario.is_positive {
            self.positives += 1;
            self.found += u64::from(found.is_some());
            self.delays.extend(found);
            self.delays.sort_unstable();
        } else {
            self.near_misses += 1;
            self.mistaken += u64::from(found.is_some());
        }
    }
}

/// One market under watch, and what it says.
struct Stand {
    watch: Watch,
    alerts: Alerts,
    seq: u64,
}

impl Stand {
    fn new(config: &WatchConfig) -> Self {
        Self { watch: Watch::new(config), alerts: Alerts::new(config.quiet, 1), seq: 0 }
    }

    fn hear(&mut self, time: Nanos, what: Happening, mut each: impl FnMut(Nanos, &Alert)) {
        self.seq += 1;
        self.watch.heard(self.seq, time, &mut self.alerts);
        match what {
            Happening::Quote { bid, ask } => self.watch.quoted(bid, ask),
            Happening::Trade { price, size, is_buy } => {
                self.watch.traded(price, size, is_buy, &mut self.alerts)
            }
        }
        while let Some((_, alert)) = self.alerts.pop() {
            each(time, &alert);
        }
    }
}

/// True where an alert says that something of its kind has happened.
fn counts(alert: &Alert, phases: &[Phase]) -> bool {
    Phase::from_code(alert.phase).is_some_and(|phase| phases.contains(&phase))
}

/// Plays a scenario; how long behind its beginning it was found, if it was.
#[must_use]
pub fn try_scenario(scenario: &Scenario, seed: u64, config: &WatchConfig) -> Option<Nanos> {
    let mut stand = Stand::new(config);
    let begin = scenario.after * SECOND;
    let end = scenario.after + scenario.lasts;
    let mut found = None;
    let mood = |second: i64, random: &mut _| (scenario.mood)(second - scenario.after, random);
    play(seed, end, mood, |time, what| {
        stand.hear(time, what, |at, alert| {
            let is_it = alert.detector == scenario.detector as u64 && counts(alert, scenario.phases);
            if is_it && at >= begin && found.is_none() {
                found = Some(at - begin);
            }
        });
    });
    found
}

/// Every scenario of a detector, with so many seeds each.
#[must_use]
pub fn outcome(detector: Detector, seeds: u64, config: &WatchConfig) -> Outcome {
    let mut outcome = Outcome::default();
    for scenario in scenarios::ALL.iter().filter(|s| s.detector == detector) {
        for seed in 1..=seeds {
            outcome.add(scenario, try_scenario(scenario, seed, &scenario.config(config)));
        }
    }
    outcome
}

/// Alerts of each detector, by its code less one: what began or was seen, and what was confirmed.
pub type Counts = [[u64; 2]; Detector::ALL.len()];

fn count(counts: &mut Counts, alert: &Alert) {
    let Some(of) = (alert.detector as usize).checked_sub(1).and_then(|i| counts.get_mut(i)) else { return };
    match Phase::from_code(alert.phase) {
        Some(Phase::Seen | Phase::Begun) => of[0] += 1,
        Some(Phase::Confirmed) => of[1] += 1,
        _ => {}
    }
}

/// Alerts of quiet days, all of them false; behind so many days that nobody counts, for what has to be learned first.
#[must_use]
pub fn quiet_days(seed: u64, learning: i64, days: i64, config: &WatchConfig) -> Counts {
    let mut stand = Stand::new(config);
    let mut counts = Counts::default();
    let day = 86_400;
    play(
        seed,
        (learning + days) * day,
        |second, _| scenarios::time_of_day(second),
        |time, what| {
            stand.hear(time, what, |at, alert| {
                if at >= learning * day * SECOND {
                    count(&mut counts, alert);
                }
            });
        },
    );
    counts
}

/// A minute of recorded prices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinuteBar {
    /// When it began.
    pub time: Nanos,
    /// Highest price.
    pub high: f64,
    /// Last price.
    pub close: f64,
    /// Base units traded.
    pub volume: f64,
    /// Trades.
    pub trades: u64,
}

/// An alert over recorded minutes.
pub type Told = (Nanos, Alert);

/// What detectors say over recorded minutes: those that look at minutes, and falls and rises by closing prices alone.
#[must_use]
pub fn over_bars(bars: &[MinuteBar], config: &WatchConfig) -> Vec<Told> {
    let mut minutes = Minutes::new(config);
    let mut alerts = Alerts::new(config.quiet, 1);
    let mut falls = crate::watch::Falls::new(config);
    let mut told = Vec::new();
    for (seq, bar) in (1..).zip(bars) {
        let end = bar.time + 60 * SECOND;
        let minute = Bar {
            index: bar.time.div_euclid(60 * SECOND),
            first: seq,
            last: seq,
            begin: bar.time,
            end,
            high: bar.high,
            close: bar.close,
            spread: 0.0,
            volume: bar.volume,
            trades: bar.trades,
            messages: 1,
        };
        falls.ended(&minute, minutes.deviation(falls.window()), None, &mut alerts);
        minutes.ended(&minute, &mut alerts);
        while let Some((_, alert)) = alerts.pop() {
            told.push((end, alert));
        }
    }
    told
}
