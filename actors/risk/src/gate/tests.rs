//! Every reason has an order that gets it and one a unit away that does not; no stream of anything breaks a limit.

use kimera_protocol::order::OrderFlags;
use kimera_protocol::{
    AlertPolicy, InstrumentStatus, Level, Loader, OrderEvent, OrderId, Price, Quantity, Saver, Severity,
    Side, TimeInForce,
};
use proptest::prelude::*;

use super::*;
use crate::limits::BasisPoints;

const UNIT: i64 = 100_000_000;
const SECOND_NS: i64 = 1_000_000_000;
const NOW: i64 = 100 * SECOND_NS;
/// 50,000.00 in ticks of 0.10.
const MID: i64 = 500_000;

fn rules() -> Vec<InstrumentRules> {
    let perp = InstrumentRules { tick_units: UNIT / 10, lot_units: UNIT / 1_000, asset: 0, tradable: true };
    vec![InstrumentRules { tradable: false, ..perp }, perp]
}

fn quote(bid: i64, ask: i64) -> Quote {
    let level = |price| Level { price: Price(price), size: Quantity(UNIT) };
    Quote { bid: level(bid), ask: level(ask), usable: 1, ..Quote::default() }
}

fn command(gate: &mut Gate, code: CommandCode, epoch: u64) {
    gate.command(&Command { code: code as u64, epoch, ..Command::default() }, NOW);
}

fn gate_with(limits: Limits) -> Gate {
    let mut gate = Gate::new(limits, rules());
    command(&mut gate, CommandCode::Resume, 1);
    gate.quote(0, &quote(MID - 1, MID + 1), NOW);
    gate.quote(1, &quote(MID - 1, MID + 1), NOW);
    gate
}

fn gate() -> Gate {
    gate_with(Limits::default())
}

fn order(seq: u64, side: Side, price: i64, quantity: i64) -> NewOrder {
    NewOrder {
        id: OrderId { incarnation: 1, seq, child: 0 },
        price: Price(price),
        quantity: Quantity(quantity),
        side: side as u8,
        time_in_force: TimeInForce::PostOnly as u8,
        ..NewOrder::default()
    }
}

fn buy(seq: u64) -> NewOrder {
    order(seq, Side::Bid, MID - 10, UNIT / 100)
}

fn fill(order: &NewOrder, size: i64, total: i64) -> OrderUpdate {
    OrderUpdate {
        id: order.id,
        price: order.price,
        quantity: Quantity(size),
        cumulative: Quantity(total),
        event: OrderEvent::PartFilled as u8,
        side: order.side,
        ..OrderUpdate::default()
    }
}

fn refusal(gate: &mut Gate, order: &NewOrder) -> Option<RefusalReason> {
    let before = gate.clone();
    let result = gate.judge(order, 1, order.id.seq, NOW).err();
    assert!(result.is_none() || *gate == before, "a refusal changed something");
    result
}

/// Buys until the position is `size`.
fn hold(gate: &mut Gate, seq: u64, side: Side, size: i64) {
    let o = order(seq, side, MID, size);
    gate.judge(&o, 1, seq, NOW).unwrap();
    gate.report(1, &fill(&o, size, size), NOW);
}

#[test]
fn a_good_order_is_stamped() {
    let mut gate = gate();
    let stamped = gate.judge(&buy(7), 1, 9, NOW).unwrap();
    assert_eq!((stamped.stamp_seq, stamped.limits_version, stamped.trading_epoch), (9, 1, 1));
    assert_eq!(stamped.send_by, NOW + SECOND_NS / 4);
    assert_eq!(gate.book().working_size(1, Side::Bid), UNIT / 100);
}

