//! Orders on the line, faults put in on purpose, and what is asked of a running engine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kimera::control::{Client, RpcError};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kimera");

pub struct Run {
    child: Child,
    pub state: PathBuf,
}

impl Run {
    pub fn start(name: &str, more: &[&str]) -> Self {
        let state = std::env::temp_dir().join(format!("kimera-trading-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&state);
        let child = Command::new(PROGRAM)
            .args(["supervise", "--json", "--faults", "--state", state.to_str().unwrap()])
            .args(more)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, state }
    }

    fn ask(&self, process: &str, method: &str, params: &Value) -> Option<Result<Value, RpcError>> {
        let socket = self.state.join(format!("{process}.sock"));
        Client::connect(&socket, Duration::from_secs(20)).ok()?.call(method, params).ok()
    }

    fn engine(&self, method: &str) -> Value {
        self.ask("engine", method, &json!({})).unwrap().unwrap()
    }

    /// Until the engine's status is as wanted, however long that takes here.
    pub fn until(&mut self, mut wanted: impl FnMut(&Value) -> bool) {
        loop {
            assert!(self.child.try_wait().unwrap().is_none(), "the run has ended");
            let status = self.ask("engine", "status", &json!({})).and_then(Result::ok);
            if status.as_ref().is_some_and(&mut wanted) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn finish(mut self) -> Value {
        self.close()
    }

    /// Ends the run in order: its summary.
    pub fn close(&mut self) -> Value {
        let ending = self.ask("control", "shutdown", &json!({"orders": "cancel"})).unwrap().unwrap();
        assert_eq!(ending["ending"], true);
        let mut text = String::new();
        std::io::Read::read_to_string(self.child.stdout.as_mut().unwrap(), &mut text).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let replay = Command::new(PROGRAM).args(["replay", self.state.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&replay.stdout).into_owned();
        assert!(replay.status.success() && said.starts_with("identical"), "{said}");
        self.explains();
        let summary: Value = serde_json::from_str(&text).unwrap();
        self.has_patterns(&summary["orders"]);
        summary
    }
}

impl Run {
    /// The last order of the journal can be explained: who said what about its cause, who has passed it, what came of it.
    fn explains(&self) {
        let state = self.state.to_str().unwrap();
        let cat = Command::new(PROGRAM).args(["journal", "cat", state]).output().unwrap();
        let cat = String::from_utf8_lossy(&cat.stdout).into_owned();
        let order = cat.lines().rev().find(|line| line.contains("\"kind\":\"new-order\"")).unwrap();
        let order: Value = serde_json::from_str(order).unwrap();
        let id = order["body"]["id"].as_str().unwrap();
        let output = Command::new(PROGRAM).args(["explain", state, id, "--json"]).output().unwrap();
        let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
        let said = explained["said"].as_array().unwrap();
        let passed =
            said.iter().find(|s| s["seat"] == "compliance" && s["body"]["id"] == order["body"]["id"]);
        assert_eq!(passed.unwrap()["body"], order["body"], "{explained}");
        assert_eq!(explained["input"]["seq"], order["seq"]);
        let route = &explained["routes"][0];
        assert!(route["id"] == order["body"]["id"] && route["sent"] == true, "{explained}");
        let checks = route["checks"].as_array().unwrap();
        assert!(checks.len() == 29 && checks.iter().all(|c| c["verdict"] == "passed"), "{explained}");
        let stages = explained["latency"].as_array().unwrap();
        assert!(stages.iter().any(|s| s["seat"] == "risk" && s["took_ns"].as_u64() > Some(0)), "{explained}");
        self.attributes(&cat);
    }

    /// At a mark of the journal's middle, what members added is the score.
    fn attributes(&self, cat: &str) {
        let marks: Vec<_> = cat.lines().filter(|line| line.contains("\"mark\":true")).collect();
        let middle: Value = serde_json::from_str(marks[marks.len() / 2]).unwrap();
        let (state, seq) = (self.state.to_str().unwrap(), middle["seq"].to_string());
        let explained = self.json(&["explain", state, &seq, "--json"]);
        let consensus = explained["said"].as_array().unwrap().iter().find(|s| s["kind"] == "consensus");
        let score = consensus.unwrap()["body"]["score"].as_f64().unwrap();
        let adds = explained["adds"].as_object().unwrap();
        let sum: f64 = adds.values().filter_map(Value::as_f64).sum();
        assert!(adds.len() == 5 && adds["macro"].is_null() && (sum - score).abs() < 1e-9, "{explained}");
    }

    /// Patterns over the journal see every order that was sent, with what the venue said of it.
    fn has_patterns(&self, orders: &Value) {
        let file = self.state.join("p.cep");
        std::fs::write(
            &file,
            "pattern sent on order: n:New\npattern taken on order by id: n:New ->> o:Open skip next",
        )
        .unwrap();
        let arguments =
            ["cep", "run", file.to_str().unwrap(), "--on", self.state.to_str().unwrap(), "--json"];
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(&last["patterns"][0]["matches"], orders, "{last}");
        assert!(last["patterns"][1]["matches"].as_u64() > Some(0), "{last}");
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| json!({"stderr": String::from_utf8_lossy(&output.stderr)}))
    }

    /// What would have been, and what other builds would say.
    fn counterfactuals(&self) {
        let state = self.state.to_str().unwrap();
        let without = self.json(&["replay", state, "--json", "--swap", "thermodynamic=abstain"]);
        assert_eq!(without["first_difference"]["seat"], "member.thermodynamic", "{without}");
        assert!(without["changed"]["decisions"].as_u64() > Some(0), "{without}");
        let same = self.json(&["replay", state, "--json", "--swap", "macro=abstain"]);
        assert!(same["identical"] == true && same["changed"]["decisions"] == 0, "{same}");
        let same = self.json(&["bisect", ".", ".", "--state", state, "--json"]);
        assert!(same["same"] == true && same["said"].as_u64() > Some(0), "{same}");
        let patch = self.state.join("patch.toml");
        std::fs::write(&patch, "[strategy]\nrisk_aversion = 0.2\n").unwrap();
        let patch = patch.to_str().unwrap();
        let other = self.json(&["bisect", ".", ".", "--state", state, "--patch", patch, "--json"]);
        assert!(other["same"] == false && other["a"]["seq"] == other["seq"], "{other}");
    }

    /// As many rows as records, and the first one says who ran.
    fn exports(&self) {
        use parquet::file::reader::{FileReader, SerializedFileReader};
        use parquet::record::RowAccessor;
        let state = self.state.to_str().unwrap();
        let stat = self.json(&["journal", "stat", state, "--json"]);
        let file = self.state.join("journal.parquet");
        let output = Command::new(PROGRAM)
            .args(["journal", "export", state, "--out", file.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let reader = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(stat["records"].as_u64(), Some(rows.len() as u64));
        let inputs: Vec<_> = rows.iter().filter(|row| row.get_bool(5).unwrap()).collect();
        assert_eq!(inputs[0].get_string(2).unwrap(), "started");
        assert_eq!(Some(inputs.last().unwrap().get_long(0).unwrap() as u64), stat["last_seq"].as_u64());
        let body = inputs[0].get_column_iter().last().unwrap().1.to_string();
        let body: Value = serde_json::from_str(&body.trim_matches('"').replace("\\\"", "\"")).unwrap();
        assert_eq!(body["incarnation"], 1, "{body}");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

fn working(status: &Value) -> bool {
    status["orders"]["working"].as_u64() > Some(0)
}

#[test]
fn trading_is_halted_resumed_and_the_books_agree() {
    let mut run = Run::start("halt", &["--speed", "5"]);
    run.until(working);
    let halted = run.ask("control", "trading.halt", &json!({})).unwrap().unwrap();
    assert_eq!(halted["trading"], "halted");
    run.until(|s| s["orders"]["working"] == 0);
    let refused = run.ask("control", "trading.reduce", &json!({})).unwrap().unwrap_err();
    assert!(refused.message.contains("resume first"), "{refused:?}");
    assert!(run.engine("trading.resume")["epoch"].as_u64() >= Some(2));
    run.until(working);
    let killed =
        Command::new(PROGRAM).args(["kill", "--state", run.state.to_str().unwrap()]).output().unwrap();
    assert!(killed.status.success(), "{killed:?}");
    run.until(|s| s["trading"] == "halted" && s["orders"]["working"] == 0);
    run.engine("trading.resume");
    run.until(working);
    let tree = run.ask("control", "tree", &json!({})).unwrap().unwrap();
    assert_eq!(tree["children"][2]["name"], "engine");
    let unknown = run.ask("control", "trading.fly", &json!({})).unwrap().unwrap_err();
    assert_eq!(unknown.code, -32_601);
    let summary = run.close();
    run.exports();
    run.counterfactuals();
    assert_eq!(
        (&summary["ledger"]["balanced"], &summary["ledger"]["venue_match"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(summary["ended"], "asked");
    assert_eq!(summary["sealed_allocations"], 0);
}

#[test]
fn a_member_that_panics_comes_back_and_the_replay_knows() {
    let mut run = Run::start("absent", &["--speed", "5"]);
    run.until(working);
    let fault = json!({"seat": "member.thermodynamic"});
    run.ask("engine", "faults.panic", &fault).unwrap().unwrap();
    // The line goes on, and orders go on leaving once the absence is on disk; its end is a record as well.
    run.until(|s| s["absences"].as_u64() == Some(1));
    let sent = |run: &Run| run.engine("status")["orders"]["sent"].as_u64().unwrap();
    let before = sent(&run);
    run.until(|s| s["orders"]["sent"].as_u64() > Some(before));
    run.until(|s| s["absences"].as_u64() == Some(2));
    let before = sent(&run);
    run.until(|s| s["orders"]["sent"].as_u64() > Some(before));
    let summary = run.finish();
    let said = summary["degraded"].to_string();
    assert!(said.contains("member.thermodynamic was out from input"), "{said}");
    assert!(said.contains("answered again from input") && said.contains("panicked at input"), "{said}");
    assert_eq!(summary["ledger"]["venue_match"], true);
}

#[test]
fn a_line_that_does_not_come_back_is_ended_and_started_again() {
    let mut run = Run::start("stuck", &["--speed", "5"]);
    run.until(working);
    run.ask("engine", "faults.hold", &json!({"seat": "market", "ms": 10_000})).unwrap().unwrap();
    run.until(|s| s["incarnation"] == 2 && s["trading"] == "active" && s["venue_ready"] == true);
    run.until(working);
    let summary = run.finish();
    assert_eq!(summary["recovery"]["explained"], true, "{summary}");
    assert_eq!(summary["ledger"]["venue_match"], true);
}

/// A seat as the tree shows it.
fn child(run: &Run, group: &str, name: &str) -> Value {
    let tree = run.engine("tree");
    let group = tree.as_array().unwrap().iter().find(|g| g["group"] == group).cloned().unwrap();
    group["children"].as_array().unwrap().iter().find(|c| c["name"] == name).cloned().unwrap()
}

#[test]
fn a_gateway_that_panics_is_made_anew_in_its_place_and_asks_about_every_order() {
    let mut run = Run::start("gateways", &["--speed", "5"]);
    run.until(working);
    let incarnation = run.engine("status")["incarnation"].clone();
    let gateway = json!({"actor": "gateway.usdm"});
    let again = |run: &mut Run, restarts: u64| {
        while child(run, "egress", "gateway.usdm")["restarts"] != restarts {
            std::thread::yield_now();
        }
        // It is asked whether the venue has explained every order before anything new leaves.
        run.until(|s| s["trading"] == "active" && s["venue_ready"] == true);
        run.until(working);
    };
    run.ask("engine", "faults.panic", &json!({"seat": "gateway.usdm"})).unwrap().unwrap();
    again(&mut run, 1);
    let fallen = child(&run, "egress", "gateway.usdm");
    assert_eq!((&fallen["falls"], &fallen["state"]), (&json!(1), &json!("running")), "{fallen}");
    let refused = run.ask("control", "actor.stop", &gateway).unwrap().unwrap_err();
    assert!(refused.message.contains("takes orders back"), "{refused:?}");
    run.ask("control", "actor.restart", &gateway).unwrap().unwrap();
    again(&mut run, 2);
    assert_eq!(child(&run, "egress", "gateway.usdm")["falls"], 1, "told to is not fallen");
    assert_eq!(run.engine("status")["incarnation"], incarnation);
    let cat = Command::new(PROGRAM).args(["journal", "cat", run.state.to_str().unwrap()]).output().unwrap();
    let cat = String::from_utf8_lossy(&cat.stdout).into_owned();
    assert!(cat.contains("\"fallen\":2") && !cat.contains("orphan"), "the journal knows every order");
    assert_eq!(run.finish()["ledger"]["venue_match"], true);
}

#[test]
fn a_feed_that_panics_is_made_anew_in_its_place_and_others_by_hand() {
    let mut run = Run::start("feeds", &["--speed", "5"]);
    run.until(working);
    let incarnation = run.engine("status")["incarnation"].clone();
    run.ask("engine", "faults.panic", &json!({"seat": "feed.usdm"})).unwrap().unwrap();
    run.until(|_| true);
    while child(&run, "ingress", "feed.usdm")["restarts"] != 1 {
        std::thread::yield_now();
    }
    let fallen = child(&run, "ingress", "feed.usdm");
    assert_eq!((&fallen["falls"], &fallen["state"]), (&json!(1), &json!("running")), "{fallen}");
    assert!(fallen["last_failure"].as_str().unwrap().contains("on purpose"), "{fallen}");
    // It connects again, asks for a snapshot, and decisions go on.
    let decisions = run.engine("status")["decisions"].as_u64().unwrap();
    run.until(|s| s["decisions"].as_u64() > Some(decisions + 500));
    run.until(working);
    // A member that is told to stop stays away until it is told to start.
    let ask = |run: &Run, method: &str| {
        run.ask("control", method, &json!({"actor": "member.macro"})).unwrap().unwrap()
    };
    ask(&run, "actor.stop");
    run.until(|s| s["absences"] == 1);
    assert_eq!(child(&run, "members", "member.macro")["state"], "stopped");
    ask(&run, "actor.start");
    run.until(|s| s["absences"] == 2);
    let refused = run.ask("control", "actor.restart", &json!({"actor": "risk"})).unwrap().unwrap_err();
    assert!(refused.message.contains("does not go on without it"), "{refused:?}");
    assert_eq!(run.engine("status")["incarnation"], incarnation);
    let errors = Command::new(PROGRAM).args(["errors", run.state.to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&errors.stdout).contains("engine/feed.usdm: panicked"), "{errors:?}");
    let summary = run.finish();
    assert_eq!(summary["ledger"]["venue_match"], true);
    assert!(summary["feeds"]["feed.usdm"]["connections"].as_u64() >= Some(2), "{summary}");
}
