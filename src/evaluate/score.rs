//! Forecasters by what came, and the specification's targets: met, not met, or not measurable here.

use kimera_numerics::ln;
use kimera_numerics::scoring::{
    Bin, Confusion, brier, calibration_error, normal_quantile, pesaran_timmermann, reliability, wilson,
};
use kimera_protocol::Nanos;
use serde::Serialize;

use super::forecasts::Sample;
use super::walk::{Forecaster, Role};

/// Groups of the calibration error, and of the plot.
const BINS: (usize, usize) = (15, 10);
/// Independent decisions from which anything is measured.
pub const MEASURABLE: f64 = 100.0;
const HOUR: Nanos = 3_600_000_000_000;
/// Time without a sample behind which a return is not one.
const GAP: Nanos = 300_000_000_000;
/// Hours before a trailing percentile is one.
const HOURS_MIN: usize = 48;
/// Hours it looks back at: thirty days.
const HOURS_MAX: usize = 720;

/// A forecaster's row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Who.
    pub name: String,
    /// "own", "ablation" or "baseline".
    pub role: &'static str,
    /// Test samples.
    pub samples: usize,
    /// Share of them that it acted on.
    pub coverage: f64,
    /// Decisions acted on whose price moved one way or the other.
    pub decisions: u64,
    /// How many of them are independent: overlapping outcomes count once.
    pub independent: f64,
    /// Share of them that were right; none of nothing.
    pub accuracy: Option<f64>,
    /// 95 % of it, by Wilson, for the independent ones.
    pub interval: (f64, f64),
    /// Mean F1 of down, flat and up over everything it said.
    pub macro_f1: f64,
    /// Correlation of what was said with what came.
    pub mcc: f64,
    /// Mean sum of squared distances, 0 to 2.
    pub brier: Option<f64>,
    /// Against the test part's own base rates: 0 for who knows no more.
    pub skill: Option<f64>,
    /// How far probabilities of "up" lie from what comes.
    pub calibration_error: f64,
    /// Pesaran and Timmermann's statistic of the directions, of the independent ones: normal under chance.
    pub directional: Option<f64>,
    /// Probabilities of "up" and how often it came.
    #[serde(skip)]
    pub reliability: Vec<Bin>,
}

/// Scores a forecaster; `share` says how much of each sample is its own.
#[must_use]
pub fn row(of: &Forecaster, samples: &[Sample], share: &[f64], tested: usize) -> Row {
    let (mut confusion, mut hits, mut decisions, mut independent) = (Confusion::default(), 0u64, 0u64, 0.0);
    let (mut distance, mut classes) = (0.0, [0.0; 3]);
    let (mut up_came, mut up_said, mut acted) = (0u64, 0u64, 0usize);
    let mut ups = Vec::with_capacity(of.said.len());
    for said in &of.said {
        let class = samples[said.sample].class;
        let most = (0..3).max_by(|&a, &b| said.p[a].total_cmp(&said.p[b])).unwrap_or(1);
        confusion.add(class, most);
        distance += kimera_ensemble::shadows::brier(&said.p, class);
        classes[class] += 1.0;
        ups.push((said.p[2], class == 2));
        acted += usize::from(said.acts);
        if said.acts && class != 1 {
            let (came, up) = (class == 2, said.p[2] > said.p[0]);
            let own = share.get(said.sample).copied().unwrap_or(1.0);
            decisions += 1;
            independent += own;
            if came == up {
                hits += 1;
            }
            up_came += u64::from(came);
            up_said += u64::from(up);
        }
    }
    let (n, count) = (of.said.len() as f64, decisions as f64);
    let uncertainty = classes.iter().fold(0.0, |sum, c| sum + c / n * (1.0 - c / n));
    let mean = (n > 0.0).then(|| distance / n);
    let z = normal_quantile(0.975);
    // As many independent decisions, as often right.
    let whole = |x: f64| x.round() as u64;
    let right = independent * hits as f64 / count.max(1.0);
    Row {
        name: of.name.clone(),
        role: match of.role {
            Role::Own => "own",
            Role::Ablation => "ablation",
            Role::Baseline => "baseline",
        },
        samples: tested,
        coverage: acted as f64 / tested.max(1) as f64,
        decisions,
        independent,
        accuracy: (decisions > 0).then(|| hits as f64 / count),
        interval: wilson(whole(right).min(whole(independent)), whole(independent), z),
        macro_f1: confusion.macro_f1(),
        mcc: confusion.mcc(),
        brier: mean,
        skill: mean.filter(|_| uncertainty > 0.0).map(|mean| 1.0 - mean / uncertainty),
        calibration_error: if brier(&ups, BINS.0).is_some() { calibration_error(&ups, BINS.0) } else { 0.0 },
        directional: pesaran_timmermann(
            whole(independent),
            whole(right),
            up_came as f64 / count.max(1.0),
            up_said as f64 / count.max(1.0),
        ),
        reliability: reliability(&ups, BINS.1),
    }
}

