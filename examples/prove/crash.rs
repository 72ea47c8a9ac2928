//! `kill -9` at named places: what comes after has every order, every fill once, and the venue's own account.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cases::Cases;
use crate::run::{Folder, profile, program};

/// Places, each with the largest count at which it is reached within a run, and what else dies on the way.
const PLACES: [(&str, u64, &str); 10] = [
    ("gateway.before_order", 40, ""),
    ("gateway.after_order", 40, ""),
    ("gateway.ack", 40, ""),
    ("gateway.fill", 6, ""),
    ("gateway.cancel", 30, ""),
    ("journal.before_write", 300, ""),
    ("journal.after_sync", 300, ""),
    // A recovery that is killed recovers too.
    ("gateway.after_order", 40, ",recovery.replayed:1@2"),
    ("gateway.after_order", 40, ",recovery.asked:1@2"),
    ("gateway.fill", 4, ",recovery.replayed:1@2,recovery.asked:1@3"),
];

/// What the venue holds: every order by its client's identity, and every trade.
pub struct Venue {
    pub orders: BTreeSet<String>,
    pub open: usize,
    pub trades: BTreeSet<u64>,
}

impl Venue {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut venue = Self { orders: BTreeSet::new(), open: 0, trades: BTreeSet::new() };
        let mut standing: BTreeMap<u64, i64> = BTreeMap::new();
        for line in text.lines() {
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            let happening = &record["happening"];
            if let Some(a) = happening.get("Accepted") {
                venue.orders.insert(a["placement"]["client_id"].as_str().unwrap_or_default().to_owned());
                standing.insert(
                    a["order_id"].as_u64().unwrap_or(0),
                    a["placement"]["size"].as_i64().unwrap_or(0),
                );
            } else if let Some(f) = happening.get("Filled") {
                venue.trades.insert(f["trade_id"].as_u64().unwrap_or(0));
                let id = f["order_id"].as_u64().unwrap_or(0);
                if standing.get(&id) == f["total"].as_i64().as_ref() {
                    standing.remove(&id);
                }
            } else if let Some(e) = happening.get("Canceled").or_else(|| happening.get("Expired")) {
                standing.remove(&e["order_id"].as_u64().unwrap_or(0));
            }
        }
        venue.open = standing.len();
        venue
    }
}

/// What our journal holds of it.
#[derive(Default)]
pub struct Journal {
    pub orders: BTreeSet<String>,
    pub orphans: usize,
    pub trades: BTreeSet<u64>,
}

impl Journal {
    pub fn read(state: &Path) -> Self {
        let output =
            Command::new(program()).args(["journal", "cat", state.to_str().unwrap()]).output().unwrap();
        let mut journal = Self::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let wanted = ["\"new-order\"", "\"orphan-adopted\"", "\"order-update\""];
            if !wanted.iter().any(|w| line.contains(w)) {
                continue;
            }
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            let body = &record["body"];
            let id = body["id"].as_str().unwrap_or_default().to_owned();
            match record["kind"].as_str() {
                Some("new-order") => drop(journal.orders.insert(id)),
                Some("orphan-adopted") => {
                    journal.orphans += 1;
                    journal.orders.insert(id);
                }
                _ => {
                    let trade = body["trade_id"].as_u64().filter(|t| *t > 0);
                    journal.trades.extend(trade);
                }
            }
        }
        journal
    }
}

/// What one run came to.
struct Outcome {
    reached: bool,
    faults: Vec<String>,
    fills: usize,
    orphans: usize,
}

