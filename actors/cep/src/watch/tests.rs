//! What becomes of events on their way to the detectors, and that a watch can be taken down and put up again.

use kimera_protocol::{Loader, Saver};
use proptest::prelude::*;

use super::*;
use crate::rates::tape::{Happening, Mood, play};

struct Stand {
    watch: Watch,
    alerts: Alerts,
    said: Vec<Alert>,
    seq: Seq,
}

impl Stand {
    fn new() -> Self {
        let config = WatchConfig { washing: true, ..WatchConfig::default() };
        Self { watch: Watch::new(&config), alerts: Alerts::new(config.quiet, 1), said: Vec::new(), seq: 0 }
    }

    fn hear(&mut self, time: Nanos, what: Happening) {
        self.seq += 1;
        self.watch.heard(self.seq, time, &mut self.alerts);
        match what {
            Happening::Quote { bid, ask } => self.watch.quoted(bid, ask),
            Happening::Trade { price, size, is_buy } => {
                self.watch.traded(price, size, is_buy, &mut self.alerts);
            }
        }
        self.said.extend(std::iter::from_fn(|| self.alerts.pop()).map(|(_, alert)| alert));
    }
}

fn events(seed: u64, seconds: i64, mood: fn(i64) -> Mood) -> Vec<(Nanos, Happening)> {
    let mut all = Vec::new();
    play(seed, seconds, |second, _| mood(second), |time, what| all.push((time, what)));
    all
}

fn of(said: &[Alert], detector: Detector) -> Vec<&Alert> {
    said.iter().filter(|alert| alert.detector == detector as u64).collect()
}

fn crash(second: i64) -> Mood {
    match second {
        3_600..3_720 => Mood { drift: -0.05 / 120.0, spread: 900.0, ..Mood::quiet() },
        3_720..3_900 => Mood { drift: 0.05 / 180.0, ..Mood::quiet() },
        _ => Mood::quiet(),
    }
}

#[test]
fn a_crash_is_told_from_its_beginning_to_its_end_with_its_evidence() {
    let mut stand = Stand::new();
    events(5, 4_200, crash).into_iter().for_each(|(time, what)| stand.hear(time, what));
    let crash = of(&stand.said, Detector::FlashCrash);
    let phases: Vec<_> = crash.iter().filter_map(|a| Phase::from_code(a.phase)).collect();
    assert_eq!(phases, [Phase::Begun, Phase::Worse, Phase::Confirmed]);
    let severities: Vec<_> = crash.iter().filter_map(|a| Severity::from_code(a.severity)).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Severe, Severity::Notice]);
    assert!(crash[0].score >= 0.03 && crash[0].score < 0.035, "{:?}", crash[0]);
    assert!(crash[1].score >= 5.0, "the spread over its median: {:?}", crash[1]);
    for alert in &stand.said {
        assert!(
            alert.first <= alert.last && alert.begin <= alert.end && alert.last <= stand.seq,
            "{alert:?}"
        );
    }
    let begun = crash[0].end / SECOND;
    assert!((3_660..3_690).contains(&begun), "three per cent, at five in 120 s: {begun}");
}

#[test]
fn a_hole_in_the_stream_is_no_move() {
    let mut stand = Stand::new();
    let jump =
        |second: i64, price: f64| Happening::Quote { bid: price, ask: price + second as f64 % 3.0 + 1.0 };
    for second in 0..900 {
        stand.hear(second * SECOND, jump(second, 1e6));
    }
    // Six silent seconds, then another price; ten seconds behind it are not judged.
    for second in 906..920 {
        stand.hear(second * SECOND, jump(second, 9e5));
    }
    assert!(stand.said.is_empty(), "{:?}", stand.said);
    stand.watch.forget();
    for second in 920..940 {
        stand.hear(second * SECOND, jump(second, 8e5));
    }
    assert!(stand.said.is_empty(), "{:?}", stand.said);
    stand.hear(940 * SECOND, jump(940, 8.1e5));
    stand.hear(941 * SECOND, jump(941, 8.1e5));
    assert_eq!(of(&stand.said, Detector::PriceSpike).len(), 1, "a leap without a hole is one");
    // Crossed books and empty prices are no prices.
    stand.watch.quoted(0.0, 1.0);
    stand.watch.quoted(9e5, 8e5);
    assert!((stand.watch.second.close - 8.1e5).abs() < 20.0);
}

#[test]
fn one_observation_is_said_once_in_a_while() {
    let mut alerts = Alerts::new(10 * SECOND, 2);
    let spike = Finding {
        detector: Detector::PriceSpike,
        severity: Severity::Notice,
        phase: Phase::Seen,
        score: 9.0,
        limit: 3.5,
    };
    let at = |second: i64| Bar { end: second * SECOND, ..Bar::default() };
    [0, 3, 9, 10, 12].into_iter().for_each(|second| alerts.say(spike, &at(second)));
    alerts.about(1);
    alerts.say(spike, &at(12));
    (0..3).for_each(|_| alerts.say(Finding { phase: Phase::Begun, ..spike }, &at(12)));
    let told: Vec<_> = std::iter::from_fn(|| alerts.pop()).map(|(i, a)| (i, a.end / SECOND)).collect();
    assert_eq!(told, [(0, 0), (0, 10), (1, 12), (1, 12), (1, 12), (1, 12)]);
    (0..200).for_each(|_| alerts.say(Finding { phase: Phase::Begun, ..spike }, &at(12)));
    assert_eq!(alerts.dropped(), 200 - ALERTS_MAX as u64, "counted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Taken down in bytes anywhere and put up again, it says the same.
    #[test]
    fn it_goes_on_from_its_state(seed in 1u64..1_000, cut in 0.0f64..1.0) {
        let all = events(seed, 4_200, crash);
        let cut = (all.len() as f64 * cut) as usize;
        let mut whole = Stand::new();
        all.iter().for_each(|(time, what)| whole.hear(*time, *what));
        let mut first = Stand::new();
        all[..cut].iter().for_each(|(time, what)| first.hear(*time, *what));
        let mut second = Stand::new();
        Loader::new(&Saver::of(&first.watch)).into_state(&mut second.watch).unwrap();
        Loader::new(&Saver::of(&first.alerts)).into_state(&mut second.alerts).unwrap();
        (second.seq, second.said) = (first.seq, first.said);
        all[cut..].iter().for_each(|(time, what)| second.hear(*time, *what));
        prop_assert_eq!(second.said, whole.said);
        prop_assert_eq!(second.watch.digest(), whole.watch.digest());
    }

    /// Whatever comes, nothing is said that is no number, and nothing panics.
    #[test]
    fn nonsense_says_nothing_that_is_no_number(
        events in proptest::collection::vec((0i64..400_000_000_000, -1e300f64..1e300, proptest::num::f64::ANY, any::<bool>()), 0..300)
    ) {
        let mut stand = Stand::new();
        for (time, price, size, is_trade) in events {
            let what = if is_trade {
                Happening::Trade { price, size, is_buy: price > 0.0 }
            } else {
                Happening::Quote { bid: price, ask: size }
            };
            stand.hear(time, what);
        }
        prop_assert!(stand.said.iter().all(|a| a.score.is_finite() && a.limit.is_finite()), "{:?}", stand.said);
    }
}
