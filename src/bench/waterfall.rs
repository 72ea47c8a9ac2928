//! Where the time of a frame goes, stage by stage: one look at the time-stamp counter between two neighbours.

use kimera_runtime::clock::Tsc;
use serde::{Deserialize, Serialize};

use super::Row;

/// Who is told when a stage is done. `()` is nobody, and costs nothing.
pub trait Observer {
    /// A frame begins.
    fn begin(&mut self, now: u64);
    /// Stage `index` is done.
    fn done(&mut self, index: usize);
    /// The frame has come to its end.
    fn end(&mut self, ordered: bool);
}

impl Observer for () {
    #[inline]
    fn begin(&mut self, _now: u64) {}
    #[inline]
    fn done(&mut self, _index: usize) {}
    #[inline]
    fn end(&mut self, _ordered: bool) {}
}

/// What one stage took, ns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// Its name.
    pub stage: String,
    /// What it took, with one look at the clock.
    pub took: Row,
}

/// Times every stage of the frames that lead to an order.
pub struct Waterfall {
    names: Vec<String>,
    since: u64,
    frame: Vec<u64>,
    kept: Vec<Vec<u64>>,
}

impl Waterfall {
    /// For stages of these names, in their order.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        let stages = names.len();
        Self { names, since: 0, frame: vec![0; stages], kept: vec![Vec::new(); stages] }
    }

    /// A row a stage, and behind them one that says what a look at the clock costs.
    #[must_use]
    pub fn rows(mut self, tsc: Tsc) -> Vec<StageRow> {
        let mut looks: Vec<u64> = (0..1_000).map(|_| Tsc::now()).collect();
        looks = looks.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        self.names.push("a look at the clock".into());
        self.kept.push(looks);
        let rows = self.names.into_iter().zip(&mut self.kept);
        rows.map(|(stage, ticks)| StageRow { stage, took: Row::of(ticks, tsc) }).collect()
    }
}

impl Observer for Waterfall {
    #[inline]
    fn begin(&mut self, now: u64) {
        self.frame.fill(0);
        self.since = now;
    }

    #[inline]
    fn done(&mut self, index: usize) {
        let now = Tsc::now();
        self.frame[index] += now.saturating_sub(self.since);
        self.since = now;
    }

    #[inline]
    fn end(&mut self, ordered: bool) {
        if ordered {
            self.frame.iter().zip(&mut self.kept).for_each(|(ticks, kept)| kept.push(*ticks));
        }
    }
}
