//! The checks, in their fixed order (model book 4.14). Each answers whether the order may pass; the first that says no
//! refuses, with its own reason. None of them changes anything.

use kimera_protocol::order::OrderFlags;
use kimera_protocol::{InstrumentVersion, Nanos, NewOrder, RefusalReason, Side, TradingState};

use crate::equity::FINE;
use crate::gate::Gate;
use crate::limits::InstrumentRules;

/// An order with everything the checks look at.
pub(crate) struct Case<'a> {
    pub gate: &'a Gate,
    pub order: &'a NewOrder,
    pub instrument: u16,
    pub rules: InstrumentRules,
    /// What the venue demands now.
    pub version: InstrumentVersion,
    pub side: Side,
    pub now: Nanos,
    /// It can only make the position smaller.
    pub reduces: bool,
    /// Place of the session whose order it is.
    pub session: usize,
    /// It can only make the session's position smaller.
    pub leads_out: bool,
}

/// Name and body of a check.
pub(crate) type Check = (RefusalReason, fn(&Case<'_>) -> bool);

/// The order is fixed: cheap and final ones first, the same for every order.
pub(crate) const CHECKS: [Check; 24] = [
    (RefusalReason::Halted, |c| c.gate.trading_state() != TradingState::Halted),
    (RefusalReason::NoEquity, |c| c.reduces || c.gate.equity.now() > 0),
    (RefusalReason::DailyLoss, |c| c.reduces || !c.gate.equity.loss_tripped()),
    (RefusalReason::Drawdown, |c| c.reduces || !c.gate.equity.in_drawdown(c.gate.limits.drawdown)),
    (RefusalReason::ReducingOnly, |c| c.reduces || c.gate.trading_state() == TradingState::Active),
    (RefusalReason::SessionStopped, |c| c.leads_out || c.gate.sessions.terms().at(c.session).runs),
    (RefusalReason::SessionLoss, |c| c.leads_out || session_has_not_lost(c)),
    (RefusalReason::MarketAlert, |c| c.reduces || !c.gate.is_held(c.instrument, c.now)),
    (RefusalReason::Malformed, well_formed),
    (RefusalReason::ReusedIdentity, |c| !c.gate.book.knows(c.order.id)),
    (RefusalReason::NotTradable, |c| c.reduces || (c.version.is_open() && c.version.is_sayable())),
    (RefusalReason::OffStep, |c| c.version.is_on_step(c.order.price, c.order.quantity)),
    (RefusalReason::BelowLeast, reaches_least),
    (RefusalReason::StalePrice, |c| c.reduces || fresh(c)),
    (RefusalReason::PriceCollar, inside_collar),
    (RefusalReason::OrderSize, |c| size_of_decision(c) <= i128::from(c.gate.limits.order_size_max)),
    (RefusalReason::OrderNotional, |c| {
        notional(c, c.order.quantity.0.into()) <= i128::from(c.gate.limits.order_notional_max) * FINE
    }),
    (RefusalReason::SessionExposure, |c| c.leads_out || session_exposure_holds(c)),
    (RefusalReason::PositionLimit, |c| c.reduces || position_holds(c)),
    (RefusalReason::AssetLimit, |c| c.reduces || asset_holds(c)),
    (RefusalReason::Rate, |c| c.gate.tokens_at(c.now) >= 1),
    (RefusalReason::TooManyOrders, |c| {
        c.gate.book.working_len() < c.gate.limits.working_max && c.gate.book.has_room()
    }),
    (RefusalReason::Duplicate, is_new),
    (RefusalReason::SelfCross, crosses_none_of_ours),
];

fn well_formed(c: &Case<'_>) -> bool {
    c.rules.tradable
        && c.order.time_in_force <= 3
        && c.order.price.0 > 0
        && c.order.quantity.0 > 0
        && c.order.flags & !OrderFlags::REDUCE_ONLY == 0
        && (c.order.flags & OrderFlags::REDUCE_ONLY == 0 || c.reduces)
}

/// Venues let what only makes a position smaller be of any size, where it is marked so.
fn reaches_least(c: &Case<'_>) -> bool {
    c.order.flags & OrderFlags::REDUCE_ONLY != 0 || c.version.reaches_least(c.order.price, c.order.quantity)
}

fn fresh(c: &Case<'_>) -> bool {
    let reference = c.gate.reference(c.instrument);
    reference.doubled_mid > 0 && c.now.saturating_sub(reference.time) <= c.gate.limits.stale_after
}

/// `|price − mid| ≤ share · mid`, with the mid doubled so that it has no half tick.
fn inside_collar(c: &Case<'_>) -> bool {
    let mid = i128::from(c.gate.reference(c.instrument).doubled_mid);
    if mid <= 0 {
        return c.reduces;
    }
    let distance = (i128::from(c.order.price.0) * 2 - mid).abs();
    let collar = if c.reduces { c.gate.limits.collar_reducing } else { c.gate.limits.collar };
    collar.holds(distance, mid)
}

/// Notional of a size at the worse of the order's price and the mid, in 1e-16.
fn notional(c: &Case<'_>, size: i128) -> i128 {
    let mid = i128::from(c.gate.reference(c.instrument).doubled_mid);
    let doubled = (i128::from(c.order.price.0) * 2).max(mid);
    (doubled * i128::from(c.rules.tick_units)).saturating_mul(size) / 2
}

/// At the share itself it has.
fn session_has_not_lost(c: &Case<'_>) -> bool {
    let terms = c.gate.sessions.terms().at(c.session).terms;
    let result = c.gate.sessions.result(c.session, |i| c.gate.doubled_price(i));
    terms.holds(1i128.saturating_sub(result), terms.loss_bps)
}

/// At the worse of the order's price and the mid for its own instrument, at the mid for others.
fn session_exposure_holds(c: &Case<'_>) -> bool {
    let terms = c.gate.sessions.terms().at(c.session).terms;
    let own = i128::from(c.order.price.0) * 2 * i128::from(c.rules.tick_units);
    let doubled = |i: u16| {
        let mid = c.gate.doubled_price(i);
        if i == c.instrument { mid.max(own) } else { mid }
    };
    let extra = (c.instrument, c.side, c.order.quantity.0);
    terms.holds(c.gate.sessions.worst_exposure(&c.gate.book, c.session, extra, doubled), terms.exposure_bps)
}

fn position_holds(c: &Case<'_>) -> bool {
    let worst = c.gate.book.worst_of_side(c.instrument, c.side, c.order.quantity.0);
    c.gate.limits.position.holds(notional(c, worst), c.gate.equity.now())
}

fn asset_holds(c: &Case<'_>) -> bool {
    let own = notional(c, c.gate.book.worst_of_side(c.instrument, c.side, c.order.quantity.0));
    let others = c.gate.instruments().filter(|(i, rules)| *i != c.instrument && rules.asset == c.rules.asset);
    let exposure = others.fold(own, |sum, (instrument, rules)| {
        let worst = c.gate.book.worst_position(instrument);
        let mid = i128::from(c.gate.reference(instrument).doubled_mid);
        sum.saturating_add((mid * i128::from(rules.tick_units)).saturating_mul(worst) / 2)
    });
    c.gate.limits.asset.holds(exposure, c.gate.equity.now())
}

/// True for children of one session's budget, or of one input: they are one decision.
fn same_decision(a: &NewOrder, b: &NewOrder) -> bool {
    a.id.session() == b.id.session() && (a.id.seq == b.id.seq || (a.parent != 0 && a.parent == b.parent))
}

/// Size of the order with what stands of its budget on the same side: splitting does not get around the limit.
fn size_of_decision(c: &Case<'_>) -> i128 {
    let o = c.order;
    let siblings = c.gate.book.working().filter(|p| {
        let q = &p.record.order;
        p.instrument == c.instrument
            && (o.parent != 0 && q.parent == o.parent)
            && (q.side, q.id.session()) == (o.side, o.id.session())
    });
    siblings.fold(i128::from(o.quantity.0), |sum, p| sum + i128::from(p.record.remaining()))
}

/// Not what passed a moment ago and still stands. Children of one budget are one
/// decision; a requote after its own cancel or fill finds nothing standing.
fn is_new(c: &Case<'_>) -> bool {
    let o = c.order;
    let same = |p: &crate::book::Passed| {
        let q = &p.record.order;
        p.instrument == c.instrument
            && !same_decision(q, o)
            && (q.strategy, q.side, q.price, q.quantity) == (o.strategy, o.side, o.price, o.quantity)
            && c.now.saturating_sub(p.time) < c.gate.limits.duplicate_window
    };
    !c.gate.book.working().any(same)
}

fn crosses_none_of_ours(c: &Case<'_>) -> bool {
    let crosses = |p: &crate::book::Passed| {
        let q = &p.record.order;
        p.instrument == c.instrument
            && match (c.side, q.side == Side::Bid as u8) {
                (Side::Bid, false) => c.order.price >= q.price,
                (Side::Ask, true) => c.order.price <= q.price,
                _ => false,
            }
    };
    !c.gate.book.working().any(crosses)
}