/// What can only make the position smaller says so, whoever looks at it later; nobody else may say it.
#[test]
fn a_way_out_is_stamped_as_one() {
    let mut gate = gate();
    hold(&mut gate, 1, Side::Bid, 10 * UNIT / 100);
    let working = order(2, Side::Ask, MID + 10, 6 * UNIT / 100);
    let flags = |gate: &Gate, o: NewOrder| gate.clone().judge(&o, 1, o.id.seq, NOW).map(|s| s.flags);
    assert_eq!(flags(&gate, working), Ok(OrderFlags::REDUCES));
    gate.judge(&working, 1, 2, NOW).unwrap();
    let ask = |lots: i64| order(3, Side::Ask, MID + 20, lots * UNIT / 100);
    assert_eq!(
        (flags(&gate, ask(4)), flags(&gate, ask(5))),
        (Ok(OrderFlags::REDUCES), Ok(0)),
        "six may be filled before"
    );
    assert_eq!(flags(&gate, buy(3)), Ok(0));
    let by_word = NewOrder { flags: OrderFlags::REDUCE_ONLY, ..ask(4) };
    assert_eq!(flags(&gate, by_word), Ok(OrderFlags::REDUCE_ONLY | OrderFlags::REDUCES));
    let claimed = NewOrder { flags: OrderFlags::REDUCES, ..buy(3) };
    assert_eq!(flags(&gate, claimed), Err(RefusalReason::Malformed), "only risk says so");
}

#[test]
fn each_reason_at_its_limit_and_a_unit_beyond() {
    use RefusalReason as R;
    let at = |o: NewOrder| refusal(&mut gate(), &o);
    assert_eq!(at(NewOrder { side: 9, ..buy(1) }), Some(R::Malformed));
    assert_eq!(at(NewOrder { time_in_force: 4, ..buy(1) }), Some(R::Malformed));
    assert_eq!(at(order(1, Side::Bid, 0, UNIT / 100)), Some(R::Malformed));
    assert_eq!(at(order(1, Side::Bid, MID, -UNIT / 100)), Some(R::Malformed));
    assert_eq!(
        at(NewOrder { flags: OrderFlags::REDUCE_ONLY, ..buy(1) }),
        Some(R::Malformed),
        "there is nothing to reduce"
    );
    assert_eq!(gate().judge(&buy(1), 0, 1, NOW).err(), Some(R::Malformed), "read only");
    assert_eq!(gate().judge(&buy(1), 9, 1, NOW).err(), Some(R::Malformed), "no such instrument");
    assert_eq!(at(order(1, Side::Bid, MID, UNIT / 1_000 + 1)), Some(R::OffStep));
    // The collar is 3 %: 15,000 ticks of a mid of 500,000.
    assert_eq!(at(order(1, Side::Bid, MID - 15_000, UNIT / 100)), None);
    assert_eq!(at(order(1, Side::Bid, MID - 15_001, UNIT / 100)), Some(R::PriceCollar));
    assert_eq!(at(order(1, Side::Ask, MID + 15_001, UNIT / 100)), Some(R::PriceCollar));
    // 10,000 of notional is 0.2 at 50,000; that is also 10 % of equity, so the position is let larger here.
    let wide = Limits { position: BasisPoints(9_000), asset: BasisPoints(9_000), ..Limits::default() };
    assert_eq!(refusal(&mut gate_with(wide.clone()), &order(1, Side::Bid, MID, UNIT / 5)), None);
    let lot = UNIT / 1_000;
    assert_eq!(
        refusal(&mut gate_with(wide.clone()), &order(1, Side::Bid, MID, UNIT / 5 + lot)),
        Some(R::OrderNotional)
    );
    let small = Limits { order_size_max: UNIT / 100, ..wide };
    assert_eq!(refusal(&mut gate_with(small.clone()), &order(1, Side::Bid, MID, UNIT / 100)), None);
    assert_eq!(
        refusal(&mut gate_with(small), &order(1, Side::Bid, MID, UNIT / 100 + lot)),
        Some(R::OrderSize)
    );
    let broke = Limits { equity_start: 0, ..Limits::default() };
    assert_eq!(refusal(&mut gate_with(broke), &buy(1)), Some(R::NoEquity));
}

