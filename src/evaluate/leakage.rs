//! Does anything that was said depend on what came later? What was said before a cut is said again without what follows it.

use kimera_ensemble::sketch;
use kimera_protocol::{Abstention, Kind, Message, Nanos, Quote, Vote};
use kimera_runtime::{Actor, Input, Outbox, Port};
use serde::Serialize;

use super::forecasts::{Forecasts, Kept, Member, forecasts};
use crate::config::Config;

/// Share of the stream before the cut.
const CUT: f64 = 0.6;

/// What the comparison has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leakage {
    /// Marks of both.
    pub compared: usize,
    /// Those at which something else was said: somebody knew something of what came later.
    pub differ: usize,
    /// Market time of the first such.
    pub first: Option<Nanos>,
}

/// Makes members for a tape.
pub type Make<'a> = dyn Fn(&[Message]) -> Result<Vec<Member>, String> + 'a;

/// Compares what was said with what is said of the stream up to a cut alone.
///
/// # Errors
/// A configuration that is wrong.
pub fn check(
    config: &Config,
    messages: &[Message],
    kept: Kept,
    make: &Make<'_>,
    whole: &Forecasts,
) -> Result<Leakage, String> {
    let cut = &messages[..(messages.len() as f64 * CUT) as usize];
    let part = forecasts(config, cut, kept, &mut make(cut)?)?;
    let mut leakage = Leakage { compared: 0, differ: 0, first: None };
    // Every mark up to the cut, those among them whose outcome lies behind it: who knows what comes knows it there.
    for (i, again) in part.marks.iter().enumerate() {
        leakage.compared += 1;
        if whole.marks.get(i) != Some(again) {
            leakage.differ += 1;
            leakage.first = leakage.first.or(Some(again.0));
        }
    }
    Ok(leakage)
}

/// A member that has seen the end of the tape, to show that it would be noticed: its vote is where the mid will be.
pub struct Peeking {
    member: usize,
    traded: u16,
    horizon: Nanos,
    /// Mids to come, in order of time.
    mids: Vec<(Nanos, f64)>,
    mid: f64,
}

kimera_protocol::state!(Peeking { mid } fixed { member, traded, horizon, mids });

impl Peeking {
    /// Votes as `member` with what a tape says of the traded market a horizon later.
    #[must_use]
    pub fn new(config: &Config, member: usize, tape: &[Message]) -> Self {
        let traded = config.traded_id().0;
        let mid = |m: &Message| {
            let ticker = m.body::<kimera_protocol::Ticker>()?;
            let mid = (ticker.bid.price.0 + ticker.ask.price.0) as f64 / 2.0;
            (m.header.instrument == traded).then_some((m.header.time, mid))
        };
        let horizon = i64::from(config.ensemble.horizon_ms) * 1_000_000;
        Self { member, traded, horizon, mids: tape.iter().filter_map(mid).collect(), mid: 0.0 }
    }
}

impl Actor for Peeking {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        if let Some(quote) = message.body::<Quote>().filter(|_| message.header.instrument == self.traded) {
            self.mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
        }
        if !message.is_mark() || message.kind() != Some(Kind::Features) {
            return;
        }
        let now = message.header.time;
        let from = self.mids.partition_point(|(time, _)| *time <= now);
        let to = self.mids.partition_point(|(time, _)| *time <= now.saturating_add(self.horizon));
        // The first move that is large for its time is the one that decides.
        let ahead = self.mids[from..to].iter().map(|(_, mid)| mid - self.mid);
        let most = ahead.fold(0.0, |most: f64, move_| if move_.abs() > most.abs() { move_ } else { most });
        let mut vote = Vote { member: self.member as u64, ..Vote::default() };
        if from == to || most == 0.0 {
            vote.abstains = Abstention::NoData as u64;
        } else {
            let p = if most > 0.0 { [0.05, 0.05, 0.9] } else { [0.9, 0.05, 0.05] };
            vote.sketch = sketch::odds(p).unwrap_or_default();
        }
        out.send(Port::Vote, message.instrument(), vote);
    }
}
