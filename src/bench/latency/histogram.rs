//! Histograms of latencies, and the two files that the standard HdrHistogram tools read.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use kimera_runtime::clock::Tsc;
use serde::Serialize;

use crate::exit::Failure;

/// Percentiles in the steps in which people look at a tail.
pub const PERCENTILES: [f64; 8] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 100.0];

/// A latency, ns.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// Nothing yet: from 1 ns to a minute, three digits.
    ///
    /// # Errors
    /// Never with these bounds.
    pub fn new() -> Result<Self, Failure> {
        Histogram::new_with_bounds(1, 60_000_000_000, 3).map(Self).map_err(Failure::defect)
    }

    /// Of ticks of the time-stamp counter.
    ///
    /// # Errors
    /// As [`Latency::new`].
    pub fn of(ticks: impl Iterator<Item = u64>, tsc: Tsc) -> Result<Self, Failure> {
        let mut latency = Self::new()?;
        ticks.for_each(|t| latency.record(tsc.to_ns(t)));
        Ok(latency)
    }

    /// Counts a value, ns.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// So many per cent of them take no longer, ns.
    #[must_use]
    pub fn at(&self, percentile: f64) -> u64 {
        self.0.value_at_percentile(percentile)
    }

    /// What a table shows.
    #[must_use]
    pub fn row(&self) -> Percentiles {
        Percentiles {
            p50: self.at(50.0),
            p90: self.at(90.0),
            p99: self.at(99.0),
            p999: self.at(99.9),
            p9999: self.at(99.99),
            max: if self.count() == 0 { 0 } else { self.0.max() },
            count: self.count(),
        }
    }

    /// Points of the percentile plot: five to each halving of what is left, up to the last value.
    #[must_use]
    pub fn curve(&self) -> Vec<Point> {
        let points = self.0.iter_quantiles(5);
        let point = |v: hdrhistogram::iterators::IterationValue<u64>| Point {
            percentile: v.quantile_iterated_to() * 100.0,
            ns: v.value_iterated_to(),
        };
        points.map(point).filter(|p| p.percentile < 100.0).collect()
    }

    /// The text that HdrHistogram's plotter reads (`.hgrm`), values in ns.
    #[must_use]
    pub fn hgrm(&self) -> String {
        let mut text = format!(
            "{:>12} {:>14} {:>10} {:>14}\n\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        );
        for v in self.0.iter_quantiles(5) {
            let (value, q) = (v.value_iterated_to(), v.quantile_iterated_to());
            let so_far = self.0.count_between(0, value);
            if q < 1.0 {
                let _ = writeln!(text, "{value:>12}.000 {q:>14.12} {so_far:>10} {:>14.2}", 1.0 / (1.0 - q));
            } else {
                let _ = writeln!(text, "{value:>12}.000 {q:>14.12} {so_far:>10}");
            }
        }
        let (mean, deviation) = (self.0.mean(), self.0.stdev());
        let _ = writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
        let _ =
            writeln!(text, "#[Max     = {:>12}.000, Total count    = {:>12}]", self.0.max(), self.0.len());
        let _ = writeln!(
            text,
            "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
            self.0.buckets(),
            self.0.distinct_values() * 2 / (usize::from(self.0.buckets()) + 1)
        );
        text
    }
}

/// What a table shows of a latency, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half of them.
    pub p50: u64,
    /// 9 of 10.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// 9,999 of 10,000.
    pub p9999: u64,
    /// The longest.
    pub max: u64,
    /// How many.
    pub count: u64,
}

/// A point of a percentile plot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// 0 to 100, without 100.
    pub percentile: f64,
    /// The latency.
    pub ns: u64,
}

/// A name as a file or a tag may have it.
#[must_use]
pub fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}

/// Writes all of them, each with its tag, as an interval log (`.hlog`).
///
/// # Errors
/// A name that is no tag; a disk that is full.
pub fn write_log(path: &Path, all: &[(String, Latency)], took: Duration) -> Result<(), Failure> {
    let failed =
        |e: &dyn std::fmt::Display| Failure::machine(format!("cannot write {}: {e}", path.display()));
    let mut serializer = V2DeflateSerializer::new();
    let mut text = Vec::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Latencies in ns]")
        .with_start_time(SystemTime::now())
        .with_base_time(UNIX_EPOCH)
        .with_max_value_divisor(1.0)
        .begin_log_with(&mut text, &mut serializer)
        .map_err(|e| failed(&e))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for (name, latency) in all {
        let name = plain(name);
        let tag = Tag::new(&name).ok_or_else(|| failed(&"a tag that is none"))?;
        log.write_histogram(&latency.0, since, took, Some(tag)).map_err(|e| failed(&format!("{e:?}")))?;
    }
    drop(log);
    std::fs::write(path, text).map_err(|e| failed(&e))
}
