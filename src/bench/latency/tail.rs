//! Why the slowest frames were slow.
//!
//! The same frames were sent through twice: what a stage takes both times is work that the frame brought, what it takes once
//! was the machine.

use std::collections::BTreeMap;

use kimera_runtime::clock::Tsc;
use serde::Serialize;

use super::super::pipeline::Frames;
use super::super::statistics::median;
use super::load::{Sample, Taken};

/// Why a frame was slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// It waited for those before it.
    Queue,
    /// A stage had that much to do.
    Stage,
    /// The line waited for the journal.
    Journal,
    /// The thread did not run, or was held up on its core.
    SchedulerGap,
}

impl Label {
    /// As the report writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Stage => "stage",
            Self::Journal => "journal",
            Self::SchedulerGap => "scheduler-gap",
        }
    }
}

/// One of the slowest frames.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlier {
    /// Its place in the recording.
    pub frame: u32,
    /// Its bytes.
    pub bytes: usize,
    /// From when it was due until the line was at rest, ns.
    pub total_ns: u64,
    /// How much of that it waited for its turn.
    pub queue_ns: u64,
    /// Why.
    pub label: Label,
    /// Which stage, behind whom, how it is known.
    pub detail: String,
    /// What each stage took, ns, in the line's order.
    pub stages_ns: Vec<u64>,
}

/// How many of the slowest had which reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tail {
    /// Frames slower than this are told, ns.
    pub above_ns: u64,
    /// Stages, in the order of `stages_ns`.
    pub stages: Vec<String>,
    /// Outliers by label.
    pub labels: BTreeMap<&'static str, usize>,
    /// The slowest, slowest first.
    pub slowest: Vec<Outlier>,
}

/// Outliers that are told one by one.
const TOLD: usize = 40;
/// One frame in so many is an outlier.
const ONE_IN: usize = 1_000;
/// A frame that waits less is the head of a queue, ns.
const NO_WAIT_NS: u64 = 1_000;

struct Judge<'a> {
    tsc: Tsc,
    first: &'a Taken,
    second: &'a Taken,
    stages: &'a [String],
    /// What a stage takes as a rule, ticks.
    usual: Vec<f64>,
}

fn service(sample: &Sample) -> u64 {
    u64::from(sample.to_rest)
}

/// For how long those behind it had to wait for it.
fn held_up(sample: &Sample) -> u64 {
    u64::from(sample.late) + service(sample)
}

fn total(sample: &Sample) -> u64 {
    u64::from(sample.queue) + service(sample)
}

impl Judge<'_> {
    fn of<'a>(&self, taken: &'a Taken, at: usize) -> &'a [u32] {
        &taken.stages[at * self.stages.len()..(at + 1) * self.stages.len()]
    }

    /// The frame that holds up those behind it: the one for which most time went since the queue was empty.
    fn head(&self, at: usize) -> usize {
        let samples = &self.first.samples;
        let waits = |i: &usize| self.tsc.to_ns(u64::from(samples[*i].queue)) >= NO_WAIT_NS;
        let begin = (0..at).rev().take_while(waits).last().unwrap_or(at).saturating_sub(1);
        (begin..at).max_by_key(|i| held_up(&samples[*i])).unwrap_or(at)
    }

    fn why(&self, at: usize) -> (Label, String) {
        let sample = &self.first.samples[at];
        if self.is_late(sample) {
            return self.why_late(sample);
        }
        if u64::from(sample.queue) * 2 >= total(sample) && at > 0 {
            let head = self.head(at);
            let of_head = &self.first.samples[head];
            let (label, detail) =
                if self.is_late(of_head) { self.why_late(of_head) } else { self.why_served(head) };
            let took = self.tsc.to_ns(held_up(of_head));
            let of = self.first.samples[head].index;
            let text = match label {
                Label::Stage if took < 20_000 => "behind many, none of them slow".to_owned(),
                _ => format!("behind frame {of}, {took} ns: {detail}"),
            };
            return (Label::Queue, text);
        }
        self.why_served(at)
    }

    /// Most of its time nobody looked, though nothing else was to be done.
    fn is_late(&self, sample: &Sample) -> bool {
        u64::from(sample.late) * 2 >= total(sample)
    }

    fn why_late(&self, sample: &Sample) -> (Label, String) {
        let ns = self.tsc.to_ns(u64::from(sample.late));
        (Label::SchedulerGap, format!("the idle thread was kept away for {ns} ns"))
    }

    /// Why it took long once it had its turn.
    fn why_served(&self, at: usize) -> (Label, String) {
        let (took, again) = (self.of(self.first, at), self.of(self.second, at));
        let over = |i: &usize| (f64::from(took[*i]) - self.usual[*i]).max(0.0) as u64;
        let worst = (0..took.len()).max_by_key(over).unwrap_or(0);
        let ns = |ticks: u32| self.tsc.to_ns(u64::from(ticks));
        let name = &self.stages[worst];
        if worst + 1 == took.len() {
            return (Label::Journal, format!("waited {} ns for it", ns(took[worst])));
        }
        if u64::from(again[worst]) * 2 >= u64::from(took[worst]) {
            return (
                Label::Stage,
                format!("{name}: {} ns, and {} ns once more", ns(took[worst]), ns(again[worst])),
            );
        }
        let how = if self.first.samples[at].switched {
            "the kernel ran somebody else"
        } else {
            "an interrupt, the host, or cold caches: the kernel ran nobody else"
        };
        (
            Label::SchedulerGap,
            format!("in {name}: {} ns, {} ns once more; {how}", ns(took[worst]), ns(again[worst])),
        )
    }
}

