//! The second line: it agrees through everything that can happen to the first, a single bit is an alarm that halts, and its
//! states are what a restart begins with.

use std::process::Command;
use std::time::Duration;

use kimera::control::Client;
use kimera_protocol::Seq;
use serde_json::{Value, json};

use crate::cases::Cases;
use crate::run::{Folder, Run, profile, program};

/// Inputs between two checkpoints: a state has proven itself behind two of them.
const INTERVAL: u64 = 4_096;

fn ask(run: &Run, method: &str, params: &Value) -> Option<Value> {
    let mut client = Client::connect(&run.state.join("shadow.sock"), Duration::from_secs(10)).ok()?;
    client.call(method, params).ok()?.ok()
}

/// Waits until the shadow says what is wanted.
fn wait(run: &Run, seconds: u64, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    for _ in 0..seconds * 20 {
        let status = ask(run, "shadow.status", &json!({}));
        if status.as_ref().is_some_and(&wanted) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

fn at_least(status: &Value, key: &str, least: u64) -> bool {
    status[key].as_u64() >= Some(least)
}

/// The process of a name, from the supervisor's tree.
fn pid(run: &Run, name: &str) -> Option<u64> {
    let mut client = Client::connect(&run.state.join("control.sock"), Duration::from_secs(10)).ok()?;
    let tree = client.call("tree", &json!({})).ok()?.ok()?;
    let children = tree["children"].as_array()?.clone();
    children.iter().find(|c| c["name"] == name)?["pid"].as_u64().filter(|pid| *pid > 0)
}

fn end(pid: Option<u64>) -> bool {
    pid.and_then(|pid| u32::try_from(pid).ok()).is_some_and(kimera_runtime::process::kill)
}

/// Through panics, a made-anew feed, an engine and a shadow that are killed.
fn agrees(cases: &mut Cases, folder: &Folder) {
    let config = folder.join("often.toml");
    let changes = [
        ("snapshot_every_ms = 60000", "snapshot_every_ms = 500"),
        ("segment_mib = 16", "segment_mib = 1"),
        ("keep = 3", "keep = 4"),
    ];
    std::fs::write(&config, profile(&changes)).unwrap();
    let state = folder.join("agrees");
    let mut run = Run::start(&state, &["--config", config.to_str().unwrap(), "--speed", "10", "--faults"]);
    let begun = run.wait(Duration::from_secs(30), |s| s["decisions"].as_u64() > Some(0));
    cases.is("a run with a shadow", true, begun);
    let first = wait(&run, 30, |s| at_least(s, "snapshots", 1));
    cases.holds("a state proves itself and is kept", first.is_some(), said(first.as_ref()));
    for seat in ["member.thermodynamic", "feed.usdm", "member.contradiction"] {
        run.ask("faults.panic", &json!({"seat": seat}));
        std::thread::sleep(Duration::from_millis(1_500));
    }
    let seq = run.status().and_then(|s| s["seq"].as_u64()).unwrap_or(0);
    let on = wait(&run, 30, |s| at_least(s, "seq", seq + INTERVAL) && s["difference"].is_null());
    cases.holds("it agrees through panics of members and a feed", on.is_some(), said(on.as_ref()));
    cases.is("the shadow is killed", true, end(pid(&run, "shadow")));
    let again = wait(&run, 30, |s| at_least(s, "seq", seq + 2 * INTERVAL));
    cases.holds("another takes its place and follows", again.is_some(), said(again.as_ref()));
    let before = again.as_ref().and_then(|s| s["snapshot"].as_u64()).unwrap_or(0);
    cases.is("the engine is killed", true, end(pid(&run, "engine")));
    let back = run.wait(Duration::from_secs(30), |s| s["incarnation"] == 2 && s["trading"] == "active");
    cases.is("it is back and trades", true, back);
    let seq = run.status().and_then(|s| s["seq"].as_u64()).unwrap_or(0);
    let on = wait(&run, 30, |s| at_least(s, "seq", seq + INTERVAL) && s["difference"].is_null());
    cases.holds("the shadow has followed over the restart", on.is_some(), said(on.as_ref()));
    reads(cases, &run);
    let summary = run.finish().unwrap_or_default();
    let recovery = &summary["recovery"];
    cases.holds(
        "the restart began with a snapshot",
        before > 0 && at_least(recovery, "snapshot", before),
        format!(
            "{} inputs behind input {} in {} s",
            recovery["inputs"], recovery["snapshot"], recovery["seconds"]
        ),
    );
    let last = state.join("shadow.json");
    let last: Value =
        std::fs::read(&last).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let whole = last["difference"].is_null() && last["seq"] == last["journal_seq"];
    cases.holds(
        "it has read the journal to its end",
        whole && at_least(&last, "seq", seq),
        said(Some(&last)),
    );
    cases.is("the books agree with the venue", true, summary["ledger"]["venue_match"] == true);
    snapshots(cases, &state);
}

/// What the replica answers is what the engine says.
fn reads(cases: &mut Cases, run: &Run) {
    let mut same = false;
    for _ in 0..100 {
        let engine = run.status().unwrap_or_default();
        let replica = ask(run, "positions", &json!({})).unwrap_or_default();
        same = engine["cash"].is_string() && engine["cash"] == replica["cash"];
        if same {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    cases.is("positions: cash as the engine has it", true, same);
    let orders = ask(run, "orders", &json!({"all": true})).unwrap_or_default();
    let orders = orders["orders"].as_array().map_or(0, Vec::len);
    cases.holds("orders", orders > 0, format!("{orders} orders"));
    let books = ask(run, "books", &json!({"levels": 5})).unwrap_or_default();
    let sides = |book: &Value| {
        book["bids"].as_array().map_or(0, Vec::len) + book["asks"].as_array().map_or(0, Vec::len)
    };
    let levels: usize = books["books"].as_array().map_or(0, |books| books.iter().map(sides).sum());
    cases.is("books: five levels a side of two instruments", 20, levels);
    let decisions = ask(run, "decisions", &json!({"last": 7})).unwrap_or_default();
    cases.is("decisions", 7, decisions["decisions"].as_array().map_or(0, Vec::len));
    let state = ask(run, "restart.state", &json!({})).unwrap_or_default();
    cases.holds(
        "the state a restart would begin with",
        state["snapshot"]["seq"].is_u64(),
        &state["snapshot"]["seq"],
    );
    let unknown = Client::connect(&run.state.join("shadow.sock"), Duration::from_secs(5))
        .and_then(|mut client| client.call("orders.cancel_all", &json!({})));
    cases.is("it can be asked, and does nothing", true, unknown.is_ok_and(|answer| answer.is_err()));
}

/// Snapshots on disk: kept as many as configured, replayed from, and passed over where they are broken.
fn snapshots(cases: &mut Cases, state: &std::path::Path) {
    let folder = state.join("snapshots");
    let kept = kimera::snapshot::Snapshot::all(&folder);
    cases.is("snapshots kept", 4, kept.len());
    let replay = |more: &[&str]| {
        let out = Command::new(program()).arg("replay").arg(state).args(more).arg("--json").output().unwrap();
        let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        (out.status.code().unwrap_or(-1), report["behind"].as_u64().unwrap_or(Seq::MAX))
    };
    let names: Vec<String> = std::fs::read_dir(state.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let packed = names.iter().filter(|name| name.ends_with(".kj.gz")).count();
    cases.holds("segments before the oldest snapshot are compressed", packed > 0, format!("{packed}"));
    cases.is("the whole journal replays identically", 0, replay(&[]).0);
    let starts = Command::new(program()).args(["bench", "restart", "--json"]).arg(state).output().unwrap();
    let starts: Value = serde_json::from_slice(&starts.stdout).unwrap_or_default();
    for s in starts["starts"].as_array().into_iter().flatten() {
        let seconds = s["read_s"].as_f64().unwrap_or(0.0) + s["computed_s"].as_f64().unwrap_or(0.0);
        cases.note(&format!(
            "a start behind input {} takes {seconds:.3} s for {} inputs",
            s["behind"], s["inputs"]
        ));
    }
    cases.is("behind the end of the run there is nothing to compare", 1, replay(&["--from-snapshot"]).0);
    kimera::snapshot::Snapshot::remove(&folder, kept[0]).unwrap();
    let kept = &kept[1..];
    let (code, behind) = replay(&["--from-snapshot"]);
    cases.is("what comes behind the snapshot before it replays identically", 0, code);
    cases.is("which is the one it began with", kept[0], behind);
    let path = folder.join(format!("{:012}.state", kept[0]));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (code, behind) = replay(&["--from-snapshot"]);
    cases.is("control: one with a flipped bit is passed over", kept[1], behind);
    cases.is("and the one before it does", 0, code);
    // A journal that went on otherwise: the snapshot's block is not in it.
    let manifest = folder.join(format!("{:012}.json", kept[1]));
    let text = std::fs::read_to_string(&manifest).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    value["place"]["chain"] = json!("00".repeat(32));
    std::fs::write(&manifest, value.to_string()).unwrap();
    cases.is("control: one of another journal is passed over", kept[2], replay(&["--from-snapshot"]).1);
}

/// A journal whose beginning is taken away goes on, is checked, replayed, and started from.
fn retires(cases: &mut Cases, folder: &Folder) {
    let config = folder.join("retires.toml");
    let changes = [
        ("snapshot_every_ms = 60000", "snapshot_every_ms = 300"),
        ("segment_mib = 16", "segment_mib = 1"),
        ("retain_segments = 0", "retain_segments = 2"),
    ];
    std::fs::write(&config, profile(&changes)).unwrap();
    let state = folder.join("retires");
    let arguments = ["--config", config.to_str().unwrap(), "--speed", "10", "--for", "150s"];
    let mut first = Run::start(&state, &arguments);
    let summary = first.wait_for_summary().unwrap_or_default();
    cases.is("a run that retires segments ends well", true, summary["ledger"]["venue_match"] == true);
    drop(first);
    let gone = !kimera_journal::archive::has_segment(&state.join("journal"), 1);
    cases.is("its first segment is gone", true, gone);
    let ask = |arguments: &[&str]| Command::new(program()).args(arguments).arg(&state).output().unwrap();
    cases.is("what is left verifies", true, ask(&["journal", "verify"]).status.success());
    let replayed = ask(&["replay", "--json"]);
    let report: Value = serde_json::from_slice(&replayed.stdout).unwrap_or_default();
    let behind = report["behind"].as_u64().unwrap_or(0);
    cases.holds("and replays, from the oldest snapshot", replayed.status.success() && behind > 0, behind);
    let newest = kimera::snapshot::Snapshot::all(&state.join("snapshots"));
    let last: Value = std::fs::read(state.join("shadow.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let end = last["seq"].as_u64().unwrap_or(0);
    cases.is("a snapshot of the end is left", end, newest.first().copied().unwrap_or(0));
    says_damage(cases, &state);
}

/// A journal that cannot be read is nothing to wait for.
fn says_damage(cases: &mut Cases, state: &std::path::Path) {
    let folder = state.join("journal");
    let names = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let last = folder.join(names.filter(|name| name.ends_with(".kj")).max().unwrap_or_default());
    let mut bytes = std::fs::read(&last).unwrap_or_default();
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
    std::fs::write(&last, bytes).unwrap();
    let ended = Command::new(program()).args(["shadow", "--state"]).arg(state).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    let damage = ended.status.code() == Some(1) && said.contains("at offset");
    cases.holds("control: a damaged journal is said, not waited for", damage, said);
}

/// One bit in the replica is an alarm that names the seat, and halts.
fn notices(cases: &mut Cases, folder: &Folder, seat: &str) {
    let config = folder.join("none.toml");
    let off = ("[shadow]\nenabled = true", "[shadow]\nenabled = false");
    std::fs::write(&config, profile(&[off])).unwrap();
    let state = folder.join(&format!("flip-{seat}"));
    let mut run = Run::start(&state, &["--config", config.to_str().unwrap(), "--speed", "10"]);
    run.wait(Duration::from_secs(30), |s| s["decisions"].as_u64() > Some(100));
    let mut shadow = Command::new(program())
        .args(["shadow", "--state", state.to_str().unwrap(), "--flip", seat])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = wait(&run, 60, |s| !s["difference"].is_null()).unwrap_or_default();
    let named = status["difference"]["seat"].as_str().unwrap_or("nobody").to_owned();
    let halted = run.wait(Duration::from_secs(10), |s| s["kill_word"]["state"] == "halted");
    cases.holds(
        &format!("control: one bit of {seat} is noticed there, and halts"),
        named == seat && halted,
        format!("{named}, input {} to {}", status["difference"]["seq"], status["difference"]["cause_seq"]),
    );
    let _ = shadow.kill();
    let _ = shadow.wait();
    let _ = run.finish();
}

fn said(status: Option<&Value>) -> String {
    status.map_or_else(
        || "it does not say so".into(),
        |s| {
            format!(
                "input {} of {}, {} agreed, {} returns, snapshot {}",
                s["seq"], s["journal_seq"], s["agreed"], s["returns"], s["snapshot"]
            )
        },
    )
}

pub fn prove(cases: &mut Cases) {
    let folder = Folder::new("shadow");
    agrees(cases, &folder);
    retires(cases, &folder);
    for seat in ["market", "member.thermodynamic", "ensemble", "strategy", "compliance"] {
        notices(cases, &folder, seat);
    }
}