/// Behind a change of the venue's rules orders are judged by them, and by nothing that was true before.
#[test]
fn orders_are_judged_by_the_newest_version_of_their_instrument() {
    use RefusalReason as R;
    let lot = UNIT / 1_000;
    let rules = Definition {
        tick_units: UNIT / 2, // five ticks of the run
        lot_units: 2 * lot,
        size_min: 4 * lot,
        notional_min: 500 * UNIT,
        status: InstrumentStatus::Trading as u64,
        ..Definition::default()
    };
    let mut gate = gate();
    hold(&mut gate, 1, Side::Bid, 20 * lot);
    assert!(!gate.define(9, 5, &rules), "no such instrument");
    assert!(gate.define(1, 5, &rules) && !gate.define(1, 6, &rules));
    let at = |o: NewOrder| refusal(&mut gate.clone(), &o);
    assert_eq!(at(order(2, Side::Bid, MID, 10 * lot)), None);
    assert_eq!(at(order(2, Side::Bid, MID + 1, 10 * lot)), Some(R::OffStep));
    assert_eq!(at(order(2, Side::Bid, MID, 9 * lot)), Some(R::OffStep));
    assert_eq!(at(order(2, Side::Bid, MID, 2 * lot)), Some(R::BelowLeast));
    // 0.010 at 49,999.00 is a notional of 499.99; on the way out nobody minds.
    let out = order(2, Side::Ask, MID - 10, 10 * lot);
    assert_eq!(at(out), Some(R::BelowLeast));
    assert_eq!(at(NewOrder { flags: OrderFlags::REDUCE_ONLY, ..out }), None);
    for (tick_units, status, more, less) in [
        (UNIT / 2, InstrumentStatus::CancelOnly as u64, Some(R::NotTradable), None),
        (UNIT / 2, 77, Some(R::NotTradable), None),
        // Ticks that this run's prices cannot say: only ways out pass, where both have a price.
        (UNIT / 100, InstrumentStatus::Trading as u64, Some(R::NotTradable), None),
        (UNIT / 4, InstrumentStatus::Trading as u64, Some(R::NotTradable), None),
        (UNIT * 11 / 20, InstrumentStatus::Trading as u64, Some(R::NotTradable), Some(R::OffStep)),
    ] {
        assert!(gate.define(1, 7, &Definition { tick_units, status, ..rules }));
        let at = |o: NewOrder| refusal(&mut gate.clone(), &o);
        assert_eq!(at(order(2, Side::Bid, MID - 10, 12 * lot)), more);
        assert_eq!(at(order(2, Side::Ask, MID + 10, 12 * lot)), less);
    }
    let mut restored = Gate::new(Limits::default(), self::rules());
    Loader::new(&Saver::of(&gate)).into_state(&mut restored).unwrap();
    assert_eq!(restored, gate);
}

#[test]
fn a_stale_price_stops_what_is_not_a_way_out() {
    let mut fresh = gate();
    assert_eq!(fresh.judge(&buy(1), 1, 1, NOW + SECOND_NS).err(), None);
    let mut stale = gate();
    assert_eq!(stale.judge(&buy(1), 1, 1, NOW + SECOND_NS + 1).err(), Some(RefusalReason::StalePrice));
    let mut never = Gate::new(Limits::default(), rules());
    assert_eq!(
        never.judge(&buy(1), 1, 1, NOW).err(),
        Some(RefusalReason::Halted),
        "nobody has said that it may"
    );
    command(&mut never, CommandCode::Resume, 1);
    assert_eq!(never.judge(&buy(1), 1, 1, NOW).err(), Some(RefusalReason::StalePrice));
    hold(&mut stale, 2, Side::Bid, UNIT / 100);
    assert_eq!(stale.judge(&order(3, Side::Ask, MID, UNIT / 100), 1, 3, NOW + 9 * SECOND_NS).err(), None);
}

