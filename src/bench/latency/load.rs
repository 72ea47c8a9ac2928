//! An open loop: frames come when they come, whether the line is done with the one before or not. What a frame waits for its
//! turn counts.

use kimera_protocol::RollingHash;
use kimera_runtime::clock::Tsc;
use kimera_runtime::process;
use serde::Serialize;

use super::super::pipeline::{Frames, Pipeline};
use super::super::waterfall::Observer;

/// When frames come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// So many a second, evenly.
    Paced(u64),
    /// As they were recorded, so many times as fast.
    Recorded(u64),
    /// Each when the line is at rest: nothing waits. Not an open loop.
    Closed,
}

impl Load {
    /// For tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Paced(rate) => format!("paced {rate}/s"),
            Self::Recorded(1) => "as recorded".into(),
            Self::Recorded(speed) => format!("as recorded, {speed} times as fast"),
            Self::Closed => "one at a time".into(),
        }
    }

    /// When frame `index` is due, ns behind frame `first`.
    fn due(self, frames: &Frames, first: usize, index: usize) -> u64 {
        match self {
            Self::Paced(rate) => (index - first) as u64 * 1_000_000_000 / rate.max(1),
            Self::Recorded(speed) => {
                let behind = frames.received(index) - frames.received(first);
                behind.max(0).unsigned_abs() / speed.max(1)
            }
            Self::Closed => 0,
        }
    }

    /// The first frame of the busiest `seconds` behind frame `from`, where frames come as they were recorded; else `from`.
    #[must_use]
    pub fn begins_at(self, frames: &Frames, from: usize, seconds: f64) -> usize {
        let Self::Recorded(speed) = self else { return from };
        let wide = (seconds * 1e9) as i64 * i64::try_from(speed).unwrap_or(1);
        let (mut end, mut most, mut at) = (from, 0, from);
        let last = frames.received(frames.len().saturating_sub(1));
        for first in from..frames.len() {
            let begun = frames.received(first);
            if begun + wide > last && first > from {
                break;
            }
            while end < frames.len() && frames.received(end) <= begun + wide {
                end += 1;
            }
            if end - first > most {
                (most, at) = (end - first, first);
            }
        }
        at
    }

    /// How many of the frames from `first` on come within `seconds`.
    #[must_use]
    pub fn frames_within(self, frames: &Frames, first: usize, seconds: f64) -> usize {
        let most = (seconds * 1e9) as u64;
        let behind = |index: &usize| self.due(frames, first, *index) <= most;
        (first..frames.len()).take_while(behind).count()
    }
}

/// One frame, in ticks of the time-stamp counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its place in the recording.
    pub index: u32,
    /// From when it was due until it was looked at.
    pub queue: u32,
    /// How much of that the line had nothing else to do: it did not look.
    pub late: u32,
    /// From then until the first order was signed; 0 where it led to none.
    pub to_order: u32,
    /// From then until the line was at rest.
    pub to_rest: u32,
    /// The kernel took the core away meanwhile.
    pub switched: bool,
}

/// What a load measured.
#[derive(Default)]
pub struct Taken {
    /// A sample a frame; snapshots are none.
    pub samples: Vec<Sample>,
    /// Ticks of each stage, frame by frame, where they were asked for.
    pub stages: Vec<u32>,
    /// Times the thread was kept away while it waited for a frame, ticks.
    pub hiccups: Vec<u32>,
    /// From the first frame to the end of the last, ticks.
    pub ticks: u64,
    /// Hash of every order's bytes.
    pub fingerprint: u64,
}

/// A pass with nothing to do that took longer was none of the line's making, ns.
const GAP_NS: u64 = 2_000;
/// A frame that takes longer is asked whether the core was taken away.
const LONG_NS: u64 = 20_000;

/// Notes each stage of a frame; nothing where `stages` is 0.
struct Stages {
    stages: usize,
    since: u64,
    frame: usize,
    ticks: Vec<u32>,
}

impl Observer for Stages {
    #[inline]
    fn begin(&mut self, now: u64) {
        self.frame = self.ticks.len();
        self.ticks.resize(self.frame + self.stages, 0);
        self.since = now;
    }

    #[inline]
    fn done(&mut self, index: usize) {
        if self.stages > 0 {
            let now = Tsc::now();
            self.ticks[self.frame + index] += now.saturating_sub(self.since) as u32;
            self.since = now;
        }
    }

    #[inline]
    fn end(&mut self, _ordered: bool) {}
}

fn short(ticks: u64) -> u32 {
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Sends frames `first..first + count` as the load says.
pub fn run(
    pipeline: &mut Pipeline,
    frames: &Frames,
    load: Load,
    (first, count): (usize, usize),
    with_stages: bool,
    tsc: Tsc,
) -> Taken {
    let per_second = ticks_a_second(tsc);
    let to_ticks = |ns: u64| (u128::from(ns) * per_second / 1_000_000_000) as u64;
    let (gap, long) = (to_ticks(GAP_NS), to_ticks(LONG_NS));
    let stages = if with_stages { pipeline.stages().len() } else { 0 };
    let mut observer = Stages { stages, since: 0, frame: 0, ticks: Vec::with_capacity(count * stages) };
    let mut taken = Taken { samples: Vec::with_capacity(count), ..Taken::default() };
    let mut hash = RollingHash::default();
    taken.hiccups.reserve(1 << 16);
    let mut switches = process::involuntary_switches();
    pipeline.prepare(frames, first);
    let start = Tsc::now();
    for index in first..first + count {
        if index > first {
            pipeline.prepare(frames, index);
        }
        let due = match load {
            Load::Closed => Tsc::now(),
            _ => start + to_ticks(load.due(frames, first, index)),
        };
        let ready = Tsc::now();
        let mut last = ready;
        while last < due {
            pipeline.pass();
            let now = Tsc::now();
            if now.saturating_sub(last) > gap {
                taken.hiccups.push(short(now - last));
                switches = process::involuntary_switches();
            }
            last = now;
        }
        let moments = pipeline.send(frames, index, &mut hash, &mut observer);
        if frames.is_snapshot(index) {
            observer.ticks.truncate(observer.frame);
            continue;
        }
        let since_begun = |moment: u64| short(moment.saturating_sub(moments.begun));
        let mut sample = Sample {
            index: index as u32,
            queue: short(moments.begun.saturating_sub(due)),
            late: short(moments.begun.saturating_sub(due.max(ready))),
            to_order: moments.signed.map_or(0, since_begun),
            to_rest: since_begun(moments.rested),
            switched: false,
        };
        if u64::from(sample.to_rest) > long {
            let now = process::involuntary_switches();
            sample.switched = now != switches;
            switches = now;
        }
        taken.samples.push(sample);
    }
    taken.ticks = Tsc::now().saturating_sub(start);
    taken.stages = observer.ticks;
    taken.fingerprint = hash.value();
    taken
}

/// Ticks of the counter a second.
fn ticks_a_second(tsc: Tsc) -> u128 {
    const PROBE: u64 = 1 << 40;
    u128::from(PROBE) * 1_000_000_000 / u128::from(tsc.to_ns(PROBE).max(1))
}