/// A claim of the specification against what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// What.
    pub what: &'static str,
    /// Share that is claimed.
    pub claimed: f64,
    /// Measured, where anything is.
    pub measured: Option<f64>,
    /// Its 95 %.
    pub interval: Option<(f64, f64)>,
    /// "met", "not met" or "not measurable here".
    pub verdict: &'static str,
    /// Why it cannot be measured, or from how many.
    pub note: String,
}

impl Target {
    fn measured(what: &'static str, claimed: f64, of: f64, interval: (f64, f64), note: String) -> Self {
        let verdict = if interval.0 > claimed { "met" } else { "not met" };
        Self { what, claimed, measured: Some(of), interval: Some(interval), verdict, note }
    }

    fn not(what: &'static str, claimed: f64, note: String) -> Self {
        Self { what, claimed, measured: None, interval: None, verdict: "not measurable here", note }
    }

    fn of_row(what: &'static str, claimed: f64, row: Option<&Row>) -> Self {
        match row {
            Some(Row { accuracy: Some(accuracy), independent, interval, decisions, coverage, .. })
                if *independent >= MEASURABLE =>
            {
                let note = format!(
                    "{decisions} decisions, {independent:.0} independent, coverage {:.1} %",
                    100.0 * coverage
                );
                Self::measured(what, claimed, *accuracy, *interval, note)
            }
            Some(row) => {
                let note = format!(
                    "{:.0} independent decisions of {} (100 are needed)",
                    row.independent, row.decisions
                );
                Self::not(what, claimed, note)
            }
            None => Self::not(what, claimed, "it never votes here".into()),
        }
    }
}

/// The claim about risk.
const RISK: (&str, f64) = ("risk: next hour's variance above its 80th percentile", 0.80);

/// The four claims; where outcomes were dealt by chance nothing is said about risk, which is not judged by them.
#[must_use]
pub fn targets(rows: &[Row], samples: &[Sample], shuffled: bool) -> Vec<Target> {
    let of = |name: &str| rows.iter().find(|row| row.name == name).filter(|row| row.brier.is_some());
    vec![
        Target::of_row("ensemble, where it acts", 0.75, of("ensemble, where it acts")),
        if shuffled {
            Target::not(RISK.0, RISK.1, "hours are not what is shuffled".into())
        } else {
            risk(samples)
        },
        Target::of_row("pattern, ten neighbours or more", 0.70, of("pattern")),
        Target::not(
            "sentiment",
            0.65,
            "no sentences with labels that may be shipped, and no feed of news".into(),
        ),
    ]
}

