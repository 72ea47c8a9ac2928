//! The live line: how a run goes, once a second.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use kimera_runtime::counters::Snapshot;

use crate::report::money;

/// The live line: one a second; drawn over itself on a terminal.
pub struct LiveLine {
    terminal: bool,
    next: Instant,
    events: u64,
    drawn: bool,
}

impl Default for LiveLine {
    /// A line that has said nothing yet.
    fn default() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            next: Instant::now() + Duration::from_secs(1),
            events: 0,
            drawn: false,
        }
    }
}

impl LiveLine {
    /// Says how it goes, if a second has passed.
    pub fn tick(&mut self, counters: &Path) {
        if Instant::now() < self.next {
            return;
        }
        self.next += Duration::from_secs(1);
        let Ok(snapshot) = Snapshot::of_file(counters) else { return };
        let time = snapshot.counter("sequencer.market_time_ns");
        let of_day = time / 1_000_000_000 % 86_400;
        let clock = format!("{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60);
        let events = snapshot.counter("sequencer.seq");
        let age = snapshot.histogram("market.mark_age_ns");
        let (start, end) =
            (snapshot.counter("engine.market_start_ns"), snapshot.counter("engine.market_end_ns"));
        let share = time.saturating_sub(start) as f64 / end.saturating_sub(start).max(1) as f64;
        let bar = if end > start { bar(share) } else { String::new() };
        let cash = snapshot.counter("ledger.cash") as i64;
        let text = format!(
            "{clock}{bar}  {events} inputs (+{}/s)  {} marks  {} orders  {} fills  cash {:.9}  frame to mark p50 {:.1} us p99 {:.1} us",
            events.saturating_sub(self.events),
            snapshot.counter("sequencer.marks"),
            snapshot.counter("compliance.orders"),
            snapshot.counter("ledger.fills"),
            money(cash),
            age.p50 as f64 / 1e3,
            age.p99 as f64 / 1e3,
        );
        self.events = events;
        let mut err = std::io::stderr();
        let _ = if self.terminal { write!(err, "\r\x1b[2K{text}") } else { writeln!(err, "{text}") };
        let _ = err.flush();
        self.drawn = true;
    }

    /// Ends the line on a terminal.
    pub fn end(&mut self) {
        if self.drawn && self.terminal {
            let _ = writeln!(std::io::stderr());
        }
        self.drawn = false;
    }
}

fn bar(share: f64) -> String {
    const WIDTH: usize = 20;
    let filled = ((share.clamp(0.0, 1.0) * WIDTH as f64).round() as usize).min(WIDTH);
    format!(
        "  [{}{}] {:>3.0} %",
        "#".repeat(filled),
        "-".repeat(WIDTH - filled),
        share.clamp(0.0, 1.0) * 100.0
    )
}
