//! What a run says at its end: one stable JSON object, or a table for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use kimera_protocol::TradingState;
use kimera_protocol::fixed::{UNIT_DECIMALS, format_decimal};
use kimera_runtime::MarketClock;
use kimera_runtime::counters::{Quantiles, Snapshot};
use kimera_runtime::memory::ArenaReport;
use kimera_runtime::plan::Plan;
use kimera_venues::binance::account::AccountState;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::engine::control::state_name;
use crate::engine::recovery::RecoveryReport;
use crate::exit::Failure;
use crate::sessions::{SessionLine, sessions, table};
use crate::state::State;

/// Version of every JSON object the program prints.
pub const SCHEMA_VERSION: u32 = 1;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The recording is over.
    TapeEnded,
    /// The market time asked for is over.
    TimeReached,
    /// A signal.
    Interrupted,
    /// No supervisor has come back.
    SupervisorGone,
    /// By the control socket.
    Asked,
}

/// Latencies in nanoseconds, as the summary carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Quantiles by their usual names.
pub struct LatencyRow {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    pub count: u64,
}

impl From<Quantiles> for LatencyRow {
    fn from(q: Quantiles) -> Self {
        Self { p50: q.p50, p90: q.p90, p99: q.p99, p999: q.p999, max: q.max, count: q.count }
    }
}

/// The latency part of the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From the socket read of a frame to the end of its evaluation at a mark.
    pub frame_to_mark: LatencyRow,
    /// From the socket read of a frame to the signed bytes of an order that it caused.
    pub frame_to_order: LatencyRow,
    /// The same, until the socket has taken the bytes.
    pub frame_to_socket: LatencyRow,
    /// Sampled handler times and commit times.
    pub stages: BTreeMap<String, LatencyRow>,
    /// Times the machine kept an idle core thread away, by thread.
    pub hiccups: BTreeMap<String, LatencyRow>,
}

impl Latency {
    /// Every row with its name, in the order of the table.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, LatencyRow)> {
        let mut rows = vec![
            ("frame to mark".to_owned(), self.frame_to_mark),
            ("frame to order".to_owned(), self.frame_to_order),
            ("frame to socket".to_owned(), self.frame_to_socket),
        ];
        rows.extend(self.stages.iter().map(|(name, row)| (name.clone(), *row)));
        rows.extend(self.hiccups.iter().map(|(name, row)| (format!("hiccups {name}"), *row)));
        rows
    }
}

/// Whether the books agree: with themselves, and with the venue's own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSummary {
    /// Every commodity sums to nothing over all accounts.
    pub balanced: bool,
    /// Position and money are what the venue says; `None` where it did not answer.
    pub venue_match: Option<bool>,
}

/// How the members counted, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightSummary {
    /// At the start.
    pub start: BTreeMap<String, f64>,
    /// At the end.
    pub end: BTreeMap<String, f64>,
}

/// What the members of the ensemble did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsembleSummary {
    /// Votes by member.
    pub votes: BTreeMap<String, u64>,
    /// Marks at which a member abstained.
    pub abstained: BTreeMap<String, u64>,
    /// Forecasts whose outcome is known.
    pub resolved: u64,
    /// Times the weights have changed.
    pub reweighted: u64,
    /// Decisions whose quotes leaned on the forecast.
    pub leaned: u64,
    /// Questions to the decision cache, those it answered, and those whose answer was right and too old.
    #[serde(default)]
    pub cache: CacheCounts,
}

/// What the decision cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Said above.
pub struct CacheCounts {
    pub lookups: u64,
    pub hits: u64,
    pub expired: u64,
}

impl CacheCounts {
    fn of(counters: &Snapshot) -> Self {
        let of = |how: &str| counters.counter(&format!("ensemble.cache.{how}"));
        let (hits, expired) = (of("hits"), of("expired"));
        Self { lookups: hits + expired + of("misses"), hits, expired }
    }
}

/// Result of the run, decimals of the quote asset as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pnl {
    /// Of what was closed, before fees.
    pub realised: String,
    /// Of what is open, at the last mid.
    pub unrealised: String,
    /// Paid; negative where rebates are larger.
    pub fees: String,
    /// All of it.
    pub net: String,
    /// What is still held, in the base asset.
    pub position: String,
}

/// What a feed counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Counters by their names.
pub struct FeedCounts {
    pub frames: u64,
    pub slow_path_frames: u64,
    pub undecodable_frames: u64,
    pub conflated_tickers: u64,
    pub gaps: u64,
    pub connections: u64,
    pub snapshots: u64,
}