fn run(folder: &Folder, name: &str, config: &Path, failpoint: &str, more: &[&str]) -> Outcome {
    let state = folder.join(name);
    let output = Command::new(program())
        .args(["supervise", "--json", "--for", "50s", "--speed", "25", "--config", config.to_str().unwrap()])
        .args(["--state", state.to_str().unwrap()])
        .args(more)
        .env("KIMERA_FAILPOINT", failpoint)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let (venue, journal) = (Venue::read(&state.join("venue-account.jsonl")), Journal::read(&state));
    let replay = Command::new(program()).args(["replay", state.to_str().unwrap()]).output().unwrap();
    let mut faults = Vec::new();
    let mut check = |good: bool, what: String| {
        if !good {
            faults.push(what);
        }
    };
    check(output.status.code() == Some(0), format!("it ended with {:?}", output.status.code()));
    let untracked: Vec<_> = venue.orders.difference(&journal.orders).collect();
    check(untracked.is_empty(), format!("untracked orders {untracked:?}"));
    check(venue.open == 0, format!("{} orders left at the venue", venue.open));
    check(
        venue.trades == journal.trades,
        format!("{} trades, {} known", venue.trades.len(), journal.trades.len()),
    );
    check(
        summary["fills"].as_u64() == Some(venue.trades.len() as u64),
        format!("{} fills booked", summary["fills"]),
    );
    check(summary["ledger"]["balanced"] == true, "not balanced".into());
    check(summary["ledger"]["venue_match"] == true, format!("accounts differ: {}", summary["degraded"]));
    check(replay.status.success(), format!("replay: {}", String::from_utf8_lossy(&replay.stdout).trim()));
    if !faults.is_empty() {
        // What went wrong, and not all that happened: a line that is too long is not read.
        let log = std::fs::read_to_string(state.join("engine.log")).unwrap_or_default();
        let bad = |line: &&str| line.contains(" ERROR ") || line.contains(" WARN ");
        let worst: Vec<&str> = log.lines().filter(bad).collect();
        faults.push(format!("log: {}", worst[worst.len().saturating_sub(12)..].join(" | ")));
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        faults.push(format!("supervisor: {}", last.join(" | ")));
    }
    let expected = 1 + failpoint.split(',').filter(|f| !f.is_empty()).count() as u64;
    Outcome {
        reached: summary["incarnation"].as_u64() == Some(expected),
        faults,
        fills: venue.trades.len(),
        orphans: journal.orphans,
    }
}

pub fn prove(cases: &mut Cases, seed: u64, runs: u64) {
    let folder = Folder::new("crash");
    // Quotes that are filled often, so that fills are among what is lost.
    let config = folder.join("busy.toml");
    let changes = [
        ("maker_fee_bps = 2.0", "maker_fee_bps = 0.0"),
        ("fill_decay_per_tick = 0.015", "fill_decay_per_tick = 0.2"),
        ("volatility_bars_min = 20", "volatility_bars_min = 3"),
        ("requote_interval_ms = 1000", "requote_interval_ms = 300"),
        ("orders_free = 1000", "orders_free = 1000000"),
    ];
    std::fs::write(&config, profile(&changes)).unwrap();
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random >> 33
    };
    let mut reached: BTreeMap<String, u64> = BTreeMap::new();
    let (mut fills, mut orphans) = (0, 0);
    for i in 0..runs {
        let (place, most, more) = PLACES[(i % PLACES.len() as u64) as usize];
        let count = 1 + next() % most;
        let failpoint = format!("{place}:{count}@1{more}");
        let outcome = run(&folder, &format!("run-{i}"), &config, &failpoint, &[]);
        *reached.entry(format!("{place}{more}")).or_default() += u64::from(outcome.reached);
        (fills, orphans) = (fills + outcome.fills, orphans + outcome.orphans);
        let found = format!("{} fills, {} orphans", outcome.fills, outcome.orphans);
        let found = if outcome.faults.is_empty() { found } else { outcome.faults.join("; ") };
        cases.holds(&failpoint, outcome.faults.is_empty(), found);
        let _ = std::fs::remove_dir_all(folder.join(&format!("run-{i}")));
    }
    for (place, n) in &reached {
        cases.holds(
            &format!("reached: {place}"),
            *n >= 1 || runs < PLACES.len() as u64,
            format!("{n} times"),
        );
    }
    cases.note(&format!("{fills} fills, {orphans} orphans adopted, seed {seed}"));
    // With gated durability nothing leaves that the journal could forget.
    let gated = folder.join("gated.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&gated, text.replace("durability = \"async\"", "durability = \"gated\"")).unwrap();
    let outcome = run(&folder, "gated", &gated, "gateway.after_order:15@1", &[]);
    cases.holds(
        "gated: killed right after an order, and no orphan",
        outcome.reached && outcome.faults.is_empty() && outcome.orphans == 0,
        format!("{} orphans; {}", outcome.orphans, outcome.faults.join("; ")),
    );
    let control = run(&folder, "control", &config, "gateway.after_order:20@1", &["--drop-fill", "1"]);
    cases.is("control: a fill the venue tells nobody of is missed", true, !control.faults.is_empty());
}
