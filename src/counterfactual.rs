//! What would have been decided if a member had said something else: nothing at all, or what an artefact says.

use std::path::Path;
use std::sync::Arc;

use kimera_ensemble::sketch;
use kimera_protocol::{Abstention, Features, Seq, Vote};
use kimera_runtime::{Actor, Input, Outbox, Port};
use serde::Deserialize;

use crate::exit::Failure;
use crate::line::known_members;

/// Forecasts by the input from which on they hold, ascending: down, flat, up.
pub type Forecasts = Arc<[(Seq, [f64; 3])]>;

/// Who sits in a member's seat instead of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// The member, without `member.`.
    pub member: String,
    /// What is said there; nothing where it abstains.
    pub forecasts: Forecasts,
}

/// A line of an artefact.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: Seq,
    p: [f64; 3],
}

impl Swap {
    /// `NAME=abstain`, or `NAME=FILE` with a forecast a line: `{"seq": 12807, "p": [0.2, 0.5, 0.3]}`.
    ///
    /// # Errors
    /// A member that nobody knows; a file that cannot be read or holds no forecasts in order.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let known = || known_members().collect::<Vec<_>>().join(", ");
        let wrong = || Failure::usage(format!("--swap {text}: NAME=abstain or NAME=FILE, of {}", known()));
        let (name, what) = text.split_once('=').ok_or_else(wrong)?;
        let member = name.strip_prefix("member.").unwrap_or(name).to_owned();
        if !known_members().any(|known| known == member) {
            return Err(wrong());
        }
        let forecasts = if what == "abstain" { Vec::new() } else { read(Path::new(what))? };
        Ok(Self { member, forecasts: forecasts.into() })
    }
}

fn read(path: &Path) -> Result<Vec<(Seq, [f64; 3])>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::configuration(format!("cannot read the artefact {}: {e}", path.display())))?;
    let mut forecasts: Vec<(Seq, [f64; 3])> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong =
            |why: String| Failure::configuration(format!("{} line {}: {why}", path.display(), number + 1));
        let Line { seq, p } = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
        let sums_to_one = (p.iter().sum::<f64>() - 1.0).abs() < 1e-6;
        if !sums_to_one || p.iter().any(|x| !(0.0..=1.0).contains(x)) {
            return Err(wrong("the three probabilities do not sum to 1".into()));
        }
        if forecasts.last().is_some_and(|(last, _)| *last >= seq) {
            return Err(wrong(format!("input {seq} does not come after the one before")));
        }
        forecasts.push((seq, p));
    }
    Ok(forecasts)
}

/// Sits in a member's seat and says what was written down.
pub struct StandIn {
    member: usize,
    forecasts: Forecasts,
}

kimera_protocol::state!(StandIn {} fixed { member, forecasts });

impl StandIn {
    /// In the seat of member `member`.
    #[must_use]
    pub fn new(member: usize, forecasts: Forecasts) -> Self {
        Self { member, forecasts }
    }
}

impl Actor for StandIn {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        if !message.is_mark() || message.body::<Features>().is_none() {
            return;
        }
        let next = self.forecasts.partition_point(|(seq, _)| *seq <= message.header.seq);
        let mut vote = Vote { member: self.member as u64, ..Vote::default() };
        match next.checked_sub(1).and_then(|at| self.forecasts.get(at)) {
            Some((_, p)) => vote.sketch = sketch::odds(*p).unwrap_or_default(),
            None => vote.abstains = Abstention::NoData as u64,
        }
        out.send(Port::Vote, message.instrument(), vote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artefacts_are_read_or_refused_with_their_line() {
        assert_eq!(Swap::parse("pattern=abstain").unwrap().forecasts.len(), 0);
        assert_eq!(Swap::parse("member.macro=abstain").unwrap().member, "macro");
        assert!(Swap::parse("nobody=abstain").unwrap_err().message.contains("contradiction, thermodynamic"));
        let path = std::env::temp_dir().join(format!("kimera-swap-{}", std::process::id()));
        let swap = || Swap::parse(&format!("pattern={}", path.display()));
        std::fs::write(&path, "{\"seq\":5,\"p\":[0.2,0.5,0.3]}\n\n{\"seq\":9,\"p\":[1,0,0]}\n").unwrap();
        assert_eq!(*swap().unwrap().forecasts, [(5, [0.2, 0.5, 0.3]), (9, [1.0, 0.0, 0.0])]);
        for (bad, why) in [
            ("{\"seq\":5,\"p\":[0.2,0.5,0.2]}", "line 1: the three probabilities do not sum to 1"),
            ("{\"seq\":5,\"p\":[1,0,0]}\n{\"seq\":5,\"p\":[1,0,0]}", "line 2: input 5 does not come after"),
            ("{\"seq\":5}", "missing field `p`"),
            ("no", "line 1: expected"),
        ] {
            std::fs::write(&path, bad).unwrap();
            let said = swap().unwrap_err().message;
            assert!(said.contains(why), "{said}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