/// Looks into the slowest frames of a load that was sent through twice, with its stages.
#[must_use]
pub fn tail(frames: &Frames, first: &Taken, second: &Taken, stages: &[String], tsc: Tsc) -> Tail {
    let count = first.samples.len();
    if count == 0 || second.samples.len() != count || first.stages.len() != count * stages.len() {
        return Tail::default();
    }
    let column = |i: usize| first.stages.iter().skip(i).step_by(stages.len()).map(|t| f64::from(*t));
    let usual = (0..stages.len()).map(|i| median(&column(i).collect::<Vec<_>>())).collect();
    let judge = Judge { tsc, first, second, stages, usual };
    let mut slowest: Vec<usize> = (0..count).collect();
    slowest.sort_by_key(|at| std::cmp::Reverse(total(&first.samples[*at])));
    slowest.truncate((count / ONE_IN).max(1));
    let outlier = |at: &usize| {
        let sample = &first.samples[*at];
        let (label, detail) = judge.why(*at);
        let ns = |ticks: u64| tsc.to_ns(ticks);
        Outlier {
            frame: sample.index,
            bytes: frames.text(sample.index as usize).len(),
            total_ns: ns(total(sample)),
            queue_ns: ns(u64::from(sample.queue)),
            label,
            detail,
            stages_ns: judge.of(first, *at).iter().map(|ticks| ns(u64::from(*ticks))).collect(),
        }
    };
    let mut outliers: Vec<_> = slowest.iter().map(outlier).collect();
    let mut labels = BTreeMap::new();
    for outlier in &outliers {
        *labels.entry(outlier.label.name()).or_insert(0) += 1;
    }
    let above_ns = outliers.last().map_or(0, |o| o.total_ns);
    outliers.truncate(TOLD);
    Tail { above_ns, stages: stages.to_vec(), labels, slowest: outliers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rows: &[(u32, [u32; 3], bool)]) -> Taken {
        let sample = |(i, (queue, stages, switched)): (usize, &(u32, [u32; 3], bool))| Sample {
            index: i as u32,
            queue: *queue,
            late: 0,
            to_order: 0,
            to_rest: stages.iter().sum(),
            switched: *switched,
        };
        Taken {
            samples: rows.iter().enumerate().map(sample).collect(),
            stages: rows.iter().flat_map(|row| row.1).collect(),
            ..Taken::default()
        }
    }

    #[test]
    fn each_reason_is_told_from_the_others() {
        let tsc = Tsc::calibrate();
        let usual = (0, [100, 100, 0], false);
        let stages = ["decoder", "market", "wait for the journal"].map(str::to_owned);
        let long = 40_000_000;
        let first = taken(&[
            usual,
            (0, [long, 100, 0], false), // work: the same once more
            (long, [100, 100, 0], false),
            usual,
            (0, [100, long, 0], true), // the kernel's doing: not so once more
            usual,
            (0, [100, 100, long], false),
        ]);
        let mut again = vec![usual; 7];
        again[1] = (0, [long, 100, 0], false);
        let second = taken(&again);
        let judge =
            Judge { tsc, first: &first, second: &second, stages: &stages, usual: vec![100.0, 100.0, 0.0] };
        let why = |at| judge.why(at);
        let kept = Sample { queue: long, late: long, to_rest: 200, ..Sample::default() };
        assert!(judge.is_late(&kept) && !judge.is_late(&first.samples[2]));
        assert!(matches!(why(1), (Label::Stage, d) if d.starts_with("decoder")));
        assert!(matches!(why(2), (Label::Queue, d) if d.starts_with("behind frame 1")));
        assert!(matches!(why(4), (Label::SchedulerGap, d) if d.contains("ran somebody else")));
        assert!(matches!(why(6), (Label::Journal, _)));
    }
}
