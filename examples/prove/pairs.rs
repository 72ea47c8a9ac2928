//! `kill -9` of two processes of a run at a time, again and again: what is left takes the run up, and at its end venue and
//! ledger agree, every order and fill is known, and the replay is identical.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kimera::claim::{Claim, Identity};
use kimera_runtime::process::kill;
use serde_json::{Value, json};

use crate::cases::Cases;
use crate::crash::{Journal, Venue};
use crate::run::{Folder, Run, profile, program};

/// Who can be killed.
const PROCESSES: [&str; 5] = ["engine", "supervisor", "venue", "guard", "shadow"];
/// Rounds in one run: the recording is over after some 70 s.
const ROUNDS_A_RUN: u64 = 8;
const SPEED: &str = "5";
/// As in the configuration of the proof, with some room.
const GUARD_SILENCE: Duration = Duration::from_millis(1_500);
const BACK: Duration = Duration::from_secs(40);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % n
    }
}

/// A run whose supervisor may be killed and started again.
struct Firm {
    run: Run,
    arguments: Vec<String>,
}

impl Firm {
    fn start(state: &Path, config: &Path, more: &[&str]) -> Self {
        let mut arguments = vec!["--config", config.to_str().unwrap(), "--speed", SPEED];
        arguments.extend(more);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let run = Run::start(state, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        Self { run, arguments }
    }

    fn known(&self) -> BTreeMap<String, Identity> {
        let holder = |name: &str| {
            Some((name.to_owned(), Claim::holder(&self.run.state.join(format!("{name}.lock")))?))
        };
        ["engine", "venue", "guard", "shadow"].into_iter().filter_map(holder).collect()
    }

    fn kill(&mut self, name: &str) {
        if name == "supervisor" {
            let _ = self.run.child.kill();
            let _ = self.run.child.wait();
        } else if let Some(identity) = self.known().get(name) {
            let _ = kill(identity.pid);
        }
    }

    /// A new supervisor, where the one before is gone.
    fn supervise(&mut self) {
        if self.run.child.try_wait().ok().flatten().is_some() {
            let state = self.run.state.clone();
            self.run = Run::start(&state, &self.arguments.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    /// Waits until the engine trades under a supervisor; what was halted is resumed.
    fn is_back(&mut self) -> bool {
        let deadline = Instant::now() + BACK;
        let mut since = None;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let all_live = self.known().len() == 4;
            let status = self.run.status().filter(|_| all_live);
            let trading = status.as_ref().map_or("", |s| s["trading"].as_str().unwrap_or_default());
            if trading == "halted" {
                self.run.ask("trading.resume", &json!({}));
            }
            let good = trading == "active" && status.is_some_and(|s| s["venue_ready"] == true);
            since = if good { since.or(Some(Instant::now())) } else { None };
            // For a while: one that has just been killed is not shown as gone yet.
            if since.is_some_and(|at| at.elapsed() > Duration::from_millis(300)) {
                return true;
            }
            if self.run.child.try_wait().ok().flatten().is_some() {
                return false;
            }
        }
        false
    }
}

impl Drop for Firm {
    fn drop(&mut self) {
        for identity in self.known().values() {
            let _ = kill(identity.pid);
        }
    }
}

fn config(folder: &Folder) -> PathBuf {
    let path = folder.join("busy.toml");
    let changes = [
        ("maker_fee_bps = 2.0", "maker_fee_bps = 0.0"),
        ("fill_decay_per_tick = 0.015", "fill_decay_per_tick = 0.2"),
        ("volatility_bars_min = 20", "volatility_bars_min = 3"),
        ("requote_interval_ms = 1000", "requote_interval_ms = 300"),
        ("orders_free = 1000", "orders_free = 1000000"),
        ("restarts = 3\n", "restarts = 100\n"),
        ("guard_silence_ms = 5000", "guard_silence_ms = 1500"),
        ("snapshot_every_ms = 60000", "snapshot_every_ms = 500"),
    ];
    std::fs::write(&path, profile(&changes)).unwrap();
    path
}

/// One round: two are killed, what is left goes on. What was wrong, if anything.
fn round(firm: &mut Firm, pair: [&str; 2], random: &mut Random) -> Result<String, String> {
    firm.kill(pair[0]);
    let apart = random.below(3) * 150;
    std::thread::sleep(Duration::from_millis(apart));
    firm.kill(pair[1]);
    let mut said = format!("{apart} ms apart");
    let alone = pair.contains(&"engine") && pair.contains(&"supervisor");
    if alone && random.below(2) == 0 {
        // Nobody comes: the guard halts and takes everything back. An engine that was just started again goes too.
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(100));
            firm.kill("engine");
        }
        std::thread::sleep(GUARD_SILENCE + Duration::from_millis(1_500));
        let open = Venue::read(&firm.run.state.join("venue-account.jsonl")).open;
        if open > 0 {
            return Err(format!("{open} orders stand though nobody is there but the guard"));
        }
        said.push_str(", left alone: the guard took everything back");
    } else {
        std::thread::sleep(Duration::from_millis(random.below(4) * 100));
    }
    firm.supervise();
    let begun = Instant::now();
    if !firm.is_back() {
        let said = ["supervisor", "venue", "guard", "engine", "shadow"].map(|name| {
            let log = std::fs::read_to_string(firm.run.state.join(format!("{name}.log")));
            let log = log.unwrap_or_default();
            let last: Vec<_> = log.lines().rev().filter(|l| !l.contains(" inputs (")).take(3).collect();
            format!("{name}: {}", last.join(" | "))
        });
        let (known, ended) = (firm.known(), firm.run.child.try_wait());
        return Err(format!("it does not trade again: {known:?}, supervisor {ended:?}; {}", said.join("; ")));
    }
    // Orders stand again before the next blow.
    firm.run.wait(Duration::from_secs(3), |s| s["orders"]["working"].as_u64() > Some(0));
    Ok(format!("{said}, trading again after {:.1} s", begun.elapsed().as_secs_f64()))
}

/// What is wrong at the end of a run.
fn faults(state: &Path, summary: &Value) -> Vec<String> {
    let (venue, journal) = (Venue::read(&state.join("venue-account.jsonl")), Journal::read(state));
    let replay = Command::new(program()).args(["replay", state.to_str().unwrap()]).output().unwrap();
    let mut faults = Vec::new();
    let mut check = |good: bool, what: String| {
        if !good {
            faults.push(what);
        }
    };
    let untracked: Vec<_> = venue.orders.difference(&journal.orders).collect();
    check(untracked.is_empty(), format!("untracked orders {untracked:?}"));
    check(venue.open == 0, format!("{} orders left at the venue", venue.open));
    check(venue.trades == journal.trades, "fills differ".into());
    check(summary["ledger"]["balanced"] == true, "not balanced".into());
    check(summary["ledger"]["venue_match"] == true, format!("accounts differ: {}", summary["degraded"]));
    let shadow = kimera::shadow::last_status(&kimera::state::Layout::of(state));
    let agrees = shadow.as_ref().is_some_and(|s| s.difference.is_none() && s.seq == s.journal_seq);
    check(agrees, format!("shadow: {shadow:?}"));
    check(replay.status.success(), format!("replay: {}", String::from_utf8_lossy(&replay.stdout).trim()));
    faults
}

/// A venue that tells nobody of a fill.
fn control(cases: &mut Cases, folder: &Folder, config: &Path) {
    let state = folder.join("control");
    let mut firm = Firm::start(&state, config, &["--drop-fill", "1"]);
    firm.is_back();
    firm.run.wait(Duration::from_secs(60), |_| {
        !Venue::read(&state.join("venue-account.jsonl")).trades.is_empty()
    });
    firm.kill("engine");
    std::thread::sleep(Duration::from_millis(300));
    firm.is_back();
    firm.run.ask("shutdown", &json!({}));
    let summary = firm.run.wait_for_summary().unwrap_or_default();
    let found = faults(&state, &summary);
    cases.holds(
        "control: a fill that the venue tells nobody of is missed",
        found.iter().any(|f| f == "fills differ"),
        found.join("; "),
    );
}

pub fn prove(cases: &mut Cases, seed: u64, rounds: u64) {
    let folder = Folder::new("pairs");
    let config = config(&folder);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut done, mut runs, mut fills, mut starts, mut behind_snapshots) = (0, 0, 0, 0, 0);
    while done < rounds {
        let state = folder.join(&format!("run-{runs}"));
        let mut firm = Firm::start(&state, &config, &[]);
        if !firm.is_back() {
            cases.holds("a run starts", false, "it does not trade");
            return;
        }
        let mut broken = false;
        for _ in 0..ROUNDS_A_RUN.min(rounds - done) {
            let first = random.below(5);
            let second = (first + 1 + random.below(4)) % 5;
            let pair = [PROCESSES[first as usize], PROCESSES[second as usize]];
            let result = round(&mut firm, pair, &mut random);
            done += 1;
            broken = result.is_err();
            cases.holds(
                &format!("round {done}: {} and {}", pair[0], pair[1]),
                !broken,
                result.unwrap_or_else(|e| e),
            );
            if broken {
                break;
            }
        }
        firm.run.ask("shutdown", &json!({}));
        let summary = firm.run.wait_for_summary().unwrap_or_default();
        let faults = faults(&state, &summary);
        runs += 1;
        fills += summary["fills"].as_u64().unwrap_or(0);
        starts += summary["incarnation"].as_u64().unwrap_or(0);
        behind_snapshots += u64::from(summary["recovery"]["snapshot"].as_u64() > Some(0));
        cases.holds(
            &format!("run {runs}: ledger = venue, every order known, replay identical"),
            faults.is_empty(),
            if faults.is_empty() { "good".to_owned() } else { faults.join("; ") },
        );
        if broken {
            return;
        }
        drop(firm);
        let _ = std::fs::remove_dir_all(&state);
    }
    control(cases, &folder, &config);
    cases.note(&format!(
        "{done} rounds in {runs} runs, {starts} starts of an engine (the last one behind a snapshot in {behind_snapshots} runs), {fills} fills, seed {seed}"
    ));
}
