//! Simulated firms: fixed seeds and fresh ones break nothing; a control that must be noticed.

use std::process::Command;

use serde_json::Value;

use crate::cases::Cases;
use crate::run::program;

fn sim(arguments: &[&str]) -> Value {
    let output = Command::new(program()).args(["sim", "--json"]).args(arguments).output();
    output.ok().and_then(|o| serde_json::from_slice(&o.stdout).ok()).unwrap_or_default()
}

fn count(found: &Value, name: &str) -> u64 {
    found[name].as_u64().unwrap_or(0)
}

pub fn prove(cases: &mut Cases, seed: u64) {
    let fixed = sim(&["--seed", "1", "--seeds", "150"]);
    cases.holds("150 fixed seeds break nothing", fixed["good"] == true, &fixed["failure"]["command"]);
    cases.is("all of them", 150, count(&fixed, "seeds"));
    for (what, least) in [("starts", 220), ("orders", 10_000), ("fills", 5_000), ("handled", 10_000_000)] {
        let found = count(&fixed, what);
        cases.holds(&format!("{what} in them"), found > least, found);
    }
    let twice = sim(&["--seed", "1", "--seeds", "20", "--twice"]);
    cases.holds("20 of them do the same twice", twice["good"] == true, &twice["failure"]["violation"]);
    let fresh = sim(&["--seed", &seed.to_string(), "--seeds", "50"]);
    cases.holds(&format!("50 fresh seeds from {seed}"), fresh["good"] == true, &fresh["failure"]["command"]);
    // A venue that does an order and never says so on any way: the books cannot agree.
    let lost = sim(&["--seed", "1", "--seeds", "5", "--drop-fill", "3", "--script", ""]);
    let what = lost["failure"]["violation"].as_str().unwrap_or("nothing").to_owned();
    cases.holds("control: a fill that nobody is told of is noticed", lost["good"] == false, what);
    let command = lost["failure"]["command"].as_str().unwrap_or_default().to_owned();
    cases.holds("control: and one line says how", command.starts_with("kimera sim --seed"), command);
}
