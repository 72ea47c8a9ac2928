//! What must hold in a firm, whatever goes wrong: looked at all the time, and once more at the end.

use std::collections::BTreeSet;
use std::path::Path;

use kimera_protocol::{Kind, NewOrder, OrderEvent, OrderId, OrderUpdate, OrphanAdopted};
use kimera_runtime::{Counter, Counters, files};
use kimera_simulator::matching::OrderSide;

use super::firm::{Outcome, Shared, halted};
use crate::orders::OrderTable;
use crate::replay::{self, ExecutorChoice, Recorded, ReplayOptions};
use crate::report::EngineSummary;

/// No more than this may ever be at risk, in 1e-8: the position and everything that stands on one side. Risk's own limit
/// is a tenth of the capital, a little below it at the prices of the synthetic tape.
const EXPOSURE_MAX: i64 = 17_000_000;

/// A halt that holds: nothing may leave any more.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Orders the gateway of this start had sent when the word was written.
    pub sent: u64,
    /// When it was written.
    pub at: u64,
}

/// What is looked at when a firm has come to its end.
pub struct Facts<'a> {
    /// The engine's state directory.
    pub state: &'a Path,
    /// The venue's account.
    pub account: &'a Path,
    /// The summary, where the engine came to its end.
    pub ended: &'a Option<EngineSummary>,
    /// Allocations in sealed seats; none known where a seat has panicked, which allocates what it says.
    pub allocations: Option<u64>,
}

/// Orders that the gateway of this start has sent.
#[must_use]
pub fn sent(shared: &Shared) -> u64 {
    shared.gauges.sent.get()
}

/// What is read of a start after every step; found once it has been registered.
#[derive(Default)]
pub struct Gauges {
    sent: Counter,
    seq: Counter,
    balanced: Counter,
    cancels: Counter,
}

impl Gauges {
    fn look(&mut self, counters: &Counters) {
        for (gauge, name) in [
            (&mut self.sent, "gateway.usdm.sent"),
            (&mut self.seq, "sequencer.seq"),
            (&mut self.balanced, "ledger.balanced"),
            (&mut self.cancels, "gateway.usdm.cancels"),
        ] {
            if !gauge.is_attached() {
                *gauge = counters.counter_of(name);
            }
        }
    }
}

/// Messages that the seats of a start have handled.
#[must_use]
pub fn handled(counters: &Counters) -> u64 {
    counters.snapshot().sum_of(".inputs")
}

/// Refusals that only a fault of our own explains.
const OWN_FAULTS: [&str; 4] = ["reused-identity", "malformed", "off-step", "below-least"];

/// What a start says of itself that must not be.
#[must_use]
pub fn own_faults(counters: &Counters) -> Option<String> {
    let count = |reason: &str| counters.counter_of(&format!("risk.refused.{reason}")).get();
    let (reason, n) = OWN_FAULTS.iter().map(|r| (r, count(r))).find(|(_, n)| *n > 0)?;
    Some(format!("risk had to refuse {n} orders of ours: {reason}"))
}

/// Looked at after every step.
pub fn always(shared: &mut Shared) {
    if shared.violation.is_some() {
        return;
    }
    if let Some(counters) = shared.counters.clone() {
        shared.gauges.look(&counters);
        shared.newest = shared.newest.max(shared.gauges.seq.get());
    }
    let found = exposure(shared)
        .or_else(|| left_under_halt(shared))
        .or_else(|| books(shared))
        .or_else(|| circles(shared));
    shared.violation = found;
}

/// The venue's own account never holds more than risk may allow.
fn exposure(shared: &Shared) -> Option<String> {
    let account = shared.server.account()?;
    let position = account.matching.position();
    let (mut bids, mut asks) = (0i64, 0i64);
    for order in account.matching.resting() {
        let left = order.placement.size - order.filled;
        *(if order.placement.side == OrderSide::Buy { &mut bids } else { &mut asks }) += left;
    }
    let worst = (position + bids).abs().max((position - asks).abs());
    (worst > EXPOSURE_MAX).then(|| {
        format!(
            "position {position} with {bids} bid and {asks} offered at the venue: more than {EXPOSURE_MAX}"
        )
    })
}

/// After a halt at most what was being written leaves; on one thread, nothing.
fn left_under_halt(shared: &Shared) -> Option<String> {
    let held = shared.held?;
    let now = sent(shared);
    (now > held.sent && halted()).then(|| format!("{} orders left under a halt", now - held.sent))
}

/// A disk that answers nobody stops the line: what stood is taken back without it.
pub fn nothing_stands(shared: &mut Shared, silent_ns: u64) {
    let standing = shared.server.account().map_or(0, |account| account.matching.resting().count());
    if standing > 0 {
        let text = format!(
            "{standing} orders stand while the disk has been silent for {} ms",
            silent_ns / 1_000_000
        );
        shared.violation.get_or_insert(text);
    }
}

/// Nobody asks the venue in a circle.
fn circles(shared: &Shared) -> Option<String> {
    let (cancels, known) = (shared.gauges.cancels.get(), shared.server.account()?.orders().len() as u64);
    (cancels > 1_000 + 60 * known).then(|| format!("{cancels} cancels for {known} orders"))
}

fn books(shared: &Shared) -> Option<String> {
    (shared.gauges.seq.get() > 0 && shared.gauges.balanced.get() == 0)
        .then(|| "the ledger does not balance".into())
}

