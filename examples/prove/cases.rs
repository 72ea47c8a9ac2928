//! One line a case.

use std::fmt::Display;
use std::process::ExitCode;

use serde_json::{Value, json};

/// What was found.
pub struct Cases {
    topic: String,
    json: bool,
    rows: Vec<Value>,
    failed: bool,
}

impl Cases {
    pub fn new(topic: &str, json: bool) -> Self {
        Self { topic: topic.to_owned(), json, rows: Vec::new(), failed: false }
    }

    /// A case that holds where both are equal.
    pub fn is<T: PartialEq + Display + Copy>(&mut self, name: &str, expected: T, actual: T) {
        let good = expected == actual;
        self.row(name, good, &expected.to_string(), &actual.to_string());
    }

    /// A case that holds where `good`.
    pub fn holds(&mut self, name: &str, good: bool, found: impl Display) {
        self.row(name, good, "as said", &found.to_string());
    }

    /// Something measured that nothing depends on.
    pub fn note(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("      {text}");
        }
    }

    fn row(&mut self, name: &str, good: bool, expected: &str, actual: &str) {
        self.failed |= !good;
        self.rows.push(json!({"case": name, "good": good, "expected": expected, "actual": actual}));
        if !self.json {
            let word = if good { "good" } else { "BAD" };
            println!("{word:<5} {name:<66} expected {expected}, got {actual}");
        }
    }

    pub fn finish(self) -> ExitCode {
        if self.json {
            let text =
                json!({"schema_version": 1, "topic": self.topic, "good": !self.failed, "cases": self.rows});
            println!("{text}");
        }
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