/// What the engine leaves in its state directory and the launcher prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSummary {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Kind of run.
    pub mode: String,
    /// What the line of this build does.
    pub line: String,
    /// Why it ended.
    pub ended: EndReason,
    /// Start of an engine in this state directory.
    pub incarnation: u64,
    /// Core plan.
    pub plan: String,
    /// Market time covered.
    pub market_seconds: f64,
    /// Sequenced inputs.
    pub events: u64,
    /// Evaluations.
    pub marks: u64,
    /// Marks that reached strategy, holds included.
    pub decisions: u64,
    /// Orders that passed risk and compliance.
    pub orders: u64,
    /// Orders whose bytes left.
    pub orders_sent: u64,
    /// Fills booked.
    pub fills: u64,
    /// Why decisions quoted nothing.
    pub holds: BTreeMap<String, u64>,
    /// Alerts by detector.
    #[serde(default)]
    pub alerts: BTreeMap<String, u64>,
    /// Matches by pattern.
    #[serde(default)]
    pub matches: BTreeMap<String, u64>,
    /// Orders that did not pass, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Whether the books agree.
    pub ledger: LedgerSummary,
    /// Result.
    pub pnl: Pnl,
    /// The members' weights.
    pub weights: WeightSummary,
    /// The members.
    pub ensemble: EnsembleSummary,
    /// Sessions, by place.
    #[serde(default)]
    pub sessions: Vec<SessionLine>,
    /// What the kill word says at the end.
    pub trading: String,
    /// By feed.
    pub feeds: BTreeMap<String, FeedCounts>,
    /// Nanoseconds.
    pub latency_ns: Latency,
    /// Allocations of sealed seats after start: 0.
    pub sealed_allocations: u64,
    /// Locked memory.
    pub arena_bytes: u64,
    /// True where it is locked.
    pub arena_locked: bool,
    /// It lies in huge pages that were kept for it.
    #[serde(default)]
    pub huge_pages_kept: bool,
    /// What was taken up from an earlier start.
    pub recovery: Option<RecoveryReport>,
    /// What the machine refused.
    pub degraded: Vec<String>,
    /// Folder of the journal.
    pub journal: String,
}

/// What a summary is made from.
pub struct Facts<'a> {
    /// Counters at the end.
    pub counters: &'a Snapshot,
    /// Configuration.
    pub config: &'a Config,
    /// Core plan.
    pub plan: &'a Plan,
    /// Market clock.
    pub clock: &'a MarketClock,
    /// Market time at the end.
    pub market_end: i64,
    /// Why it ended.
    pub ended: EndReason,
    /// State directory.
    pub state: &'a State,
    /// Locked memory.
    pub arena: &'a ArenaReport,
    /// What the venue says of our account.
    pub venue: Option<AccountState>,
    /// What the kill word says.
    pub trading: TradingState,
    /// What was taken up from an earlier start.
    pub recovery: Option<RecoveryReport>,
    /// What the machine refused.
    pub degraded: Vec<String>,
}

