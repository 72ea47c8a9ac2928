//! The pattern language: text, tree, program.
//!
//! ```text
//! pattern  := "pattern" NAME "on" STREAMS ["by" KEY{","KEY}] ":" seq ["within" DUR] ["where" expr] ["skip" SKIP] ["emit" expr{","expr}]
//! seq      := step { ("->" | "->>" | "->*") step }       # strict | relaxed | relaxed and every later one, too
//! step     := ["not"] NAME ":" TYPE ["[" expr "]"] [quant] | "any" "(" seq {"|" seq} ")" | "all" "(" step {"," step} ")"
//! quant    := ("+" | "{n}" | "{n,m}" | "?" | "{n,}") ["!" | "*"] ["greedy"]
//! SKIP     := none | next | past_last | to_first(NAME) | to_last(NAME)
//! ```

mod check;
mod condition;
mod lexer;
mod parser;
mod program;
pub(crate) mod tree;

use crate::schema::Schema;

pub(crate) use check::KEYS_MAX;
pub(crate) use condition::Condition;
pub use lexer::Place;
#[cfg(test)]
pub(crate) use program::Aggregate;
pub(crate) use program::{Context, Contiguity, Edge, Link, Not, Op, evaluate};
pub use program::{Program, Skip};

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Mistake {
    /// Line and column, both from 1.
    pub place: Place,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl Mistake {
    pub(crate) fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into() }
    }
}

/// Every pattern of a text, checked and compiled.
///
/// # Errors
/// The first mistake.
pub fn compile(text: &str, schema: &Schema) -> Result<Vec<Program>, Mistake> {
    let patterns = parser::parse(text)?;
    for (i, pattern) in patterns.iter().enumerate() {
        if let Some(first) = patterns[..i].iter().find(|p| p.name.text == pattern.name.text) {
            let what = format!("pattern \"{}\" is there already, at {}", pattern.name.text, first.name.place);
            return Err(Mistake::new(pattern.name.place, what));
        }
    }
    patterns.iter().map(|pattern| check::compile(pattern, schema)).collect()
}

#[cfg(test)]
pub(crate) fn parse(text: &str) -> Result<Vec<tree::Pattern>, Mistake> {
    parser::parse(text)
}

#[cfg(test)]
mod tests;