#[test]
fn the_position_limit_counts_what_stands_and_is_exact() {
    // 10 % of 100,000 at 50,000 is 0.2; notional of one order is let larger.
    let limits =
        Limits { order_notional_max: 100_000 * UNIT, asset: BasisPoints(9_000), ..Limits::default() };
    let mut gate = gate_with(limits);
    assert_eq!(refusal(&mut gate, &order(1, Side::Bid, MID, UNIT / 10)), None);
    let lot = UNIT / 1_000;
    assert_eq!(
        refusal(&mut gate, &order(2, Side::Bid, MID, UNIT / 10 + lot)),
        Some(RefusalReason::PositionLimit)
    );
    assert_eq!(refusal(&mut gate, &order(3, Side::Bid, MID - 1, UNIT / 10)), None, "exactly 10 %");
    assert_eq!(refusal(&mut gate, &order(4, Side::Bid, MID - 2, lot)), Some(RefusalReason::PositionLimit));
    // The other side is counted apart: what stands there cannot make this side's worst case better.
    assert_eq!(refusal(&mut gate, &order(5, Side::Ask, MID + 5, UNIT / 5 - lot)), None);
    // An order the venue was silent about counts until it is explained.
    let first = order(1, Side::Bid, MID, UNIT / 10);
    let event = |e: OrderEvent| OrderUpdate { id: first.id, event: e as u8, ..OrderUpdate::default() };
    gate.report(1, &event(OrderEvent::Silent), NOW);
    assert_eq!(refusal(&mut gate, &order(6, Side::Bid, MID - 2, lot)), Some(RefusalReason::PositionLimit));
    gate.report(1, &event(OrderEvent::NotFound), NOW);
    assert_eq!(refusal(&mut gate, &order(7, Side::Bid, MID - 2, lot)), None);
}

#[test]
fn the_asset_limit_adds_instruments_up() {
    let mut both = rules();
    both[0].tradable = true;
    let limits = Limits { asset: BasisPoints(1_000), ..Limits::default() };
    let mut gate = Gate::new(limits, both);
    command(&mut gate, CommandCode::Resume, 1);
    gate.quote(0, &quote(MID - 1, MID + 1), NOW);
    gate.quote(1, &quote(MID - 1, MID + 1), NOW);
    assert_eq!(gate.judge(&order(1, Side::Bid, MID, UNIT / 10), 0, 1, NOW).err(), None);
    assert_eq!(refusal(&mut gate, &order(2, Side::Bid, MID, UNIT / 10)), None);
    assert_eq!(
        refusal(&mut gate, &order(3, Side::Bid, MID - 1, UNIT / 1_000)),
        Some(RefusalReason::AssetLimit)
    );
}

#[test]
fn behind_a_severe_alert_only_ways_out_pass_on_every_instrument_of_the_asset() {
    let mut gate = gate();
    hold(&mut gate, 1, Side::Bid, UNIT / 10);
    let alert = |severity: Severity| Alert { severity: severity as u64, ..Alert::default() };
    gate.alerted(1, &alert(Severity::Warning), NOW);
    assert_eq!(refusal(&mut gate, &buy(2)), None, "a warning stops nothing");
    gate.alerted(0, &alert(Severity::Severe), NOW - 60 * SECOND_NS + 1); // of the market that is only read
    assert_eq!(
        refusal(&mut gate, &order(3, Side::Bid, MID - 20, UNIT / 100)),
        Some(RefusalReason::MarketAlert)
    );
    assert_eq!(refusal(&mut gate, &order(4, Side::Ask, MID + 1, UNIT / 20)), None, "the way out");
    gate.alerted(9, &alert(Severity::Severe), NOW); // nobody knows it
    assert_eq!(
        gate.judge(&order(5, Side::Bid, MID - 30, UNIT / 100), 1, 5, NOW + 1).err(),
        None,
        "a minute behind it"
    );
    let never = AlertPolicy { hold: 0, ..AlertPolicy::default() };
    let mut deaf = gate_with(Limits { alerts: never, ..Limits::default() });
    deaf.alerted(1, &alert(Severity::Severe), NOW);
    assert_eq!(refusal(&mut deaf, &buy(2)), None);
}