/// Looked at when the run is over.
pub fn at_the_end(shared: &mut Shared, facts: &Facts<'_>, outcome: &mut Outcome) {
    if let Some(account) = shared.server.account() {
        outcome.orders = account.orders().count() as u64;
        outcome.fills = account.trades().len() as u64;
    }
    let found = match facts.ended {
        _ if shared.violation.is_some() => None,
        None => Some("the engine did not come to its end".to_owned()),
        Some(summary) => summary_holds(summary).or_else(|| accounts_agree(shared, facts)),
    };
    let found = found.or_else(|| replays(facts.state, outcome));
    let allocated = facts.allocations.filter(|n| *n > 0).map(|n| format!("{n} allocations in sealed seats"));
    shared.violation = shared.violation.take().or(found).or(allocated);
    let mut hash = blake3::Hasher::new();
    hash.update(&files::read(facts.account).unwrap_or_default());
    let journal = facts.state.join("journal");
    for name in files::names_in(&journal).unwrap_or_default() {
        hash.update(&files::read(&journal.join(name)).unwrap_or_default());
    }
    let bytes = hash.finalize();
    outcome.trace = u64::from_le_bytes(std::array::from_fn(|i| bytes.as_bytes()[i]));
}

fn summary_holds(summary: &EngineSummary) -> Option<String> {
    let l = &summary.ledger;
    if !l.balanced || l.venue_match != Some(true) {
        return Some(format!(
            "books balanced: {}, as the venue's: {:?}; {:?}",
            l.balanced, l.venue_match, summary.degraded
        ));
    }
    None
}

/// Every order of the venue is known to the journal, every fill is in it once, and nothing stands any more.
fn accounts_agree(shared: &Shared, facts: &Facts<'_>) -> Option<String> {
    let account = shared.server.account()?;
    let recorded = match replay::load(facts.state) {
        Ok(recorded) => recorded,
        Err(e) => return Some(format!("the journal cannot be read: {e}")),
    };
    let mut known: BTreeSet<OrderId> =
        recorded.said.orders.iter().filter_map(|m| m.body::<NewOrder>()).map(|o| o.id).collect();
    if let Some(bare) =
        recorded.said.orders.iter().filter_map(|m| m.body::<NewOrder>()).find(|o| o.stamp_seq == 0)
    {
        return Some(format!("order {:?} passed without a stamp", bare.id));
    }
    let mut filled = BTreeSet::new();
    for message in recorded.inputs.iter() {
        match message.kind() {
            Some(Kind::OrphanAdopted) => known.extend(message.body::<OrphanAdopted>().map(|o| o.id)),
            Some(Kind::OrderUpdate) => filled.extend(
                message
                    .body::<OrderUpdate>()
                    .filter(|u| OrderEvent::from_code(u.event).is_some_and(OrderEvent::is_fill))
                    .map(|u| u.trade_id)
                    .filter(|t| *t > 0),
            ),
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    for order in account.orders() {
        let id = OrderId::parse(order.placement.client_id.as_bytes());
        if !id.is_some_and(|id| known.contains(&id)) {
            return Some(format!("nobody knows of order {} at the venue", order.placement.client_id));
        }
        if !seen.insert(id) {
            return Some(format!("the identity {} was used twice", order.placement.client_id));
        }
    }
    if let Some(open) = account.open_orders().next() {
        return Some(format!("order {} still stands at the end", open.placement.client_id));
    }
    let traded: BTreeSet<u64> = account.trades().iter().map(|t| t.trade_id).collect();
    if traded != filled {
        let lost: Vec<_> = traded.difference(&filled).collect();
        let invented: Vec<_> = filled.difference(&traded).collect();
        return Some(format!("fills lost {lost:?}, invented {invented:?}"));
    }
    without_an_end(&recorded)
}

/// Of every order the line has heard what became of it: one that it takes for working for ever holds its limits.
fn without_an_end(recorded: &Recorded) -> Option<String> {
    let mut table = OrderTable::default();
    table.follow(&recorded.said.orders, recorded.inputs.iter());
    let open =
        table.iter().find(|(_, record)| record.state.is_working()).map(|(_, record)| record.order.id)?;
    Some(format!("the line never hears what became of order {}", open.to_text().as_str()))
}

/// A line that begins with a state of the middle says the same as one that has seen everything.
fn from_the_middle(state: &Path) -> Option<String> {
    let recorded = replay::load(state).ok()?;
    // Another place in every journal.
    let last = recorded.inputs.last()?.header.seq;
    let cut = 1 + recorded.said.decisions.len() as u64 * 7_919 % last.max(2).saturating_sub(1);
    match replay::from_the_middle(&recorded, cut) {
        Ok(None) => None,
        Ok(Some(difference)) => {
            Some(format!("from the state behind input {cut} the line differs: {difference:?}"))
        }
        Err(e) => Some(format!("the state behind input {cut} cannot be gone on with: {e}")),
    }
}

/// The journal through the line again says the same.
fn replays(state: &Path, outcome: &mut Outcome) -> Option<String> {
    let options = ReplayOptions {
        from_snapshot: false,
        swaps: Vec::new(),
        said: None,
        state: state.to_owned(),
        executor: ExecutorChoice::Deterministic(0),
        patch: None,
        until: u64::MAX,
        flip: None,
    };
    match replay::run(&options) {
        Ok(report) => {
            (outcome.inputs, outcome.decisions) = (report.inputs, report.decisions);
            if !report.identical {
                return Some(format!("the replay differs: {:?}", report.first_difference));
            }
            from_the_middle(state)
        }
        Err(e) => Some(format!("the journal cannot be replayed: {e}")),
    }
}