impl EngineSummary {
    /// The summary of a run.
    ///
    /// # Errors
    /// Where the configuration makes no instruments, which it did at the start.
    pub fn new(facts: &Facts<'_>) -> Result<Self, Failure> {
        let counters = facts.counters;
        let gateway = &facts.config.account.gateway;
        let (ledger, pnl) = money_summary(facts)?;
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            mode: "paper-recorded".into(),
            line: "market making".into(),
            ended: facts.ended,
            incarnation: counters.incarnation,
            plan: facts.plan.name.clone(),
            market_seconds: (facts.market_end - facts.clock.origin) as f64 / 1e9,
            events: counters.counter("sequencer.seq"),
            marks: counters.counter("sequencer.marks"),
            decisions: counters.counter("strategy.decisions"),
            orders: counters.counter("compliance.orders"),
            orders_sent: counters.counter(&format!("{gateway}.sent")),
            fills: counters.counter("ledger.fills"),
            holds: by_reason(counters, "strategy.hold."),
            alerts: alerts(counters),
            matches: by_reason(counters, "patterns.matches."),
            refused: refusals(counters),
            ledger,
            pnl,
            weights: weights(facts),
            ensemble: EnsembleSummary {
                votes: by_reason(counters, "ensemble.votes."),
                abstained: by_reason(counters, "ensemble.abstained."),
                resolved: counters.counter("ensemble.resolved"),
                reweighted: counters.counter("ensemble.weight_epoch"),
                leaned: counters.counter("strategy.leaned"),
                cache: CacheCounts::of(counters),
            },
            sessions: sessions(counters),
            trading: state_name(facts.trading).into(),
            feeds: feeds(counters),
            latency_ns: latency(counters, gateway),
            sealed_allocations: sum_of(counters, ".sealed_allocations"),
            arena_bytes: facts.arena.used_bytes as u64,
            arena_locked: facts.arena.locked,
            huge_pages_kept: facts.arena.huge_pages_kept,
            recovery: facts.recovery.clone(),
            degraded: facts.degraded.clone(),
            journal: facts.state.layout().journal().display().to_string(),
        })
    }

    /// The table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} ({}), incarnation {}, plan {}",
            self.mode, self.line, self.incarnation, self.plan
        );
        let _ = writeln!(
            text,
            "  {:.1} s of market time, {} sequenced inputs, {} marks",
            self.market_seconds, self.events, self.marks
        );
        self.trading_text(&mut text);
        let _ = writeln!(
            text,
            "\n  feed           frames  slow path  undecodable  conflated  gaps  connections  snapshots"
        );
        for (name, f) in &self.feeds {
            let _ = writeln!(
                text,
                "  {name:<12} {:>8} {:>10} {:>12} {:>10} {:>5} {:>12} {:>10}",
                f.frames,
                f.slow_path_frames,
                f.undecodable_frames,
                f.conflated_tickers,
                f.gaps,
                f.connections,
                f.snapshots
            );
        }
        let _ = writeln!(
            text,
            "\n  latency, ns                 p50       p90       p99     p99.9        max      count"
        );
        let mut row = |name: &str, q: &LatencyRow| {
            let _ = writeln!(
                text,
                "  {name:<20} {:>10} {:>9} {:>9} {:>9} {:>10} {:>10}",
                q.p50, q.p90, q.p99, q.p999, q.max, q.count
            );
        };
        self.latency_ns.rows().iter().for_each(|(name, q)| row(name, q));
        let locked = match (self.arena_locked, self.huge_pages_kept) {
            (true, true) => "locked, in huge pages kept for them",
            (true, false) => "locked",
            (false, _) => "not locked",
        };
        let _ = writeln!(
            text,
            "\n  {:.1} MiB of rings and books, {locked}; {} allocations in sealed seats",
            self.arena_bytes as f64 / 1_048_576.0,
            self.sealed_allocations
        );
        if let Some(r) = &self.recovery {
            let explained = if r.explained { "explained" } else { "NOT EXPLAINED" };
            let _ = writeln!(
                text,
                "  recovered: {} inputs behind input {} in {:.2} s (tail {}), {} orders working, {} orphans, {} fills found, {explained}",
                r.inputs, r.snapshot, r.seconds, r.tail, r.orders_working, r.orphans, r.fills_found
            );
        }
        for line in &self.degraded {
            let _ = writeln!(text, "  degraded: {line}");
        }
        let _ = writeln!(text, "  journal: {}", self.journal);
        text
    }
}

impl EngineSummary {
    fn trading_text(&self, text: &mut String) {
        let venue = match self.ledger.venue_match {
            Some(true) => "agrees with the venue",
            Some(false) => "DISAGREES WITH THE VENUE",
            None => "not compared with the venue",
        };
        let balanced = if self.ledger.balanced { "balanced" } else { "NOT BALANCED" };
        let _ = writeln!(
            text,
            "\n  {} decisions, {} orders, {} sent, {} fills; ledger {balanced}, {venue}; trading {}",
            self.decisions, self.orders, self.orders_sent, self.fills, self.trading
        );
        let p = &self.pnl;
        let _ = writeln!(
            text,
            "  P&L {} = realised {} + unrealised {} - fees {}; position {}",
            p.net, p.realised, p.unrealised, p.fees, p.position
        );
        if self.sessions.len() > 1 {
            let _ = writeln!(text, "{}", table(&self.sessions));
        }
        let e = &self.ensemble;
        let _ = writeln!(
            text,
            "  {} forecasts resolved, weights changed {} times, {} decisions leaned on the forecast",
            e.resolved, e.reweighted, e.leaned
        );
        if e.cache.lookups > 0 {
            let CacheCounts { lookups, hits, expired } = e.cache;
            let share = 100.0 * hits as f64 / lookups as f64;
            let _ = writeln!(
                text,
                "  decision cache: {hits} of {lookups} were remembered ({share:.1} %), {expired} more were too old"
            );
        }
        for (name, end) in &self.weights.end {
            let start = self.weights.start.get(name).copied().unwrap_or_default();
            let votes = e.votes.get(name).copied().unwrap_or_default();
            let _ = writeln!(text, "    {name:<14} weight {start:.3} to {end:.3}, {votes} votes");
        }
        for (what, counts) in [
            ("held", &self.holds),
            ("refused", &self.refused),
            ("suspected", &self.alerts),
            ("matched", &self.matches),
        ] {
            if !counts.is_empty() {
                let rows: Vec<_> = counts.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
                let _ = writeln!(text, "  {what}: {}", rows.join(", "));
            }
        }
    }
}

/// Weights at the start as configured, at the end as published (the bits of a float).
fn weights(facts: &Facts<'_>) -> WeightSummary {
    let ensemble = facts.config.ensemble_config();
    let start = ensemble.members.iter().cloned().zip(ensemble.prior).collect();
    let end = ensemble.members.iter().map(|name| {
        let bits = facts.counters.counter(&format!("ensemble.weight.{name}"));
        (name.clone(), f64::from_bits(bits))
    });
    WeightSummary { start, end: end.collect() }
}