#[test]
fn the_way_out_is_open_and_a_flip_is_not_a_way_out() {
    let mut gate = gate();
    hold(&mut gate, 1, Side::Bid, UNIT / 10);
    command(&mut gate, CommandCode::Reduce, 0);
    assert_eq!(refusal(&mut gate, &buy(2)), Some(RefusalReason::ReducingOnly));
    assert_eq!(
        refusal(&mut gate, &order(3, Side::Ask, MID, UNIT / 10 + UNIT / 1_000)),
        Some(RefusalReason::ReducingOnly)
    );
    assert_eq!(refusal(&mut gate, &order(4, Side::Ask, MID + 1, UNIT / 20)), None);
    assert_eq!(refusal(&mut gate, &order(5, Side::Ask, MID + 2, UNIT / 20)), None);
    assert_eq!(
        refusal(&mut gate, &order(6, Side::Ask, MID + 3, UNIT / 1_000)),
        Some(RefusalReason::ReducingOnly)
    );
    command(&mut gate, CommandCode::Halt, 2);
    assert_eq!(refusal(&mut gate, &order(7, Side::Ask, MID + 3, UNIT / 1_000)), Some(RefusalReason::Halted));
    let epoch = gate.epoch();
    command(&mut gate, CommandCode::Reduce, 0);
    assert_eq!(gate.trading_state(), TradingState::Halted, "a weaker word does not undo a stronger one");
    command(&mut gate, CommandCode::Resume, 2);
    assert_eq!(gate.judge(&buy(8), 1, 8, NOW).map(|o| o.trading_epoch), Ok(epoch));
    assert_eq!(epoch, 2);
}

#[test]
fn losses_close_the_gate() {
    let mut gate = gate_with(Limits { daily_loss: BasisPoints(5_000), ..Limits::default() });
    hold(&mut gate, 1, Side::Bid, UNIT / 5);
    // 0.2 of a fall of 50,000 is 10,000: 10 % of equity; here the price cannot fall so far, so the fall is a third
    // and the drawdown's share too.
    gate.limits.drawdown = BasisPoints(333);
    gate.quote(1, &quote(MID - 166_500 - 1, MID - 166_500 + 1), NOW);
    let cheap = order(2, Side::Bid, MID - 166_500 - 10, UNIT / 1_000);
    assert_eq!(refusal(&mut gate, &cheap), Some(RefusalReason::Drawdown));
    assert_eq!(refusal(&mut gate, &order(3, Side::Ask, MID - 166_500, UNIT / 5)), None, "out is open");
    let mut gate = gate_with(Limits { drawdown: BasisPoints(9_999), ..Limits::default() });
    hold(&mut gate, 1, Side::Bid, UNIT / 5);
    gate.quote(1, &quote(MID - 150_000 - 1, MID - 150_000 + 1), NOW);
    assert_eq!(
        refusal(&mut gate, &order(4, Side::Bid, MID - 150_010, UNIT / 1_000)),
        Some(RefusalReason::DailyLoss)
    );
}

#[test]
fn the_rate_refills() {
    let limits = Limits { orders_burst: 2, orders_per_second: 1, ..Limits::default() };
    let mut gate = gate_with(limits);
    let place = |gate: &mut Gate, seq: u64, now: i64| {
        gate.judge(&order(seq, Side::Bid, MID - seq as i64, UNIT / 1_000), 1, seq, now).err()
    };
    assert_eq!((place(&mut gate, 1, NOW), place(&mut gate, 2, NOW)), (None, None));
    assert_eq!(place(&mut gate, 3, NOW + SECOND_NS - 1), Some(RefusalReason::Rate));
    assert_eq!(place(&mut gate, 4, NOW + SECOND_NS), None);
    assert_eq!(place(&mut gate, 5, NOW + SECOND_NS), Some(RefusalReason::Rate));
}

