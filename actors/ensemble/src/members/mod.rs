//! Members of the ensemble, a module each. A member is an actor of its own: it hears what the market stage says and
//! says at every mark what it has found, from the state it has sampled: a [`kimera_protocol::Sketch`], which is its vote.

mod contradiction;
mod pattern;
mod sentiment;
mod thermodynamic;
mod world;

pub use contradiction::{Contradiction, ContradictionConfig};
pub use pattern::Pattern;
pub use sentiment::{Sentiment, SentimentConfig};
pub use thermodynamic::{Thermodynamic, ThermodynamicConfig, policy};
pub use world::{Macro, MacroConfig};

use kimera_protocol::{Abstention, InstrumentId, Message, Nanos, Sketch, Vote};
use kimera_runtime::{Actor, Outbox, Port};

/// Most outputs of one input.
pub const OUTPUTS_MAX: usize = 1;

/// What a member that does not come with the project is told when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Its number.
    pub member: usize,
    /// Instrument whose price is forecast.
    pub traded: InstrumentId,
    /// Horizon of a forecast.
    pub horizon: Nanos,
    /// Bars of the run.
    pub bar: Nanos,
}

/// A member that does not come with the project: its name in configurations, what it does, and who makes it.
pub type MemberOf = (&'static str, &'static str, fn(&Roles) -> Box<dyn Actor>);

/// Sends what a member has found, or its abstention; what fits on no grid is an abstention.
pub fn send(
    member: usize,
    found: Result<Option<Sketch>, Abstention>,
    levels: (f64, f64),
    cause: &Message,
    out: &mut Outbox,
) {
    let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
    let mut vote =
        Vote { member: member as u64, level: finite(levels.0), second: finite(levels.1), ..Vote::default() };
    match found.and_then(|sketch| sketch.ok_or(Abstention::Degenerate)) {
        Ok(sketch) => vote.sketch = sketch,
        Err(reason) => vote.abstains = reason as u64,
    }
    out.send(Port::Vote, cause.instrument(), vote);
}