/// Is the next hour's realised variance above the trailing 80th percentile? Said by the semantic temperature above 0.8; balanced accuracy, with the mean of
/// both classes' Wilson bounds.
fn risk(samples: &[Sample]) -> Target {
    let (what, claimed) = RISK;
    let mut hours: Vec<(i64, f64, Option<f64>)> = Vec::new();
    for pair in samples.windows(2) {
        let hour = pair[1].time.div_euclid(HOUR);
        if pair[1].time.saturating_sub(pair[0].time) > GAP {
            continue; // what happened in between is nobody's hour
        }
        let r = ln(pair[1].mid / pair[0].mid);
        match hours.last_mut() {
            Some((last, variance, temperature)) if *last == hour => {
                *variance += r * r;
                *temperature = pair[1].temperature.or(*temperature);
            }
            _ => hours.push((hour, r * r, pair[1].temperature)),
        }
    }
    let mut counts = [[0u64; 2]; 2];
    for i in HOURS_MIN..hours.len() {
        let Some(temperature) = hours[i - 1].2.filter(|_| hours[i].0 == hours[i - 1].0 + 1) else { continue };
        let mut trailing: Vec<f64> = hours[i.saturating_sub(HOURS_MAX)..i].iter().map(|h| h.1).collect();
        trailing.sort_unstable_by(f64::total_cmp);
        let limit = trailing[(trailing.len() * 4 / 5).min(trailing.len() - 1)];
        counts[usize::from(hours[i].1 > limit)][usize::from(temperature > 0.8)] += 1;
    }
    let [low, high] = counts.map(|c| c[0] + c[1]);
    if (low.min(high) as f64) < MEASURABLE / 5.0 {
        let note = format!(
            "{} hours behind the first {HOURS_MIN}, {high} of them high (20 of each are needed)",
            low + high
        );
        return Target::not(what, claimed, note);
    }
    let z = normal_quantile(0.975);
    let (calm, rough) = (wilson(counts[0][0], low, z), wilson(counts[1][1], high, z));
    let share = 0.5 * (counts[0][0] as f64 / low as f64 + counts[1][1] as f64 / high as f64);
    let interval = (0.5 * (calm.0 + rough.0), 0.5 * (calm.1 + rough.1));
    let note = format!("{} hours, {high} of them high; an even chance is 0.5", low + high);
    Target::measured(what, claimed, share, interval, note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::walk::Said;
    use crate::evaluate::walk::tests::sample;

    fn of(samples: &[Sample], right: impl Fn(usize) -> bool) -> Forecaster {
        let said = samples.iter().enumerate().map(|(i, s)| {
            let up = (s.class == 2) == right(i);
            let p = if up { [0.1, 0.1, 0.8] } else { [0.8, 0.1, 0.1] };
            Said { sample: i, p, acts: true }
        });
        Forecaster { name: "ensemble, where it acts".into(), role: Role::Own, said: said.collect() }
    }

    #[test]
    fn a_target_is_met_only_where_its_interval_lies_above() {
        let samples: Vec<_> =
            (0..1_000).map(|i| sample(i * 10, 10, if i % 2 == 0 { 0 } else { 2 })).collect();
        let share = vec![1.0; samples.len()];
        for (hits, verdict) in [(770, "not met"), (777, "met")] {
            let row = row(&of(&samples, |i| i < hits), &samples, &share, samples.len());
            assert!((row.accuracy.unwrap() - hits as f64 / 1_000.0).abs() < 1e-12 && row.decisions == 1_000);
            assert_eq!(targets(&[row], &samples, false)[0].verdict, verdict);
        }
        // The same, but every outcome is shared by ten: a hundred samples are worth ten.
        let shared = vec![0.05; samples.len()];
        let few = row(&of(&samples, |_| true), &samples, &shared, samples.len());
        let target = &targets(&[few], &samples, false)[0];
        assert_eq!((target.verdict, target.measured), ("not measurable here", None), "{target:?}");
        assert_eq!(targets(&[], &samples, false)[2].note, "it never votes here");
        assert_eq!(targets(&[], &samples, false)[3].verdict, "not measurable here");
    }

    #[test]
    fn chance_has_no_skill_and_no_direction() {
        let samples: Vec<_> =
            (0..2_000).map(|i| sample(i * 10, 10, if i * 7919 % 13 < 6 { 0 } else { 2 })).collect();
        let share = vec![1.0; samples.len()];
        let row = row(&of(&samples, |i| i * 104_729 % 17 < 8), &samples, &share, samples.len());
        assert!(
            row.skill.unwrap() < 0.0 && row.mcc.abs() < 0.1 && row.directional.unwrap().abs() < 3.0,
            "{row:?}"
        );
    }

    #[test]
    fn rough_hours_that_are_foretold_are_counted() {
        let mut samples = Vec::new();
        for hour in 0..400i64 {
            let is_rough = hour % 5 == 0;
            for minute in 0..60i64 {
                let mut s = sample(hour * HOUR + minute * HOUR / 60, 10, 1);
                let move_ = if is_rough { 3.0 } else { 1.0 + 0.1 * (hour % 7) as f64 };
                s.mid = 1_000.0 + if minute % 2 == 0 { move_ } else { 0.0 };
                s.temperature = Some(if (hour + 1) % 5 == 0 { 0.9 } else { 0.3 });
                samples.push(s);
            }
        }
        let told = risk(&samples);
        assert!(told.measured.unwrap() > 0.95 && told.verdict == "met", "{told:?}");
        samples.iter_mut().for_each(|s| s.temperature = Some(0.3));
        let silent = risk(&samples);
        assert!((silent.measured.unwrap() - 0.5).abs() < 0.01 && silent.verdict == "not met", "{silent:?}");
        assert_eq!(risk(&samples[..600]).verdict, "not measurable here");
    }
}
