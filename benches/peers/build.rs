//! What the tables say about themselves: the compiler, its flags, and each peer's version as the lock file has it.

use std::process::Command;

/// Crates whose versions the tables name.
const NAMED: [&str; 12] = [
    "actix",
    "crossbeam-channel",
    "disruptor",
    "hftbacktest",
    "kanal",
    "nautilus-binance",
    "nautilus-model",
    "rtrb",
    "serde_json",
    "simd-json",
    "sonic-rs",
    "tokio",
];

/// The version of a package in the text of a lock file.
fn version_in<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, behind) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    behind.split_once('"').map(|(version, _)| version)
}

fn main() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    for package in NAMED {
        let variable = package.to_uppercase().replace('-', "_");
        println!("cargo:rustc-env=VERSION_{variable}={}", version_in(&lock, package).unwrap_or("?"));
    }
    let environment = |name: &str| std::env::var(name).unwrap_or_default();
    let version = Command::new(environment("RUSTC")).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo:rustc-env=BUILT_BY={}", version.unwrap_or_else(|_| "unknown".into()));
    let flags = environment("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ");
    println!("cargo:rustc-env=BUILT_WITH={flags}");
    println!("cargo:rustc-env=BUILT_FOR={}", environment("CARGO_CFG_TARGET_FEATURE"));
}
