//! Members of the ensemble, a module each. A member is an actor of its own: it hears what the market stage says and
//! votes at every mark, from the state it has sampled.

mod abstainer;
mod contradiction;
mod pattern;
mod sentiment;
mod thermodynamic;

pub use abstainer::Abstainer;
pub use contradiction::{Contradiction, ContradictionConfig};
pub use pattern::Pattern;
pub use sentiment::Sentiment;
pub use thermodynamic::{Thermodynamic, ThermodynamicConfig, policy};

use kimera_protocol::{Abstention, Message, Vote};
use kimera_runtime::{Outbox, Port};

use crate::pool::{Forecast, simplex};

/// Most outputs of one input.
pub const OUTPUTS_MAX: usize = 1;

/// Sends a member's vote, or its abstention; what is no distribution is an abstention.
fn send(
    member: usize,
    said: Result<Forecast, Abstention>,
    levels: (f64, f64),
    cause: &Message,
    out: &mut Outbox,
) {
    let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
    let mut vote =
        Vote { member: member as u64, level: finite(levels.0), second: finite(levels.1), ..Vote::default() };
    match said.and_then(|p| simplex(p).ok_or(Abstention::Degenerate)) {
        Ok(p) => vote.p = p,
        Err(reason) => vote.abstains = reason as u64,
    }
    out.send(Port::Vote, cause.instrument(), vote);
}

#[cfg(test)]
pub(crate) mod testing {
    //! Marks for members.

    use kimera_protocol::{
        Body, Features, Flags, Header, InstrumentId, Level, Message, Nanos, Price, Quantity, Quote, Status,
        Vote,
    };
    use kimera_runtime::{Actor, Input, Outbox, Port};

    pub const SECOND: Nanos = 1_000_000_000;

    pub fn handle<B: Body>(
        actor: &mut impl Actor,
        instrument: u16,
        time: Nanos,
        flags: u8,
        body: B,
    ) -> Option<Vote> {
        let header =
            Header { seq: 1, time, instrument: InstrumentId(instrument).0, flags, ..Header::default() };
        let message = Message::new(header, body);
        let mut out = Outbox::new(super::OUTPUTS_MAX);
        out.begin(&message);
        actor.handle(Input { message: &message, joined: &[] }, &mut out);
        out.staged().inspect(|(port, _)| assert_eq!(*port, Port::Vote)).find_map(|(_, m)| m.body().copied())
    }

    /// A quote around `mid` and features whose fair price is `micro`, with a flow that is worth `flow` ticks.
    pub fn mark(
        actor: &mut impl Actor,
        instrument: u16,
        time: Nanos,
        mid: i64,
        micro: f64,
        flow: f64,
    ) -> Vote {
        let level = |price| Level { price: Price(price), size: Quantity(1) };
        let quote = Quote { bid: level(mid - 1), ask: level(mid + 1), usable: 1, ..Quote::default() };
        assert!(handle(actor, instrument, time, 0, quote).is_none());
        let mut features =
            Features { microprice: micro, order_flow: flow, order_flow_impact: 1.0, ..Features::default() };
        (0..4).for_each(|i| features.set_status(i, Status::Ok));
        handle(actor, instrument, time, Flags::MARK, features)
            .expect("a member votes or abstains at every mark")
    }
}