/// Units of 1e-8 as a decimal.
#[must_use]
pub fn money(units: i64) -> String {
    format_decimal(i128::from(units), UNIT_DECIMALS).as_str().to_owned()
}

/// Result of the run and whether the books agree. Equity is money plus the position at the last mid; what is not
/// realised is what is left when fees and the realised part are taken out.
fn money_summary(facts: &Facts<'_>) -> Result<(LedgerSummary, Pnl), Failure> {
    let signed = |name: &str| facts.counters.counter(name) as i64;
    let capital = facts.config.capital().map_err(Failure::configuration)?;
    let instruments = facts.config.instruments().map_err(Failure::configuration)?;
    let value: i128 = instruments
        .iter()
        .map(|i| {
            let position = i128::from(signed(&format!("ledger.position.{}", i.id.0)));
            let doubled = i128::from(signed(&format!("ledger.doubled_mid.{}", i.id.0)));
            position * doubled * i128::from(i.tick_units) / 2 / 100_000_000
        })
        .sum();
    let (cash, fees, realised) = (signed("ledger.cash"), signed("ledger.fees"), signed("ledger.realised"));
    let net = i64::try_from(i128::from(cash) + value - i128::from(capital)).unwrap_or(i64::MAX);
    let traded = facts.config.traded_id().0;
    let position = signed(&format!("ledger.position.{traded}"));
    let pnl = Pnl {
        realised: money(realised),
        unrealised: money(net.saturating_sub(realised).saturating_add(fees)),
        fees: money(fees),
        net: money(net),
        position: money(position),
    };
    let venue_match = facts.venue.map(|v| v.position == position && v.cash == Some(cash));
    Ok((LedgerSummary { balanced: signed("ledger.balanced") == 1, venue_match }, pnl))
}

/// Counters under a prefix that are not zero, by the rest of their names.
fn by_reason(counters: &Snapshot, prefix: &str) -> BTreeMap<String, u64> {
    let under = counters.counters.iter().filter_map(|(label, n)| Some((label.strip_prefix(prefix)?, *n)));
    under.filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.to_owned(), n)).collect()
}

/// The detectors' and compliance's.
fn alerts(counters: &Snapshot) -> BTreeMap<String, u64> {
    let mut all = by_reason(counters, "cep.alerts.");
    all.extend(by_reason(counters, "compliance.alerts."));
    all
}

fn refusals(counters: &Snapshot) -> BTreeMap<String, u64> {
    let mut all = by_reason(counters, "risk.refused.");
    for (reason, n) in by_reason(counters, "compliance.refused.") {
        *all.entry(reason).or_default() += n;
    }
    all
}

fn feeds(counters: &Snapshot) -> BTreeMap<String, FeedCounts> {
    let names = counters.counters.iter().filter_map(|(label, _)| label.strip_suffix(".slow_path_frames"));
    let count = |name: &str, what: &str| counters.counter(&format!("{name}.{what}"));
    names
        .map(|name| {
            let feed = FeedCounts {
                frames: count(name, "frames"),
                slow_path_frames: count(name, "slow_path_frames"),
                undecodable_frames: count(name, "undecodable_frames"),
                conflated_tickers: count(name, "conflated_tickers"),
                gaps: count(name, "gaps"),
                connections: count(name, "connections"),
                snapshots: count(name, "snapshots"),
            };
            (name.to_owned(), feed)
        })
        .collect()
}

/// The latency part of a summary, from counters.
#[must_use]
pub fn latency(counters: &Snapshot, gateway: &str) -> Latency {
    let mut latency = Latency {
        frame_to_mark: counters.histogram("market.mark_age_ns").into(),
        frame_to_order: counters.histogram(&format!("{gateway}.frame_to_order_ns")).into(),
        frame_to_socket: counters.histogram(&format!("{gateway}.frame_to_socket_ns")).into(),
        ..Latency::default()
    };
    for (label, quantiles) in &counters.histograms {
        let row = LatencyRow::from(*quantiles);
        if let Some(name) = label.strip_suffix(".residence_ns") {
            latency.stages.insert(name.to_owned(), row);
        } else if let Some(name) = label.strip_prefix("thread.").and_then(|l| l.strip_suffix(".gap_ns")) {
            latency.hiccups.insert(name.to_owned(), row);
        } else if label == "journal.commit_ns" {
            latency.stages.insert("journal commit".to_owned(), row);
        }
    }
    latency
}

fn sum_of(counters: &Snapshot, suffix: &str) -> u64 {
    counters.counters.iter().filter(|(label, _)| label.ends_with(suffix)).map(|(_, value)| value).sum()
}