#[test]
fn duplicates_are_what_stands_twice() {
    let mut gate = gate();
    let first = buy(1);
    assert_eq!(refusal(&mut gate, &first), None);
    assert_eq!(
        refusal(&mut gate, &NewOrder { price: Price(MID - 11), ..first }),
        Some(RefusalReason::ReusedIdentity),
        "identity"
    );
    assert_eq!(refusal(&mut gate, &buy(2)), Some(RefusalReason::Duplicate));
    assert_eq!(refusal(&mut gate, &NewOrder { strategy: 5, ..buy(2) }), None, "another strategy");
    let sibling = NewOrder { id: OrderId { child: 1, ..first.id }, ..first };
    assert_eq!(refusal(&mut gate, &sibling), None, "a child of the same decision");
    for id in [first.id, sibling.id] {
        gate.report(1, &OrderUpdate { id, event: OrderEvent::Canceled as u8, ..OrderUpdate::default() }, NOW);
    }
    assert_eq!(refusal(&mut gate, &buy(3)), None, "a requote after its own cancel");
    assert_eq!(gate.judge(&buy(4), 1, 4, NOW + SECOND_NS / 2).err(), None, "after the window");
}

#[test]
fn nothing_trades_with_itself() {
    let mut gate = gate();
    assert_eq!(refusal(&mut gate, &order(1, Side::Ask, MID + 5, UNIT / 100)), None);
    assert_eq!(refusal(&mut gate, &order(2, Side::Bid, MID + 5, UNIT / 100)), Some(RefusalReason::SelfCross));
    assert_eq!(refusal(&mut gate, &order(3, Side::Bid, MID + 4, UNIT / 100)), None);
    assert_eq!(refusal(&mut gate, &order(4, Side::Ask, MID + 4, UNIT / 100)), Some(RefusalReason::SelfCross));
}

#[test]
fn working_orders_have_a_limit_and_ended_ones_make_room() {
    let mut gate = gate_with(Limits { working_max: 2, ..Limits::default() });
    let place =
        |gate: &mut Gate, seq: u64| refusal(gate, &order(seq, Side::Bid, MID - seq as i64, UNIT / 1_000));
    assert_eq!((place(&mut gate, 1), place(&mut gate, 2)), (None, None));
    assert_eq!(place(&mut gate, 3), Some(RefusalReason::TooManyOrders));
    for seq in 1..40 {
        let id = OrderId { incarnation: 1, seq, child: 0 };
        gate.report(1, &OrderUpdate { id, event: OrderEvent::Canceled as u8, ..OrderUpdate::default() }, NOW);
        assert_eq!(place(&mut gate, seq + 2), None, "{seq}");
    }
}

#[test]
fn a_fill_nobody_remembers_moves_the_position_once() {
    let mut gate = gate();
    let stranger = fill(&order(999, Side::Ask, MID, UNIT / 10), UNIT / 10, UNIT / 10);
    let effect = gate.report(1, &stranger, NOW);
    assert_eq!((effect.signed_fill, effect.alarm), (-UNIT / 10, true));
    gate.report(1, &stranger, NOW);
    assert_eq!(gate.book().position(1), -UNIT / 10);
}

