//! Builds in which one law is broken: the simulated firms have to notice, within their fixed seeds.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cases::Cases;
use crate::run::Folder;

/// The fixed seeds.
const SEEDS: [&str; 6] = ["--seed", "1", "--seeds", "60", "--steps", "2000"];

fn output_of(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::new(),
        // What goes wrong is said by some on one way, by some on the other, and by some not at all.
        Ok(output) => {
            let said = [output.stderr, output.stdout].concat();
            format!("{} {}", String::from_utf8_lossy(&said), output.status)
        }
        Err(e) => e.to_string(),
    }
}

/// A copy of everything that is built, in which one thing can be changed.
fn copy(to: &Path) -> Result<(), String> {
    let said = output_of(
        Command::new("cp")
            .args([
                "-r",
                "Cargo.toml",
                "Cargo.lock",
                "src",
                "actors",
                "extensions",
                "examples",
                "tests",
                "config",
            ])
            .arg(to),
    );
    if said.is_empty() { Ok(()) } else { Err(said) }
}

/// Builds the copy with a patch, and takes the patch back.
fn build(copy: &Path, patch: Option<&Path>, (target, built): (&Path, &Path)) -> Result<PathBuf, String> {
    let patched = |reverse: &[&str]| match patch {
        None => String::new(),
        Some(patch) => output_of(
            Command::new("patch").args(["-s", "-p1", "-d"]).arg(copy).arg("-i").arg(patch).args(reverse),
        ),
    };
    let said = patched(&[]);
    if !said.is_empty() {
        return Err(said);
    }
    let said = output_of(
        Command::new("cargo")
            .args(["build", "--locked", "--quiet", "--bin", "kimera"])
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", target)
            // What does not change was built for the tests already.
            .env("CARGO_BUILD_BUILD_DIR", built),
    );
    let back = patched(&["-R"]);
    if said.is_empty() && back.is_empty() { Ok(target.join("debug/kimera")) } else { Err(said + &back) }
}

fn simulate(program: &Path) -> Value {
    let output = Command::new(program).arg("sim").arg("--json").args(SEEDS).output();
    output.ok().and_then(|o| serde_json::from_slice(&o.stdout).ok()).unwrap_or_default()
}

pub fn prove(cases: &mut Cases) {
    let folder = Folder::new("mutants");
    let root = std::env::current_dir().unwrap();
    let built = root.join(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()));
    let target = built.join("mutants");
    let places = (target.as_path(), built.as_path());
    let mut patches: Vec<PathBuf> =
        std::fs::read_dir("tests/mutants").unwrap().flatten().map(|entry| entry.path()).collect();
    patches.sort();
    if let Err(e) = copy(&folder.0) {
        cases.holds("a copy of the project", false, e);
        return;
    }
    match build(&folder.0, None, places) {
        Ok(program) => {
            let found = simulate(&program);
            let held = found["good"] == true && found["seeds"] == 60;
            cases.holds("control: as it is, nothing is broken", held, &found["seeds"]);
        }
        Err(e) => cases.holds("control: as it is, it builds", false, e),
    }
    for patch in patches {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match build(&folder.0, Some(&root.join(&patch)), places) {
            Ok(program) => {
                let found = simulate(&program);
                let what = found["failure"]["violation"].as_str().unwrap_or("nothing").to_owned();
                let seed = found["failure"]["seed"].to_string();
                let what: String = what.chars().take(90).collect();
                cases.holds(&name, found["good"] == false, format!("seed {seed}: {what}"));
            }
            Err(e) => cases.holds(&name, false, e.lines().next().unwrap_or_default()),
        }
    }
}
