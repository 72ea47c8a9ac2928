//! Proofs that need more than a shell. `scripts/prove` runs them: one line a case, exit 0 where all hold; each topic has a
//! control that must fail.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)] // A tool of the tests: its failure is theirs.

mod cases;
mod compare;
mod crash;
mod guard;
mod hostile;
mod kill;
mod matrix;
mod mutants;
mod orders;
mod pairs;
mod run;
mod shadow;
mod sim;

use std::process::ExitCode;

use cases::Cases;

/// Seeds that nobody has seen yet; they are printed.
fn fresh() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |d| d.as_secs() * 1_000)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str, default: u64| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|i| arguments.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let topic = arguments.first().map_or("", String::as_str);
    let mut cases = Cases::new(topic, arguments.iter().any(|a| a == "--json"));
    match topic {
        "kill" => kill::prove(&mut cases),
        "crash" => crash::prove(&mut cases, value("--seed", 1), value("--runs", 20)),
        "orders" => orders::prove(&mut cases, value("--seed", 1), value("--rounds", 400)),
        "hostile" => hostile::prove(&mut cases, value("--seed", 1), value("--seconds", 60)),
        "mutants" => mutants::prove(&mut cases),
        "pairs" => pairs::prove(&mut cases, value("--seed", 1), value("--rounds", 100)),
        "guard" => guard::prove(&mut cases),
        "compare" => compare::prove(&mut cases, value("--runs", 20)),
        "shadow" => shadow::prove(&mut cases),
        "matrix" => matrix::prove(&mut cases),
        "sim" => sim::prove(&mut cases, value("--seed", fresh())),
        other => {
            eprintln!(
                "there is no topic \"{other}\": crash, kill, orders, hostile, sim, mutants, matrix, pairs, guard, shadow, compare"
            );
            return ExitCode::from(2);
        }
    }
    cases.finish()
}