#[derive(Clone, Debug)]
enum Step {
    Place { side: bool, offset: i64, lots: i64 },
    Fill { which: prop::sample::Index, lots: i64 },
    End { which: prop::sample::Index, event: usize },
    Repeat { which: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), -40i64..40, 1i64..120).prop_map(|(side, offset, lots)| Step::Place { side, offset, lots }),
        3 => (any::<prop::sample::Index>(), 1i64..80).prop_map(|(which, lots)| Step::Fill { which, lots }),
        1 => (any::<prop::sample::Index>(), 0usize..11).prop_map(|(which, event)| Step::End { which, event }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Repeat { which }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Orders, fills, ends and repetitions in any order, from a venue that may lie about states: the position is the sum
    /// of what was reported filled, and neither it nor what stands ever exceeds the limit.
    #[test]
    fn no_stream_of_messages_breaks_a_limit(steps in proptest::collection::vec(step(), 1..120)) {
        let limits = Limits {
            orders_burst: 100_000,
            order_notional_max: 1_000_000 * UNIT,
            asset: BasisPoints(9_999),
            drawdown: BasisPoints(9_999),
            daily_loss: BasisPoints(9_999),
            working_max: 1_000,
            ..Limits::default()
        };
        let mut gate = gate_with(limits);
        let (mut passed, mut totals, mut reports): (Vec<NewOrder>, Vec<i64>, Vec<OrderUpdate>) = Default::default();
        let (mut position, lot) = (0i64, UNIT / 1_000);
        for (seq, step) in (1u64..).zip(steps) {
            match step {
                Step::Place { side, offset, lots } => {
                    let side = if side { Side::Bid } else { Side::Ask };
                    let reduces = gate.book().reduces(1, side, lots * lot);
                    if let Ok(o) = gate.judge(&order(seq, side, MID + offset, lots * lot), 1, seq, NOW) {
                        passed.push(o);
                        totals.push(0);
                        // At the moment of passing the worst case is inside 10 % of equity, to the lot.
                        let worst = gate.book().worst_of_side(1, side, 0);
                        let doubled = i128::from((MID + offset).max(MID) * 2) * i128::from(UNIT / 10);
                        prop_assert!(reduces || worst * doubled / 2 * 10 <= gate.equity().now());
                    }
                }
                Step::Fill { which, lots } if !passed.is_empty() => {
                    let i = which.index(passed.len());
                    let size = (lots * lot).min(passed[i].quantity.0 - totals[i]);
                    if size > 0 {
                        totals[i] += size;
                        position += if passed[i].side == 0 { size } else { -size };
                        let update = fill(&passed[i], size, totals[i]);
                        gate.report(1, &update, NOW);
                        reports.push(update);
                    }
                }
                Step::End { which, event } if !passed.is_empty() => {
                    let event = OrderEvent::ALL[event];
                    if !event.is_fill() {
                        let id = passed[which.index(passed.len())].id;
                        gate.report(1, &OrderUpdate { id, event: event as u8, ..OrderUpdate::default() }, NOW);
                    }
                }
                Step::Repeat { which } if !reports.is_empty() => {
                    gate.report(1, &reports[which.index(reports.len())], NOW);
                }
                _ => {}
            }
            prop_assert_eq!(gate.book().position(1), position);
        }
    }
}

#[test]
fn children_of_one_budget_are_one_decision_and_their_sum_is_checked() {
    let mut gate = gate_with(Limits { order_size_max: 3 * UNIT / 100, ..Limits::default() });
    let child = |seq, parent| NewOrder { parent, ..buy(seq) };
    assert_eq!(gate.judge(&child(1, 1), 1, 1, NOW).err(), None);
    assert_eq!(
        refusal(&mut gate, &child(2, 2)),
        Some(RefusalReason::Duplicate),
        "another decision, the same order"
    );
    assert_eq!(gate.judge(&child(3, 1), 1, 3, NOW).err(), None);
    assert_eq!(gate.judge(&child(4, 1), 1, 4, NOW).err(), None);
    assert_eq!(refusal(&mut gate, &child(5, 1)), Some(RefusalReason::OrderSize), "four of them are too much");
}

/// Two sessions: the second with 1,000 of capital, all of it at risk, and a twentieth of it to lose.
fn two_sessions() -> Gate {
    let of = |number, capital: i64, exposure_bps, loss_bps| SessionTerms {
        number,
        capital: capital * UNIT,
        exposure_bps,
        loss_bps,
        ..SessionTerms::default()
    };
    let terms = [of(1, 100_000, UNBOUND_BPS, UNBOUND_BPS), of(2, 1_000, 10_000, 500)];
    let mut gate = Gate::with_sessions(Limits::default(), rules(), &terms);
    command(&mut gate, CommandCode::Resume, 1);
    gate.quote(0, &quote(MID - 1, MID + 1), NOW);
    gate.quote(1, &quote(MID - 1, MID + 1), NOW);
    gate
}

/// An order of the second session.
fn second(seq: u64, side: Side, price: i64, quantity: i64) -> NewOrder {
    let id = OrderId { incarnation: 1, seq, child: 100 };
    NewOrder { id, strategy: 2, ..order(seq, side, price, quantity) }
}

