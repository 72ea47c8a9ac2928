//! Everything that halts and cancels where the engine does not: the guard, a file, signals, a supervisor that gives up.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kimera::claim::Claim;
use kimera_runtime::process::kill;
use serde_json::{Value, json};

use crate::cases::Cases;
use crate::crash::Venue;
use crate::run::{Folder, Run, profile, program};

const KEY: &str = "proofkey";
const SECRET: &str = "proofsecret";
/// As in the configuration of the proof.
const SILENCE_MS: u64 = 1_500;

fn account(run: &Run) -> Venue {
    Venue::read(&run.state.join("venue-account.jsonl"))
}

fn pid(run: &Run, name: &str) -> u32 {
    Claim::holder(&run.state.join(format!("{name}.lock"))).map_or(0, |identity| identity.pid)
}

fn until(limit: Duration, mut done: impl FnMut() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if done() {
            return Some(begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn working(s: &Value) -> bool {
    s["orders"]["working"].as_u64() > Some(0)
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
}

/// A venue alone, with so many orders of ours on its book.
fn venue_with(folder: &Folder, orders: usize) -> Child {
    let record = |i: usize| {
        let placement = json!({
            "client_id": format!("k9-{i}-0"), "side": "BUY", "price": (30_000 + i as i64) * 100_000_000,
            "size": 1_000_000, "tif": "GTC", "reduce_only": false,
        });
        let accepted = json!({"Accepted": {"order_id": i, "placement": placement}});
        json!({"time_ms": 1_723_161_257_000i64, "happening": accepted}).to_string() + "\n"
    };
    std::fs::write(folder.join("venue-account.jsonl"), (1..=orders).map(record).collect::<String>()).unwrap();
    let child = Command::new(program())
        .args(["venue", "--endpoints", folder.join("endpoints.json").to_str().unwrap()])
        .args(["--account", folder.join("venue-account.jsonl").to_str().unwrap()])
        .envs([("KIMERA_PAPER_KEY", KEY), ("KIMERA_PAPER_SECRET", SECRET)])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until(Duration::from_secs(60), || folder.join("endpoints.json").exists());
    child
}

fn guard_now(state: &Path, secret: &str) -> (bool, Value) {
    let output = Command::new(program())
        .args(["guard", "--now", "--json", "--state", state.to_str().unwrap()])
        .envs([("KIMERA_PAPER_KEY", KEY), ("KIMERA_PAPER_SECRET", secret)])
        .output()
        .unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn a_thousand_orders(cases: &mut Cases) {
    let folder = Folder::new("guard-thousand");
    let mut venue = venue_with(&folder, 1_000);
    let open = || Venue::read(&folder.join("venue-account.jsonl")).open;
    cases.is("a thousand orders stand", 1_000, open());
    let (good, _) = guard_now(&folder.0, "another");
    cases.is("control: with a wrong secret it says that it could not", false, good);
    cases.is("control: and they stand", 1_000, open());
    let begun = Instant::now();
    let (good, said) = guard_now(&folder.0, SECRET);
    let all = begun.elapsed();
    cases.is("kimera guard --now", true, good);
    cases.is("nothing stands", 0, open());
    cases.note(&format!(
        "{} orders, {} request: none stood {:.1} ms after the word was written, {:.1} ms after the program was started",
        said["stood"],
        said["requests"],
        said["ms"].as_f64().unwrap_or(0.0),
        all.as_secs_f64() * 1e3
    ));
    let _ = (venue.kill(), venue.wait());
}

/// A run that trades, with so many restarts allowed.
fn trading(folder: &Folder, name: &str, restarts: u32) -> Run {
    let config = folder.join(&format!("{name}.toml"));
    let allowed = format!("restarts = {restarts}\n");
    let changes = [
        ("volatility_bars_min = 20", "volatility_bars_min = 3"),
        ("restarts = 3\n", allowed.as_str()),
        ("guard_silence_ms = 5000", "guard_silence_ms = 1500"),
        ("engine_silence_ms = 15000", "engine_silence_ms = 6000"),
        ("orphan_reduce_ms = 3000", "orphan_reduce_ms = 1000"),
        ("dead_man_ms = 60000", "dead_man_ms = 6000"),
    ];
    std::fs::write(&config, profile(&changes)).unwrap();
    let mut run =
        Run::start(&folder.join(name), &["--config", config.to_str().unwrap(), "--speed", "5", "--faults"]);
    run.wait(Duration::from_secs(40), working);
    run
}

fn file_and_signals(cases: &mut Cases, folder: &Folder) {
    let mut run = trading(folder, "halts", 3);
    let halted = |s: &Value| s["trading"] == "halted" && s["orders"]["working"] == 0;
    let resume = |run: &mut Run| {
        until(Duration::from_secs(10), || run.ask("trading.resume", &json!({})).is_some());
        run.wait(Duration::from_secs(20), working)
    };
    cases.is("orders stand", true, account(&run).open > 0);
    std::fs::write(run.state.join("HALT"), "").unwrap();
    cases.is("a file HALT halts, and takes everything back", true, run.wait(Duration::from_secs(5), halted));
    cases.is("while it exists nobody resumes", true, run.ask("trading.resume", &json!({})).is_none());
    std::fs::remove_file(run.state.join("HALT")).unwrap();
    cases.is("without it trading resumes when it is told to", true, resume(&mut run));
    for name in ["engine", "supervisor", "guard"] {
        let process = if name == "supervisor" { run.child.id() } else { pid(&run, name) };
        signal(process, "USR1");
        cases.is(
            &format!("SIGUSR1 to the {name} halts, and takes everything back"),
            true,
            run.wait(Duration::from_secs(5), halted),
        );
        cases.is("and trading resumes when it is told to", true, resume(&mut run));
    }
    let before = pid(&run, "engine");
    signal(before, "STOP");
    let again = until(Duration::from_secs(30), || {
        let now = pid(&run, "engine");
        now != before && now != 0 && run.status().is_some_and(|s| s["trading"] == "active")
    });
    cases.holds(
        "an engine that stands still is ended and started again",
        again.is_some(),
        format!("{again:?}"),
    );
    let summary = run.finish().unwrap_or_default();
    let found = format!("{} {}", summary["ledger"], summary["degraded"]);
    cases.holds("and the books agree with the venue", summary["ledger"]["venue_match"] == true, found);
}

fn orphans(cases: &mut Cases, folder: &Folder) {
    let mut run = trading(folder, "orphan", 3);
    let (state, config) = (run.state.clone(), folder.join("orphan.toml"));
    let engine = pid(&run, "engine");
    let _ = (run.child.kill(), run.child.wait());
    let status = |run: &Run| run.status().unwrap_or_default();
    let reducing = until(Duration::from_secs(10), || status(&run)["trading"] == "reducing");
    cases.holds(
        "an engine without a supervisor lets only ways out leave",
        reducing.is_some(),
        format!("after {reducing:?}"),
    );
    let again = Run::start(&state, &["--config", config.to_str().unwrap(), "--speed", "5", "--faults"]);
    drop(std::mem::replace(&mut run, again));
    let active = until(Duration::from_secs(10), || status(&run)["trading"] == "active");
    cases.holds("a supervisor that comes takes it up", active.is_some(), format!("after {active:?}"));
    cases.is("the same process", engine, pid(&run, "engine"));
    let second =
        Command::new(program()).args(["supervise", "--state", state.to_str().unwrap()]).output().unwrap();
    cases.is(
        "a second supervisor is refused",
        true,
        String::from_utf8_lossy(&second.stderr).contains("another supervisor runs"),
    );
    let summary = run.finish().unwrap_or_default();
    cases.is("and the run ends in order", true, summary["ledger"]["venue_match"] == true);
}

/// A virtual machine that is paused: everybody is away for longer than anybody's patience, and the guard is back first.
fn paused(cases: &mut Cases, folder: &Folder) {
    let mut run = trading(folder, "paused", 0);
    let (engine, guard, supervisor) = (pid(&run, "engine"), pid(&run, "guard"), run.child.id());
    [engine, supervisor, guard].into_iter().for_each(|process| signal(process, "STOP"));
    std::thread::sleep(Duration::from_millis(7_000));
    for process in [guard, supervisor, engine] {
        signal(process, "CONT");
        std::thread::sleep(Duration::from_millis(300));
    }
    let trades = |s: &Value| s["trading"] == "active" && working(s);
    cases.is("everybody was paused: nobody takes another for dead, and trading goes on", true, {
        run.wait(Duration::from_secs(20), trades)
    });
    cases.is("with the same engine", engine, pid(&run, "engine"));
    let halted = std::fs::read_to_string(run.state.join("guard.log")).unwrap_or_default().contains("halted");
    cases.is("and the guard has not halted it", false, halted);
    let summary = run.finish().unwrap_or_default();
    let found = format!("{} {}", summary["ledger"], summary["degraded"]);
    cases.holds("and the books agree with the venue", summary["ledger"]["venue_match"] == true, found);
}

fn left_alone(cases: &mut Cases, folder: &Folder) {
    let mut run = trading(folder, "alone", 3);
    cases.is("orders stand", true, account(&run).open > 0);
    let (engine, guard, venue) = (pid(&run, "engine"), pid(&run, "guard"), pid(&run, "venue"));
    let _ = kill(engine);
    let _ = (run.child.kill(), run.child.wait());
    let _ = kill(engine); // one that was just started again
    let none = until(Duration::from_secs(10), || account(&run).open == 0);
    cases.holds(
        "engine and supervisor killed: the guard takes everything back",
        none.is_some(),
        format!("{none:?} after the last of them, with a silence of {SILENCE_MS} ms to wait for"),
    );
    for process in [guard, venue] {
        let _ = kill(process);
    }

    let mut run = trading(folder, "given-up", 0);
    let _ = kill(pid(&run, "engine"));
    let ended = until(Duration::from_secs(20), || run.child.try_wait().ok().flatten().is_some());
    let code = run.child.try_wait().ok().flatten().and_then(|s| s.code());
    cases.is("a supervisor that gives an engine up says so", 1, code.unwrap_or(-1));
    cases.holds(
        "and leaves nothing at the venue",
        ended.is_some() && account(&run).open == 0,
        format!("{ended:?}"),
    );

    let mut run = trading(folder, "unguarded", 0);
    let (engine, guard, venue) = (pid(&run, "engine"), pid(&run, "guard"), pid(&run, "venue"));
    let _ = kill(guard);
    std::thread::sleep(Duration::from_millis(300));
    run.wait(Duration::from_secs(10), working);
    let _ = (run.child.kill(), run.child.wait());
    let _ = kill(engine);
    std::thread::sleep(Duration::from_millis(2 * SILENCE_MS));
    let open = account(&run).open;
    cases.holds("control: without a guard they stand", open > 0, format!("{open} orders"));
    let none = until(Duration::from_secs(10), || account(&run).open == 0);
    cases.holds(
        "until the venue's own dead man's switch takes them back",
        none.is_some(),
        format!("{none:?} later, of 6 s"),
    );
    let _ = kill(venue);
}

pub fn prove(cases: &mut Cases) {
    let folder = Folder::new("guard");
    a_thousand_orders(cases);
    file_and_signals(cases, &folder);
    orphans(cases, &folder);
    paused(cases, &folder);
    left_alone(cases, &folder);
}
