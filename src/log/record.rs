//! A line's form: the same record as text, as a JSON object, and as its words alone.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tracing::Event;
use tracing::field::{Field, Visit};

use super::{Category, LogLevel};
use crate::report::SCHEMA_VERSION;
use crate::utc;

/// What was said, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Wall time, Unix microseconds.
    pub time_us: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// What it is about.
    pub category: Category,
    /// The words.
    pub message: String,
    /// The rest, in the order in which it was said.
    pub fields: Vec<(String, Value)>,
}

/// Keys that are the record's own.
const OWN: [&str; 6] = ["schema_version", "time", "level", "category", "process", "message"];

struct Fields<'a>(&'a mut Record);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.0.message = text,
            (name, value) => {
                let name = if OWN.contains(&name) { format!("{name}_") } else { name.to_owned() };
                self.0.fields.push((name, value));
            }
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, json!(value));
    }
}

impl Record {
    /// The record of an event, now.
    #[must_use]
    pub fn of(event: &Event<'_>, category: Category) -> Self {
        let time_us = now_us();
        let level = LogLevel::of(event.metadata().level());
        let mut record = Self { time_us, level, category, message: String::new(), fields: Vec::new() };
        event.record(&mut Fields(&mut record));
        record
    }

    /// A record that nobody has said by `tracing`.
    #[must_use]
    pub fn of_the_system(level: LogLevel, message: String, fields: Vec<(String, Value)>) -> Self {
        Self { time_us: now_us(), level, category: Category::System, message, fields }
    }

    /// Words alone; they may be several lines.
    #[must_use]
    pub fn plain(&self) -> String {
        let lines: Vec<_> = self.message.lines().map(|line| harmless(line, false)).collect();
        format!("{}\n", lines.join("\n"))
    }

    /// `2026-01-02T03:04:05.678901Z INFO  trading    words  name=value …`
    #[must_use]
    pub fn text(&self) -> String {
        let level = self.level.name().to_uppercase();
        let mut line =
            format!("{} {level:<5} {:<10} {}", utc::stamp(self.time_us), self.category.name(), self.message);
        for (i, (name, value)) in self.fields.iter().enumerate() {
            let gap = if i == 0 { "  " } else { " " };
            // Text that could be taken for something else stays in its quotation marks.
            let _ = match value.as_str().filter(|t| !t.is_empty() && t.chars().all(is_plain)) {
                Some(text) => write!(line, "{gap}{name}={text}"),
                None => write!(line, "{gap}{name}={value}"),
            };
        }
        let mut line = harmless(&line, false);
        line.push('\n');
        line
    }

    /// An object on a line: docs/schema/log.json.
    #[must_use]
    pub fn json(&self, process: &str) -> String {
        let mut object = json!({
            "schema_version": SCHEMA_VERSION,
            "time": utc::stamp(self.time_us),
            "level": self.level.name(),
            "category": self.category.name(),
            "process": process,
            "message": self.message,
        });
        if let Some(object) = object.as_object_mut() {
            object.extend(self.fields.iter().cloned());
        }
        format!("{}\n", harmless(&object.to_string(), true))
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// A text on one line, without what a terminal would obey or what would turn its order round: what is said must not look like
/// a line of somebody else's.
fn harmless(text: &str, in_json: bool) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escape(c, in_json, &mut line),
            c if c.is_control() => escape(c, in_json, &mut line),
            c => line.push(c),
        }
    }
    line
}

fn escape(c: char, in_json: bool, line: &mut String) {
    let code = u32::from(c);
    let _ = if in_json { write!(line, "\\u{code:04x}") } else { write!(line, "\\u{{{code:x}}}") };
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.:/+%".contains(c)
}

/// The last words of a process, out of its log: what it says of its own end, else the last line that is not about orders and
/// markets.
#[must_use]
pub fn last_words(log: &str) -> String {
    let own = log.lines().rev().find_map(|line| line.strip_prefix("kimera: "));
    let usual = [Category::Trading, Category::Market, Category::Risk, Category::Compliance];
    let is_usual = |line: &&str| {
        let column = line.split_whitespace().nth(2).unwrap_or_default();
        usual.iter().any(|c| column == c.name() || line.contains(&format!("\"category\":\"{}\"", c.name())))
    };
    let other = log.lines().rev().filter(|line| !line.trim().is_empty()).find(|line| !is_usual(line));
    let words = own.or(other).unwrap_or("nothing in its log");
    let message = serde_json::from_str::<Value>(words).ok();
    message.and_then(|m| m["message"].as_str().map(str::to_owned)).unwrap_or_else(|| words.to_owned())
}