fn about_session(gate: &mut Gate, code: CommandCode, session: u64) {
    gate.command(&Command { code: code as u64, session, ..Command::default() }, NOW);
}

#[test]
fn a_session_keeps_to_its_exposure_to_the_last_lot() {
    let mut gate = two_sessions();
    // 1,000 at 50,000 are 0.02.
    let (most, more) = (UNIT / 50, UNIT / 50 + UNIT / 1_000);
    assert_eq!(refusal(&mut gate, &second(1, Side::Bid, MID, more)), Some(RefusalReason::SessionExposure));
    assert_eq!(refusal(&mut gate, &second(2, Side::Bid, MID, most)), None);
    // What stands counts, and what another session has does not.
    let one_lot = second(3, Side::Bid, MID - 1, UNIT / 1_000);
    assert_eq!(refusal(&mut gate, &one_lot), Some(RefusalReason::SessionExposure));
    assert_eq!(refusal(&mut gate, &buy(4)), None, "the first is bound by the account alone");
    // Nobody sits at the third place.
    let nobody = NewOrder { id: OrderId { incarnation: 1, seq: 5, child: 200 }, ..buy(5) };
    assert_eq!(refusal(&mut gate, &nobody), Some(RefusalReason::SessionStopped));
}

#[test]
fn a_session_that_is_stopped_or_has_lost_its_share_only_gives_back() {
    let size = UNIT / 50;
    let holding = || {
        let mut gate = two_sessions();
        let bought = second(1, Side::Bid, MID, size);
        gate.judge(&bought, 1, 1, NOW).unwrap();
        gate.report(1, &fill(&bought, size, size), NOW);
        gate
    };
    let mut gate = holding();
    about_session(&mut gate, CommandCode::SessionStop, 1);
    let more = second(3, Side::Bid, MID - 100, UNIT / 1_000);
    assert_eq!(refusal(&mut gate, &more), Some(RefusalReason::SessionStopped));
    let through = second(4, Side::Ask, MID + 20, size + UNIT / 1_000);
    assert_eq!(
        refusal(&mut gate, &through),
        Some(RefusalReason::SessionStopped),
        "through zero is no way out"
    );
    assert_eq!(refusal(&mut gate, &second(5, Side::Ask, MID + 20, size)), None);
    assert_eq!(refusal(&mut gate, &buy(6)), None, "the other session goes on");

    // A twentieth of 1,000 is 50: 2,500.0 lower on 0.02.
    let at = |mid: i64| {
        let mut gate = holding();
        gate.quote(1, &quote(mid - 1, mid + 1), NOW);
        refusal(&mut gate, &second(3, Side::Bid, mid - 100, UNIT / 1_000))
    };
    assert_eq!(at(MID - 25_000), Some(RefusalReason::SessionLoss), "at the share itself");
    assert_eq!(at(MID - 24_999), None, "a tick above it has not");
    let mut gate = holding();
    gate.quote(1, &quote(MID - 25_001, MID - 24_999), NOW);
    assert_eq!(refusal(&mut gate, &second(4, Side::Ask, MID - 24_990, size)), None, "out it may go");
}

#[test]
fn a_place_that_was_used_keeps_what_it_has() {
    let mut gate = two_sessions();
    let bought = second(1, Side::Bid, MID, UNIT / 50);
    gate.judge(&bought, 1, 1, NOW).unwrap();
    gate.report(1, &fill(&bought, UNIT / 50, UNIT / 50), NOW);
    about_session(&mut gate, CommandCode::SessionStop, 1);
    let start = Command {
        code: CommandCode::SessionStart as u64,
        session: 1,
        terms: SessionTerms { number: 9, capital: UNIT, ..SessionTerms::default() },
        ..Command::default()
    };
    gate.command(&start, NOW);
    assert_eq!(gate.sessions().terms().at(1).terms.number, 2);
    assert_eq!(gate.sessions().position(1, 1), UNIT / 50);
}
