//! A stage to try members on without a line: what they hear, and the vote they answer with. For tests, of ours and of extensions.

use kimera_protocol::{
    Body, Features, Flags, Header, InstrumentId, Level, Message, Nanos, Price, Quantity, Quote, Status, Vote,
};
use kimera_runtime::{Actor, Input, Outbox, Port};

use crate::members::OUTPUTS_MAX;
use crate::pool::Forecast;

/// A second.
pub const SECOND: Nanos = 1_000_000_000;
/// Stands where a reason to abstain would: it has answered with nothing at all.
pub const SILENT: u64 = u64::MAX;

/// Probabilities of a vote; zeros where there are none.
#[must_use]
pub fn p(vote: &Vote) -> Forecast {
    crate::sketch::read(vote.sketch).unwrap_or_default()
}

/// One message, and the vote that it was answered with.
///
/// # Panics
/// Where it says anything but votes.
pub fn handle<B: Body>(
    actor: &mut (impl Actor + ?Sized),
    instrument: u16,
    time: Nanos,
    flags: u8,
    body: B,
) -> Option<Vote> {
    let header = Header { seq: 1, time, instrument: InstrumentId(instrument).0, flags, ..Header::default() };
    let message = Message::new(header, body);
    let mut out = Outbox::new(OUTPUTS_MAX);
    out.begin(&message);
    actor.handle(Input { message: &message, joined: &[] }, &mut out);
    out.staged().inspect(|(port, _)| assert_eq!(*port, Port::Vote)).find_map(|(_, m)| m.body().copied())
}

/// A quote a tick to either side of `mid`, and at the same time a mark with features: a fair price of `micro`, and a flow that is worth `flow` ticks.
///
/// # Panics
/// Where a quote is answered.
pub fn mark(
    actor: &mut (impl Actor + ?Sized),
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
    let silent = Vote { abstains: SILENT, ..Vote::default() };
    handle(actor, instrument, time, Flags::MARK, features).unwrap_or(silent)
}
